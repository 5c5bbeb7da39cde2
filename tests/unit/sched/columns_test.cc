#include "sched/columns.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace weir::internal {
namespace {

TEST(Columns, SetAllStopsAtTheLastEndpoint) {
  for (const uint32_t count : {1u, 63u, 64u, 65u, 4096u}) {
    std::vector<uint64_t> mask(MaskWords(count));
    SetAll(mask.data(), count);
    EXPECT_EQ(CountBits(mask.data(), count), count);
    std::vector<uint32_t> index(count);
    EXPECT_EQ(ListBits(mask.data(), count, index.data()), count);
    EXPECT_EQ(index.back(), count - 1);
  }
}

TEST(Columns, AccumulateClampsAndCountsNan) {
  // G2, G3 and G12: clamp to 0..1 before the weight, NaN is 0, negative weights subtract.
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<double> raw = {1.7, -0.3, 0.5, nan, infinity, -infinity};
  std::vector<double> total(raw.size(), 1.0);
  EXPECT_EQ(Accumulate(raw.data(), 2, 6, total.data()), 1u);
  EXPECT_EQ(total, (std::vector<double>{3, 1, 2, 1, 3, 1}));
  Accumulate(raw.data(), -1, 6, total.data());
  EXPECT_EQ(total, (std::vector<double>{2, 1, 1.5, 1, 2, 1}));
}

TEST(Columns, GatherCopiesElementsOfAnySize) {
  struct Odd {
    char bytes[12];
  };
  const uint32_t index[] = {2, 0};
  const uint32_t words[] = {7, 8, 9};
  uint32_t dense[2];
  Gather(words, index, 2, 4, dense);
  EXPECT_EQ(dense[0], 9u);
  EXPECT_EQ(dense[1], 7u);
  const Odd odd[] = {{"a"}, {"b"}, {"c"}};
  Odd dense_odd[2];
  Gather(odd, index, 2, sizeof(Odd), dense_odd);
  EXPECT_EQ(dense_odd[0].bytes[0], 'c');
  EXPECT_EQ(dense_odd[1].bytes[0], 'a');
}

}  // namespace
}  // namespace weir::internal
