#include "base/closest_name.h"

#include <gtest/gtest.h>

#include <vector>

namespace weir::internal {
namespace {

constexpr std::string_view kNames[] = {"prefix-cache-scorer", "queue-scorer", "lruSize"};

TEST(ClosestNameTest, FindsMisspellings) {
  EXPECT_EQ(ClosestName("prefx-cache-scorer", kNames), "prefix-cache-scorer");
  EXPECT_EQ(ClosestName("queue-socrer", kNames), "queue-scorer");  // letters swapped
  EXPECT_EQ(ClosestName("lrusize", kNames), "lruSize");            // case only
  EXPECT_EQ(ClosestName("lruSizes", kNames), "lruSize");
  EXPECT_EQ(ClosestName("queue", kNames), "queue-scorer");
}

TEST(ClosestNameTest, SaysNothingOfStrangers) {
  EXPECT_EQ(ClosestName("zone", kNames), "");
  EXPECT_EQ(ClosestName("que", kNames), "");
  EXPECT_EQ(ClosestName("", kNames), "");
  constexpr std::string_view kShort[] = {"a", "ab"};
  EXPECT_EQ(ClosestName("b", kShort), "");
  EXPECT_EQ(ClosestName("queue-scorer", kNames), "");  // itself is no suggestion
  EXPECT_EQ(ClosestName("x", {}), "");
}

TEST(ClosestNameTest, TheFirstOfEquallyNearWins) {
  constexpr std::string_view kTwins[] = {"scorer-a", "scorer-b"};
  EXPECT_EQ(ClosestName("scorer-c", kTwins), "scorer-a");
}

TEST(ClosestNameTest, NamesBeyondTheLimitAreLeftAlone) {
  const std::string at_limit(kSuggestedNameBytesMax, 'x');
  const std::string near = std::string(kSuggestedNameBytesMax - 1, 'x') + "y";
  const std::string_view candidates[] = {near};
  EXPECT_EQ(ClosestName(at_limit, candidates), near);
  EXPECT_EQ(ClosestName(at_limit + "x", candidates), "");
  const std::string too_long = near + "y";
  const std::string_view long_candidates[] = {too_long};
  EXPECT_EQ(ClosestName(at_limit, long_candidates), "");
}

TEST(ClosestNameTest, DidYouMeanIsATextToAppend) {
  EXPECT_EQ(DidYouMean("queue-scorr", kNames), "; did you mean \"queue-scorer\"?");
  EXPECT_EQ(DidYouMean("zone", kNames), "");
}

}  // namespace
}  // namespace weir::internal
