#include "load/text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace weir::load {
namespace {

std::string Words(uint64_t seed, uint32_t count) {
  std::string out;
  AppendWords(seed, count, out);
  return out;
}

TEST(Text, CountsOneWordPerToken) {
  for (const uint32_t count : {0u, 1u, 8u, 9u, 1000u}) {
    const std::string words = Words(1, count);
    EXPECT_EQ(std::count(words.begin(), words.end(), ' '), count);
  }
}

TEST(Text, EqualSeedsGiveEqualTextAndAPrefixStaysAPrefix) {
  EXPECT_EQ(Words(42, 100), Words(42, 100));
  EXPECT_NE(Words(42, 100), Words(43, 100));
  EXPECT_EQ(Words(42, 100).substr(0, Words(42, 60).size()), Words(42, 60));
  EXPECT_EQ(Words(42, 4), Words(42, 4));
}

TEST(Text, UsesTheWholeVocabularyAndNothingThatJsonEscapes) {
  const std::string words = Words(9, 20'000);
  std::set<std::string> seen;
  for (size_t at = 0; at < words.size();) {
    const size_t end = std::min(words.find(' ', at + 1), words.size());
    seen.insert(words.substr(at, end - at));
    at = end;
  }
  EXPECT_EQ(seen.size(), 256u);
  std::string escaped;
  AppendJsonEscaped(words, escaped);
  EXPECT_EQ(escaped, words);
}

TEST(Text, MixSeedSeparatesNeighbours) {
  std::set<uint64_t> seen;
  for (uint64_t a = 0; a < 100; ++a) {
    for (uint64_t b = 0; b < 100; ++b) seen.insert(MixSeed(a, b));
  }
  EXPECT_EQ(seen.size(), 10'000u);
}

TEST(Text, EscapesSoThatAJsonReaderGetsTheTextBack) {
  const std::string text = "a\"b\\c\nd\te\x01 \xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80";
  std::string escaped = "\"";
  AppendJsonEscaped(text, escaped);
  escaped += '"';
  EXPECT_EQ(nlohmann::json::parse(escaped).get<std::string>(), text);
}

TEST(Text, ReplacesBytesThatAreNotUtf8) {
  for (const std::string bad : {"\xFF", "\xC3", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                                "\xE2\x82", "\x80", "\xF0\x80\x80\x80", "\xE0\x80\x80"}) {
    std::string escaped = "\"x";
    AppendJsonEscaped(bad, escaped);
    escaped += "y\"";
    const nlohmann::json parsed = nlohmann::json::parse(escaped, nullptr, false);
    ASSERT_TRUE(parsed.is_string()) << bad;
    EXPECT_NE(parsed.get<std::string>().find("\xEF\xBF\xBD"), std::string::npos);
  }
}

}  // namespace
}  // namespace weir::load
