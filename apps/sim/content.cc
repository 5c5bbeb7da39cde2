#include "content.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "weir/sim/tokens.h"

namespace weir::sim {
namespace {

constexpr double kMeanTokens = 40;
constexpr double kDeviationTokens = 20;
constexpr uint32_t kUniformBelowTokens = 20;  // a room this small gets a uniform draw
constexpr std::array<double, 6> kBucketWeights = {0.20, 0.30, 0.20, 0.05, 0.10, 0.15};
constexpr uint32_t kEqualBucketsUpTo = 120;
constexpr uint32_t kBucketTokens = 20;
constexpr uint32_t kSentenceWordsMin = 5;
constexpr uint32_t kSentenceWordsSpan = 8;

// Each with the space before it; a text starts with one that has none.
constexpr std::string_view kWords[] = {
    " water",  " flows",    " over",  " the",     " weir",  " and",      " each",   " stream",
    " finds",  " its",      " own",   " level",   " while", " gates",    " open",   " slowly",
    " under",  " pressure", " from",  " many",    " small", " rivers",   " that",   " meet",
    " below",  " old",      " stone", " bridges", " in",    " morning",  " light",  " a",
    " keeper", " counts",   " boats", " writes",  " down",  " every",    " number", " then",
    " turns",  " wheel",    " until", " both",    " sides", " are",      " even",   " again",
    " no",     " drop",     " is",    " lost",    " when",  " channels", " share",  " load",
    " with",   " care",     " some",  " days",    " bring", " floods",   " others", " only"};

struct Vocabulary {
  std::vector<Piece> inner;  // with the space
  std::vector<Piece> first;  // without
  Piece stop{".", TokenId(".")};
  absl::flat_hash_map<uint32_t, std::string_view> by_token;

  Vocabulary() {
    for (const std::string_view word : kWords) {
      inner.push_back({word, TokenId(word)});
      first.push_back({word.substr(1), TokenId(word.substr(1))});
    }
    for (const auto* pieces : {&inner, &first}) {
      for (const Piece& piece : *pieces) by_token[piece.token] = piece.text;
    }
    by_token[stop.token] = stop.text;
  }
};

const Vocabulary& Words() {
  static const Vocabulary& vocabulary = *new Vocabulary;
  return vocabulary;
}

}  // namespace

std::vector<Piece> RandomPieces(Random& random, uint32_t count) {
  const Vocabulary& words = Words();
  const auto draw = [&](const std::vector<Piece>& from) {
    return from[random.NextBelow(static_cast<uint32_t>(from.size()))];
  };
  std::vector<Piece> pieces;
  pieces.reserve(count);
  uint32_t sentence = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (sentence == 0) {
      sentence = kSentenceWordsMin + random.NextBelow(kSentenceWordsSpan);
      pieces.push_back(draw(i == 0 ? words.first : words.inner));
    } else {
      pieces.push_back(--sentence == 0 ? words.stop : draw(words.inner));
    }
  }
  return pieces;
}

std::vector<Piece> PiecesOf(std::string_view text) {
  std::vector<Piece> pieces;
  for (const std::string_view token : SplitTokens(text)) pieces.push_back({token, TokenId(token)});
  return pieces;
}

double NextNormal(Random& random) {
  const double radius = std::sqrt(-2 * std::log(1 - random.NextUniform()));
  return radius * std::cos(2 * std::numbers::pi * random.NextUniform());
}

uint32_t RandomAnswerTokens(Random& random, uint32_t limit, uint32_t room) {
  if (limit == 0) {
    if (room < kUniformBelowTokens) return 1 + random.NextBelow(std::max(1u, room));
    const double drawn = std::round(kMeanTokens + kDeviationTokens * NextNormal(random));
    return static_cast<uint32_t>(std::clamp(drawn, 1.0, static_cast<double>(room)));
  }
  const uint32_t most = std::min(limit, room);
  size_t bucket = 0;
  for (double draw = random.NextUniform(); bucket + 1 < kBucketWeights.size(); ++bucket) {
    draw -= kBucketWeights[bucket];
    if (draw < 0) break;
  }
  const uint32_t buckets = static_cast<uint32_t>(kBucketWeights.size());
  uint32_t low = 0;
  uint32_t high = 0;
  if (most <= kEqualBucketsUpTo) {
    low = static_cast<uint32_t>(bucket) * most / buckets;
    high = static_cast<uint32_t>(bucket + 1) * most / buckets;
  } else {
    const auto end = [&](size_t i) {
      return i < 3 ? static_cast<uint32_t>(i + 1) * kBucketTokens
                   : most - (buckets - 1 - static_cast<uint32_t>(i)) * kBucketTokens;
    };
    low = bucket == 0 ? 0 : end(bucket - 1);
    high = end(bucket);
  }
  // The last bucket reaches the limit itself, which is the finish reason "length".
  if (bucket + 1 == buckets) return most;
  return std::clamp(low + 1 + random.NextBelow(std::max(1u, high - low)), 1u, std::max(1u, most));
}

std::string_view KnownTokenText(uint32_t token) noexcept {
  const auto& by_token = Words().by_token;
  const auto found = by_token.find(token);
  return found == by_token.end() ? std::string_view() : found->second;
}

}  // namespace weir::sim
