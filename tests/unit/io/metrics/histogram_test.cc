#include "weir/io/metrics/histogram.h"

#include <gtest/gtest.h>

#include <limits>

namespace weir::io {
namespace {

constexpr std::array<double, 3> kBounds = {.005, .1, 1};

TEST(Histogram, ABoundBelongsToItsBucket) {
  SecondsHistogram<kBounds> histogram;
  for (const int64_t ns : {int64_t{0}, int64_t{5'000'000}, int64_t{5'000'001},
                           int64_t{1'000'000'000}, int64_t{1'000'000'001}}) {
    histogram.Add(ns);
  }
  const HistogramTotals totals({{histogram.view()}});
  EXPECT_EQ(totals.counts, (std::vector<uint64_t>{2, 1, 1, 1}));
  EXPECT_DOUBLE_EQ(totals.sum, 2.010000002);
}

TEST(Histogram, NegativeValuesCountAsZero) {
  Histogram<kBounds> histogram;
  histogram.Add(-5);
  histogram.Add(std::numeric_limits<int64_t>::max());
  const HistogramTotals totals({{histogram.view()}});
  EXPECT_EQ(totals.counts, (std::vector<uint64_t>{1, 0, 0, 1}));
}

TEST(HistogramTotals, AddUp) {
  Histogram<kBounds> one, two;
  EXPECT_TRUE(HistogramTotals({{one.view(), two.view()}}).empty());
  one.Add(1);
  two.Add(3);
  HistogramTotals totals({{one.view(), two.view()}});
  totals.Add(HistogramTotals({{one.view()}}));
  EXPECT_EQ(totals.counts, (std::vector<uint64_t>{0, 0, 2, 1}));
  EXPECT_EQ(totals.sum, 5);
  EXPECT_FALSE(totals.empty());
}

}  // namespace
}  // namespace weir::io
