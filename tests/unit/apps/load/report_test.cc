#include "load/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace weir::load {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::vector<Summary> TwoRuns() {
  std::vector<Summary> runs(2);
  runs[0].name = "round robin";
  runs[0].requests = 1900;
  runs[0].ttft_ms = {1900, 10, 120, 101.4, 240, 300, 12'345, 20'000};
  runs[0].output_tokens_per_s = 12'345.6;
  runs[0].prefix_hit_ratio = 0.337;
  runs[0].servers = {{"s0", 475}, {"s1", 475}, {"s2", 475}, {"s3", 475}};
  runs[1].name = "prefix aware";
  runs[1].requests = 1900;
  runs[1].errors = 2;
  runs[1].ttft_ms = {1900, 1, 12, 9.5, 24.04, 30, 44, 50};
  runs[1].output_tokens_per_s = 15'000;
  runs[1].prefix_hit_ratio = 0.91;
  return runs;
}

TEST(Report, ComparesInOneTable) {
  EXPECT_EQ(
      RenderComparison(TwoRuns()),
      "  policy         TTFT p50   TTFT p90   output tok/s   prefix hits   requests per server\n"
      "  round robin      101 ms     240 ms         12,346        33.7 %   475 475 475 475\n"
      "  prefix aware    9.50 ms    24.0 ms         15,000        91.0 %   -   (2 errors)\n");
}

TEST(Report, WritesTheMachineReadableReport) {
  const auto report = nlohmann::json::parse(RenderReportJson(TwoRuns()));
  ASSERT_EQ(report["policies"].size(), 2u);
  const auto& first = report["policies"][0];
  EXPECT_EQ(first["name"], "round robin");
  EXPECT_EQ(first["requests"], 1900);
  EXPECT_EQ(first["errors"], 0);
  EXPECT_EQ(first["ttft_ms"], (nlohmann::json{{"p50", 101.4}, {"p90", 240.0}, {"p99", 12345.0}}));
  EXPECT_EQ(first["output_tokens_per_s"], 12'345.6);
  EXPECT_EQ(first["prefix_hit_ratio"], 0.337);
  EXPECT_EQ(first["requests_per_server"], (nlohmann::json{475, 475, 475, 475}));
  EXPECT_EQ(first.size(), 7u);
}

TEST(Report, PageCarriesItsDataAndNeedsNoNetwork) {
  std::vector<Summary> runs = TwoRuns();
  runs[0].name = "</script><script>alert(1)</script>";
  const std::string page = RenderReportHtml(runs, "weir & <title>");
  EXPECT_THAT(page, Not(HasSubstr("@WEIR_REPORT_DATA@")));
  EXPECT_THAT(page, Not(HasSubstr("alert(1)</script>")));
  EXPECT_THAT(page, Not(HasSubstr("& <title>")));
  EXPECT_THAT(page, Not(HasSubstr("src=")));
  EXPECT_THAT(page, Not(HasSubstr("href=")));
  const std::string open = "id=\"data\">";
  const size_t begin = page.find(open) + open.size();
  const auto data =
      nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
  EXPECT_EQ(data["runs"][0]["name"], runs[0].name);
  EXPECT_EQ(data["title"], "weir & <title>");
}

TEST(Report, ShowsEveryFigureOfARun) {
  Summary run = TwoRuns()[1];
  run.workload = "chat";
  run.unsent = 7;
  run.slo.ttft_ns = 50'000'000;
  run.errors_by_kind = {{"http 503", 2}};
  run.servers = {{"10.0.0.1:8000", 12}};
  run.processes = {{"nginx", 1.0, 52.5, 12, 1 << 20}};
  const std::string text = RenderRun(run);
  for (const char* shown :
       {"prefix aware: chat", "7 due but never sent", "2 x http 503", "10.0.0.1:8000", "cpu nginx",
        "52.5 us a request", "goodput", "TTFT 50.0 ms", "9.50 ms"}) {
    EXPECT_THAT(text, HasSubstr(shown));
  }
}

TEST(Report, FormatsNumbers) {
  EXPECT_EQ(FormatMs(0.1234), "0.12 ms");
  EXPECT_EQ(FormatMs(12.34), "12.3 ms");
  EXPECT_EQ(FormatMs(1234), "1234 ms");
  EXPECT_EQ(FormatMs(12'345), "12.3 s");
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(1.5), "1.50");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(1'234'567), "1,234,567");
  EXPECT_EQ(FormatRatio(0.5), "50.0 %");
}

}  // namespace
}  // namespace weir::load
