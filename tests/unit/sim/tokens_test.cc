#include "weir/sim/tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "weir/random.h"

namespace weir::sim {
namespace {

using ::testing::ElementsAre;

TEST(Tokens, SplitsWordsWithTheirSpaceAndPunctuation) {
  EXPECT_THAT(SplitTokens("Hello, world!  x=1\n"),
              ElementsAre("Hello", ",", " world", "!", " ", " x", "=", "1", "\n"));
  EXPECT_THAT(SplitTokens("caf\xC3\xA9 ok"), ElementsAre("caf\xC3\xA9", " ok"));
  EXPECT_THAT(SplitTokens(" "), ElementsAre(" "));
  EXPECT_TRUE(SplitTokens("").empty());
}

TEST(Tokens, IdsAreFnv1a) {
  EXPECT_EQ(TokenId(""), 0x811C9DC5u);
  EXPECT_EQ(TokenId("a"), 0xE40C292Cu);
  EXPECT_EQ(TokenId("foobar"), 0xBF9CF968u);
  EXPECT_THAT(Tokenize("a b"), ElementsAre(TokenId("a"), TokenId(" b")));
}

TEST(Tokens, JoinedTokensAreTheText) {
  Random random(11);
  for (int round = 0; round < 500; ++round) {
    std::string text(random.NextBelow(40), '\0');
    for (char& c : text)
      c = static_cast<char>(random.NextBelow(4) == 0 ? ' ' : random.NextBelow(256));
    std::string joined;
    for (const std::string_view token : SplitTokens(text)) {
      ASSERT_FALSE(token.empty());
      joined += token;
    }
    ASSERT_EQ(joined, text);
    ASSERT_EQ(Tokenize(text).size(), SplitTokens(text).size());
  }
}

TEST(Tokens, EqualHashIdsGiveEqualBlocks) {
  const uint64_t ids[] = {0, 7};
  const std::vector<uint32_t> tokens = TraceTokens(ids, 600);
  ASSERT_EQ(tokens.size(), 600u);
  EXPECT_EQ(tokens[0], 0u);
  EXPECT_EQ(tokens[511], 511u);
  EXPECT_EQ(tokens[512], 7u * 512);
  EXPECT_EQ(tokens[599], 7u * 512 + 87);
  EXPECT_EQ(TraceTokens(ids, 2000)[1999], 7u * 512 + 1999 % 512);
  EXPECT_EQ(TraceTokens({}, 3).size(), 3u);
}

}  // namespace
}  // namespace weir::sim
