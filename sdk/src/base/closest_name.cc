#include "base/closest_name.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "base/text.h"

namespace weir::internal {
namespace {

constexpr size_t kShortenedBytesMin = 4;

// Damerau-Levenshtein distance with adjacent transpositions (optimal string alignment), letters
// compared without case. REQUIRES: both are at most kSuggestedNameBytesMax long
uint32_t Distance(std::string_view left, std::string_view right) {
  using Row = std::array<uint32_t, kSuggestedNameBytesMax + 1>;
  Row rows[3];
  Row* before = &rows[0];
  Row* above = &rows[1];
  Row* here = &rows[2];
  const auto same = [&](size_t i, size_t j) {
    return absl::ascii_tolower(static_cast<unsigned char>(left[i])) ==
           absl::ascii_tolower(static_cast<unsigned char>(right[j]));
  };
  for (uint32_t j = 0; j <= right.size(); ++j) (*above)[j] = j;
  for (uint32_t i = 1; i <= left.size(); ++i) {
    (*here)[0] = i;
    for (uint32_t j = 1; j <= right.size(); ++j) {
      const uint32_t replaced = (*above)[j - 1] + (same(i - 1, j - 1) ? 0 : 1);
      (*here)[j] = std::min({(*above)[j] + 1, (*here)[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && same(i - 1, j - 2) && same(i - 2, j - 1)) {
        (*here)[j] = std::min((*here)[j], (*before)[j - 2] + 1);
      }
    }
    std::swap(before, above);
    std::swap(above, here);
  }
  return (*above)[right.size()];
}

}  // namespace

std::string_view ClosestName(std::string_view name, std::span<const std::string_view> candidates) {
  if (name.size() > kSuggestedNameBytesMax) return {};
  std::string_view closest;
  uint32_t closest_distance = UINT32_MAX;
  for (const std::string_view candidate : candidates) {
    if (candidate.size() > kSuggestedNameBytesMax || candidate == name) continue;
    // A third of the letters may be wrong: "b" is no misspelling of "a".
    const auto allowed = static_cast<uint32_t>(std::max(name.size(), candidate.size()) / 3);
    const uint32_t distance = Distance(name, candidate);
    // "queue" for "queue-scorer": the rest was left out.
    const bool shortened = name.size() >= kShortenedBytesMin && candidate.starts_with(name);
    if ((distance <= allowed || shortened) && distance < closest_distance) {
      closest = candidate;
      closest_distance = distance;
    }
  }
  return closest;
}

std::string DidYouMean(std::string_view name, std::span<const std::string_view> candidates) {
  const std::string_view closest = ClosestName(name, candidates);
  return closest.empty() ? std::string() : Concat("; did you mean \"", closest, "\"?");
}

}  // namespace weir::internal
