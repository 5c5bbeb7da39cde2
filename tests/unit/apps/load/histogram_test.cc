#include "load/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "weir/random.h"

namespace weir::load {
namespace {

TEST(Histogram, IsZeroWhenEmpty) {
  const Histogram empty;
  EXPECT_EQ(empty.count(), 0u);
  EXPECT_EQ(empty.Quantile(0.5), 0u);
  EXPECT_EQ(empty.min(), 0u);
  EXPECT_EQ(empty.mean(), 0.0);
  EXPECT_TRUE(empty.Cumulative(10).empty());
}

TEST(Histogram, KeepsSmallValuesExact) {
  Histogram histogram;
  for (int i = 1; i <= 100; ++i) histogram.Record(i);
  EXPECT_EQ(histogram.Quantile(0.5), 50u);
  EXPECT_EQ(histogram.Quantile(0.9), 90u);
  EXPECT_EQ(histogram.Quantile(0.99), 99u);
  EXPECT_EQ(histogram.Quantile(0), 1u);
  EXPECT_EQ(histogram.Quantile(1), 100u);
  EXPECT_DOUBLE_EQ(histogram.mean(), 50.5);
}

TEST(Histogram, StaysWithinTheStatedErrorOverTheWholeRange) {
  for (const int bits : {1, 4, 7, 10}) {
    const double error_max = std::ldexp(1.0, -(bits + 1));
    for (double value = 1; value < static_cast<double>(Histogram::kValueMax); value *= 1.37) {
      // A second, larger value keeps the maximum from correcting the estimate.
      Histogram histogram(bits);
      histogram.Record(static_cast<int64_t>(value));
      histogram.Record(static_cast<int64_t>(Histogram::kValueMax));
      histogram.Record(0);
      const double exact = std::floor(value);
      const double found = static_cast<double>(histogram.Quantile(0.5));
      EXPECT_LE(std::abs(found - exact), exact * error_max + 1e-9)
          << "bits " << bits << " value " << exact;
    }
  }
}

TEST(Histogram, AgreesWithSortedValues) {
  Random random(7);
  Histogram histogram;
  std::vector<int64_t> values;
  for (int i = 0; i < 20'000; ++i) {
    values.push_back(static_cast<int64_t>(std::exp(random.NextUniform() * 24)));
    histogram.Record(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double quantile : {0.001, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999}) {
    const auto rank = static_cast<size_t>(std::ceil(quantile * 20'000)) - 1;
    const auto exact = static_cast<double>(values[rank]);
    EXPECT_NEAR(static_cast<double>(histogram.Quantile(quantile)), exact, exact / 256 + 1)
        << quantile;
  }
}

TEST(Histogram, CountsNegativeAsZeroAndHugeInTheLastBucket) {
  Histogram histogram;
  histogram.Record(-5);
  histogram.Record(INT64_MAX);
  EXPECT_EQ(histogram.count(), 2u);
  EXPECT_EQ(histogram.min(), 0u);
  EXPECT_EQ(histogram.max(), static_cast<uint64_t>(INT64_MAX));
  EXPECT_EQ(histogram.Quantile(0.5), 0u);
  EXPECT_GE(histogram.Quantile(0.99), Histogram::kValueMax / 2);
}

TEST(Histogram, MergeEqualsRecordingAll) {
  Random random(3);
  Histogram one, two, both;
  for (int i = 0; i < 1000; ++i) {
    const auto value = static_cast<int64_t>(random.NextBelow(1'000'000));
    (i % 3 == 0 ? one : two).Record(value);
    both.Record(value);
  }
  one.Merge(two);
  EXPECT_EQ(one.count(), both.count());
  EXPECT_EQ(one.min(), both.min());
  EXPECT_EQ(one.max(), both.max());
  EXPECT_DOUBLE_EQ(one.mean(), both.mean());
  for (const double quantile : {0.1, 0.5, 0.99}) {
    EXPECT_EQ(one.Quantile(quantile), both.Quantile(quantile));
  }
}

TEST(Histogram, CumulativeRisesToOneWithinItsLimit) {
  Random random(5);
  Histogram histogram;
  for (int i = 0; i < 5000; ++i) histogram.Record(static_cast<int64_t>(random.NextBits() >> 40));
  for (const size_t points_max : {size_t{2}, size_t{3}, size_t{50}, size_t{100'000}}) {
    const auto points = histogram.Cumulative(points_max);
    ASSERT_GE(points.size(), 2u);
    EXPECT_LE(points.size(), points_max);
    EXPECT_EQ(points.front().first, histogram.min());
    EXPECT_EQ(points.back().first, histogram.max());
    EXPECT_DOUBLE_EQ(points.back().second, 1.0);
    for (size_t i = 1; i < points.size(); ++i) {
      EXPECT_GE(points[i].first, points[i - 1].first);
      EXPECT_GT(points[i].second, points[i - 1].second);
    }
  }
}

}  // namespace
}  // namespace weir::load
