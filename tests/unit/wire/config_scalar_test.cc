#include "wire/config_scalar.h"

#include <gtest/gtest.h>

#include <cmath>

namespace weir::internal {
namespace {

TEST(PlainScalarTest, IntegersBeyond64BitsAreNumbers) {
  EXPECT_EQ(PlainScalar("9223372036854775807").integer, INT64_MAX);
  EXPECT_EQ(PlainScalar("-9223372036854775808").integer, INT64_MIN);
  const ConfigNode beyond = PlainScalar("9223372036854775808");
  EXPECT_EQ(beyond.kind, ConfigNode::Kind::kNumber);
  EXPECT_EQ(beyond.number, 0x1p63);
  EXPECT_EQ(PlainScalar("+5").integer, 5);
  EXPECT_TRUE(std::isinf(PlainScalar("1e999").number));
  EXPECT_EQ(PlainScalar("1e-999").number, 0);
}

TEST(PlainScalarTest, WhatLooksLikeANumberOnly) {
  for (const char* text : {"1.2.3", "1e", "0x", "0xg", "-", "+", ".", "e5", "1_000", "--1", "0o8",
                           ".infinity", "nan", "inf", "tRue", "1k"}) {
    EXPECT_EQ(PlainScalar(text).kind, ConfigNode::Kind::kString) << text;
  }
}

TEST(FindBadTextTest, RefusesBrokenUtf8) {
  for (const char* text : {"\x80", "\xC3", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80",
                           "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "\xE2\x82"}) {
    ASSERT_TRUE(FindBadText(text).has_value());
    EXPECT_EQ(FindBadText(text)->what, "invalid UTF-8");
  }
  EXPECT_FALSE(FindBadText("tab\t, line\r\nß € 😀").has_value());
  EXPECT_EQ(FindBadText("a\nb\x7F")->line, 2);
}

TEST(ParseQuantityTest, ReadsKubernetesQuantities) {
  EXPECT_EQ(ParseQuantity("0"), 0);
  EXPECT_EQ(ParseQuantity("100"), 100);
  EXPECT_EQ(ParseQuantity("1k"), 1000);
  EXPECT_EQ(ParseQuantity("256Mi"), 256 << 20);
  EXPECT_EQ(ParseQuantity("1.5Gi"), 1610612736);
  EXPECT_EQ(ParseQuantity("2e3"), 2000);
  EXPECT_EQ(ParseQuantity("1E"), 1'000'000'000'000'000'000);
  EXPECT_EQ(ParseQuantity("1500m"), 2);  // rounds up
  EXPECT_EQ(ParseQuantity("-3"), -3);
  EXPECT_EQ(ParseQuantity("7Ei"), 7ll << 60);
}

TEST(ParseQuantityTest, RefusesTheRest) {
  for (const char* text : {"", "x", "1kk", "1 k", "1K", "Gi", "8Ei", "9223372036854775808", "1e99",
                           "1e9999999999", "--1", "."}) {
    EXPECT_FALSE(ParseQuantity(text).has_value()) << text;
  }
  EXPECT_FALSE(ParseQuantity(std::string(65, '1')).has_value());
}

TEST(ParseDurationTest, ReadsGoDurations) {
  EXPECT_EQ(ParseDurationNs("0"), 0);
  EXPECT_EQ(ParseDurationNs("200ms"), 200'000'000);
  EXPECT_EQ(ParseDurationNs("1h30m"), 5'400'000'000'000);
  EXPECT_EQ(ParseDurationNs("-1.5s"), -1'500'000'000);
  EXPECT_EQ(ParseDurationNs("2us3ns"), 2003);
  EXPECT_EQ(ParseDurationNs("7µs"), 7000);
  EXPECT_EQ(ParseDurationNs("7μs"), 7000);
  EXPECT_EQ(ParseDurationNs(".5s"), 500'000'000);
}

TEST(ParseDurationTest, RefusesTheRest) {
  for (const char* text :
       {"", "1", "s", "1d", "inf", "1s ", "1ss", "1e3s", "99999999h", "-", "1.s.s"}) {
    EXPECT_FALSE(ParseDurationNs(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace weir::internal
