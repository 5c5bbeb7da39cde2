#include "weir/random.h"

#include <gtest/gtest.h>

namespace weir {
namespace {

TEST(Random, EqualSeedsGiveEqualDraws) {
  Random a(7), b(7), c(8);
  EXPECT_EQ(a.NextBits(), b.NextBits());
  EXPECT_NE(a.NextBits(), c.NextBits());
}

TEST(Random, FirstDrawsOfSeedZeroAreThePublishedOnes) {
  Random random(0);
  EXPECT_EQ(random.NextBits(), 0xE220A8397B1DCDAFull);
  EXPECT_EQ(random.NextBits(), 0x6E789E6AA1B965F4ull);
}

TEST(Random, UniformAndBelowStayInRange) {
  Random random(1);
  double sum = 0;
  for (int i = 0; i < 10000; ++i) {
    const double u = random.NextUniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    ASSERT_LT(random.NextBelow(3), 3u);
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.02);
  EXPECT_EQ(random.NextBelow(0), 0u);
}

}  // namespace
}  // namespace weir
