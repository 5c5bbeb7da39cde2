#include "load/distribution.h"

#include <gtest/gtest.h>

#include <cmath>

namespace weir::load {
namespace {

struct Moments {
  double mean, deviation;
  uint32_t min, max;
};

Moments Draw(const char* text) {
  const auto distribution = Distribution::Parse(text);
  EXPECT_TRUE(distribution.ok()) << distribution.status();
  Random random(11);
  constexpr int kDraws = 40'000;
  double sum = 0, squares = 0;
  Moments moments{0, 0, UINT32_MAX, 0};
  for (int i = 0; i < kDraws; ++i) {
    const uint32_t value = distribution->Sample(random);
    sum += value;
    squares += static_cast<double>(value) * value;
    moments.min = std::min(moments.min, value);
    moments.max = std::max(moments.max, value);
  }
  moments.mean = sum / kDraws;
  moments.deviation = std::sqrt(squares / kDraws - moments.mean * moments.mean);
  return moments;
}

TEST(Distribution, FixedIsFixed) {
  const Moments moments = Draw("250");
  EXPECT_EQ(moments.min, 250u);
  EXPECT_EQ(moments.max, 250u);
}

TEST(Distribution, UniformReachesBothEnds) {
  const Moments moments = Draw("uniform:10:19");
  EXPECT_EQ(moments.min, 10u);
  EXPECT_EQ(moments.max, 19u);
  EXPECT_NEAR(moments.mean, 14.5, 0.1);
}

TEST(Distribution, NormalAndLognormalKeepTheirMoments) {
  const Moments normal = Draw("normal:1000:100");
  EXPECT_NEAR(normal.mean, 1000, 5);
  EXPECT_NEAR(normal.deviation, 100, 3);
  const Moments lognormal = Draw("lognormal:1000:500");
  EXPECT_NEAR(lognormal.mean, 1000, 15);
  EXPECT_NEAR(lognormal.deviation, 500, 30);
}

TEST(Distribution, ExponentialKeepsItsMean) {
  const Moments moments = Draw("exponential:200");
  EXPECT_NEAR(moments.mean, 200, 5);
  EXPECT_NEAR(moments.deviation, 200, 6);
}

TEST(Distribution, CutsToItsLimits) {
  const Moments moments = Draw("normal:100:80:50:120");
  EXPECT_EQ(moments.min, 50u);
  EXPECT_EQ(moments.max, 120u);
}

TEST(Distribution, RefusesWhatItCannotDraw) {
  for (const char* text :
       {"", "x", "-1", "1e10", "nan", "inf", "1:2", "uniform", "uniform:5", "uniform:9:1",
        "normal:5", "normal:5:1:9:2", "normal:5:1:2", "lognormal:0:1", "exponential:1:2",
        "gamma:1:2", "uniform:1:2:3", "normal:a:b"}) {
    const auto distribution = Distribution::Parse(text);
    EXPECT_FALSE(distribution.ok()) << text;
    EXPECT_NE(distribution.status().message().find("expected"), absl::string_view::npos);
  }
}

}  // namespace
}  // namespace weir::load
