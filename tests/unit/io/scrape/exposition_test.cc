#include "weir/io/scrape/exposition.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace weir::io {
namespace {

TEST(ExpositionTest, ReadsNameLabelsValueAndTimestamp) {
  ExpositionSample sample;
  ASSERT_TRUE(ParseSampleLine("a:b_1{x=\"1\",y=\"2\"} 3.5 1700000000000", sample));
  EXPECT_EQ(sample.name, "a:b_1");
  EXPECT_EQ(sample.labels, "x=\"1\",y=\"2\"");
  EXPECT_EQ(sample.value, 3.5);
  EXPECT_TRUE(sample.has_timestamp);
  EXPECT_EQ(sample.timestamp_ms, 1700000000000);
}

TEST(ExpositionTest, AcceptsEveryFormOfValue) {
  ExpositionSample sample;
  for (const auto& [text, value] : {std::pair<const char*, double>{"1", 1},
                                    {"+1", 1},
                                    {"-2", -2},
                                    {"1e3", 1000},
                                    {"1.5E-2", 0.015},
                                    {".5", .5},
                                    {"+Inf", INFINITY},
                                    {"-Inf", -INFINITY},
                                    {"inf", INFINITY}}) {
    ASSERT_TRUE(ParseSampleLine(std::string("n ") + text, sample)) << text;
    EXPECT_EQ(sample.value, value) << text;
    EXPECT_FALSE(sample.has_timestamp);
  }
  ASSERT_TRUE(ParseSampleLine("n NaN", sample));
  EXPECT_TRUE(std::isnan(sample.value));
}

TEST(ExpositionTest, RefusesWhatIsNoSampleLine) {
  ExpositionSample sample;
  for (const char* line : {"",
                           " ",
                           "# HELP n text",
                           "n",
                           "n ",
                           "n x",
                           "n 1 2 3",
                           "n 1 2.5",
                           "n 1 x",
                           "n +",
                           "n ++1",
                           "n +-+1",
                           "1n 1",
                           "{x=\"1\"} 1",
                           "n{x=\"1\" 1",
                           "n{x=\"1} 1",
                           "n{x=1} 1",
                           "n{x} 1",
                           "n{=\"1\"} 1",
                           "n{x=\"1\"y=\"2\"} 1",
                           "n{,} 1",
                           "n{x=\"1\",,} 1",
                           "n-x 1",
                           "n\x01 1",
                           "n 0x10",
                           "n 99999999999999999999999x",
                           "n 1 99999999999999999999"}) {
    EXPECT_FALSE(ParseSampleLine(line, sample)) << line;
  }
}

TEST(ExpositionTest, BracesCommasAndQuotesInsideValuesAreText) {
  ExpositionSample sample;
  ASSERT_TRUE(ParseSampleLine(R"(n{x="a}b,c=\"d\"\\",y="2"} 1)", sample));
  LabelCursor cursor(sample.labels);
  auto label = cursor.Next();
  ASSERT_TRUE(label);
  EXPECT_EQ(label->name, "x");
  EXPECT_TRUE(LabelValueEquals(label->value, R"(a}b,c="d"\)"));
  label = cursor.Next();
  ASSERT_TRUE(label);
  EXPECT_EQ(label->value, "2");
  EXPECT_FALSE(cursor.Next());
  EXPECT_FALSE(cursor.malformed());
}

TEST(ExpositionTest, CursorStopsAtMalformedLabels) {
  LabelCursor cursor("a=\"1\",b=2");
  EXPECT_TRUE(cursor.Next());
  EXPECT_FALSE(cursor.Next());
  EXPECT_TRUE(cursor.malformed());
  EXPECT_FALSE(cursor.Next());
}

TEST(ExpositionTest, ComparesEscapedValues) {
  EXPECT_TRUE(LabelValueEquals("", ""));
  EXPECT_TRUE(LabelValueEquals(R"(a\nb)", "a\nb"));
  EXPECT_TRUE(LabelValueEquals(R"(a\tb)", "a\\tb"));  // not an escape
  EXPECT_TRUE(LabelValueEquals("a\\", "a\\"));        // a lone backslash at the end
  EXPECT_FALSE(LabelValueEquals(R"(a\\b)", R"(a\\b)"));
  EXPECT_FALSE(LabelValueEquals(R"(a\\b)", "a\\"));
  EXPECT_FALSE(LabelValueEquals(R"(a\\)", "a\\b"));
}

TEST(ExpositionTest, LabelIntegersHave32Bits) {
  EXPECT_EQ(ParseLabelInteger("0"), 0u);
  EXPECT_EQ(ParseLabelInteger("4294967295"), 4294967295u);
  for (const char* text : {"", "4294967296", "-1", "1.0", " 1", "None", "+1"}) {
    EXPECT_FALSE(ParseLabelInteger(text)) << text;
  }
}

}  // namespace
}  // namespace weir::io
