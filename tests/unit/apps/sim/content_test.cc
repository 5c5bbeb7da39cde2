#include "content.h"

#include <gtest/gtest.h>

#include <string>

#include "answer_format.h"
#include "weir/sim/tokens.h"

namespace weir::sim {
namespace {

TEST(Content, PiecesAreTheTokensOfTheirText) {
  Random random(3);
  for (int round = 0; round < 50; ++round) {
    const std::vector<Piece> pieces = RandomPieces(random, 1 + random.NextBelow(200));
    const std::string text = JoinPieces(pieces, pieces.size());
    const std::vector<uint32_t> tokens = Tokenize(text);
    ASSERT_EQ(tokens.size(), pieces.size());
    for (size_t i = 0; i < tokens.size(); ++i) {
      ASSERT_EQ(tokens[i], pieces[i].token);
      ASSERT_EQ(KnownTokenText(tokens[i]), pieces[i].text);
    }
  }
  EXPECT_TRUE(KnownTokenText(12345).empty());
}

TEST(Content, LengthsWithoutALimitAreAroundForty) {
  Random random(1);
  double sum = 0;
  for (int i = 0; i < 4000; ++i) {
    const uint32_t tokens = RandomAnswerTokens(random, 0, 1000);
    ASSERT_GE(tokens, 1u);
    sum += tokens;
  }
  EXPECT_NEAR(sum / 4000, 40.5, 1.5);
  for (int i = 0; i < 100; ++i) ASSERT_LE(RandomAnswerTokens(random, 0, 7), 7u);
  EXPECT_EQ(RandomAnswerTokens(random, 0, 1), 1u);
}

// Weights 20, 30, 20, 5, 10, 15 %; the last bucket is the limit itself.
void CheckBuckets(uint32_t limit, const std::vector<uint32_t>& ends) {
  Random random(7);
  std::vector<int> counts(6);
  int at_limit = 0;
  for (int i = 0; i < 20000; ++i) {
    const uint32_t tokens = RandomAnswerTokens(random, limit, 100000);
    ASSERT_GE(tokens, 1u);
    ASSERT_LE(tokens, limit);
    size_t bucket = 0;
    while (tokens > ends[bucket]) ++bucket;
    ++counts[bucket];
    at_limit += tokens == limit;
  }
  const double weights[] = {.20, .30, .20, .05, .10, .15};
  for (size_t i = 0; i < 6; ++i) EXPECT_NEAR(counts[i] / 20000.0, weights[i], 0.015) << i;
  EXPECT_NEAR(at_limit / 20000.0, 0.15, 0.015);
}

TEST(Content, LengthsWithALimitFallIntoSixBuckets) {
  CheckBuckets(60, {10, 20, 30, 40, 50, 60});
  CheckBuckets(120, {20, 40, 60, 80, 100, 120});
  CheckBuckets(1000, {20, 40, 60, 960, 980, 1000});
}

TEST(Content, TinyLimitsWork) {
  Random random(1);
  for (uint32_t limit = 1; limit < 8; ++limit) {
    for (int i = 0; i < 200; ++i) {
      const uint32_t tokens = RandomAnswerTokens(random, limit, 5);
      ASSERT_GE(tokens, 1u);
      ASSERT_LE(tokens, std::min(limit, 5u));
    }
  }
}

}  // namespace
}  // namespace weir::sim
