#include "weir/io/metrics/text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace weir::io {
namespace {

TEST(MetricNumber, IsWrittenAsGoWritesIt) {
  EXPECT_EQ(MetricNumber(0), "0");
  EXPECT_EQ(MetricNumber(1), "1");
  EXPECT_EQ(MetricNumber(-2.5), "-2.5");
  EXPECT_EQ(MetricNumber(.005), "0.005");
  EXPECT_EQ(MetricNumber(.00205), "0.00205");
  EXPECT_EQ(MetricNumber(1e-4), "0.0001");
  EXPECT_EQ(MetricNumber(1e-5), "1e-05");
  EXPECT_EQ(MetricNumber(524288), "524288");
  EXPECT_EQ(MetricNumber(999999), "999999");
  EXPECT_EQ(MetricNumber(1e6), "1e+06");
  EXPECT_EQ(MetricNumber(1048576), "1.048576e+06");
  EXPECT_EQ(MetricNumber(1073741824), "1.073741824e+09");
  EXPECT_EQ(MetricNumber(1e300), "1e+300");
  EXPECT_EQ(MetricNumber(std::numeric_limits<double>::infinity()), "+Inf");
  EXPECT_EQ(MetricNumber(-std::numeric_limits<double>::infinity()), "-Inf");
  EXPECT_EQ(MetricNumber(std::nan("")), "NaN");
}

TEST(MetricsText, WritesFamilies) {
  MetricsText text;
  text.One(MetricKind::kGauge, "a", "Help of a.", 2);
  text.Family(MetricKind::kCounter, "b_total", "Help of b.");
  text.Value({{"x", "1"}, {"y", ""}}, 3);
  text.Value({{"x", "2"}, {"y", "z"}}, .5);
  EXPECT_EQ(text.Take(),
            "# HELP a Help of a.\n# TYPE a gauge\na 2\n"
            "# HELP b_total Help of b.\n# TYPE b_total counter\n"
            "b_total{x=\"1\",y=\"\"} 3\nb_total{x=\"2\",y=\"z\"} 0.5\n");
}

TEST(MetricsText, AFamilyWithoutSamplesLeavesNoTrace) {
  MetricsText text;
  text.Family(MetricKind::kCounter, "a_total", "Help.");
  text.Family(MetricKind::kCounter, "b_total", "Help.");
  EXPECT_EQ(text.text(), "");
}

TEST(MetricsText, AddsBucketsUp) {
  MetricsText text;
  text.Family(MetricKind::kHistogram, "h", "Help.");
  const double bounds[] = {.5, 1};
  const uint64_t counts[] = {1, 2, 3};
  const MetricLabel labels[] = {{"x", "1"}};
  text.Histogram(labels, bounds, counts, 7.5);
  text.Histogram({}, bounds, counts, 7.5);
  EXPECT_EQ(text.text(),
            "# HELP h Help.\n# TYPE h histogram\n"
            "h_bucket{x=\"1\",le=\"0.5\"} 1\nh_bucket{x=\"1\",le=\"1\"} 3\n"
            "h_bucket{x=\"1\",le=\"+Inf\"} 6\nh_sum{x=\"1\"} 7.5\nh_count{x=\"1\"} 6\n"
            "h_bucket{le=\"0.5\"} 1\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 6\nh_sum 7.5\n"
            "h_count 6\n");
}

TEST(MetricsText, LabelsMayBeAnyBytes) {
  const auto shown = [](std::string_view value) {
    MetricsText text;
    text.Family(MetricKind::kGauge, "a", "h");
    text.Value({{"x", value}}, 1);
    const std::string page = text.Take();
    const size_t begin = page.find("x=\"") + 3;
    return page.substr(begin, page.rfind("\"} 1") - begin);
  };
  EXPECT_EQ(shown("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
  EXPECT_EQ(shown("\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"),
            "\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80");
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(shown("\xFF"), bad);
  EXPECT_EQ(shown("a\xC3"), "a" + bad);                         // cut short
  EXPECT_EQ(shown("\xC0\x80"), bad + bad);                      // overlong
  EXPECT_EQ(shown("\xE0\x80\x80"), bad + bad + bad);            // overlong
  EXPECT_EQ(shown("\xED\xA0\x80"), bad + bad + bad);            // a surrogate
  EXPECT_EQ(shown("\xF4\x90\x80\x80"), bad + bad + bad + bad);  // above U+10FFFF
  EXPECT_EQ(shown("\xE2\x82x"), bad + bad + "x");
}

}  // namespace
}  // namespace weir::io
