#include "metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "fake_call.h"
#include "weir/io/scrape/scrape_plan.h"

namespace weir::sim {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

std::vector<std::string> LinesOf(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream input(text);
  for (std::string line; std::getline(input, line);) lines.push_back(line);
  return lines;
}

std::string GoldenPage(const std::string& name) {
  std::ifstream file(std::string(WEIR_SOURCE_DIR) + "/tests/golden/sim/" + name);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Two requests that share a prompt of 40 tokens, 3 tokens of output each.
std::string PageOf(Personality personality) {
  SimOptions options = TestOptions();
  options.personality = personality;
  options.enable_metrics = true;
  options.model_tokens_max = 1000;
  const auto instance = MakeInstance(options);
  std::string prompt = "w";
  for (int i = 1; i < 40; ++i) prompt += " w";
  for (int i = 0; i < 2; ++i) {
    Post(*instance, "/v1/completions",
         R"({"prompt":")" + prompt + R"(","max_tokens":3,"ignore_eos":true})");
  }
  return Get(*instance, "/metrics").answer;
}

TEST(Metrics, PagesAreTheGoldenOnes) {
  EXPECT_THAT(LinesOf(PageOf(Personality::kVllm)),
              ElementsAreArray(LinesOf(GoldenPage("metrics_vllm.prom"))));
  EXPECT_THAT(LinesOf(PageOf(Personality::kSglang)),
              ElementsAreArray(LinesOf(GoldenPage("metrics_sglang.prom"))));
}

// What a router reads from the pages, with the plans that it reads real engines with.
TEST(Metrics, TheScraperUnderstandsThePages) {
  const auto plans = io::ScrapePlans::Create({});
  ASSERT_TRUE(plans.ok()) << plans.status();
  for (const bool sglang : {false, true}) {
    SimOptions options = TestOptions();
    options.personality = sglang ? Personality::kSglang : Personality::kVllm;
    options.enable_metrics = true;
    options.running_requests_max = 1;
    options.block_count = 1000;
    const auto instance = MakeInstance(options);
    std::vector<std::unique_ptr<FakeCall>> calls;
    for (int i = 0; i < 3; ++i) {
      calls.push_back(std::make_unique<FakeCall>(
          "POST", "/v1/completions", R"({"prompt":"a","max_tokens":200,"ignore_eos":true})"));
      instance->Handle(*calls.back(), 0);
    }
    instance->AdvanceTo(10'000'000);
    FakeCall page("GET", "/metrics");
    instance->Handle(page, 10'000'000);
    io::EndpointSample sample;
    const io::ExtractStats stats =
        io::Extract(plans->ForEngine(sglang ? "sglang" : "vllm"), page.answer, sample);
    EXPECT_EQ(stats.missing + stats.bad_values + stats.malformed_lines, 0u);
    EXPECT_EQ(sample.running_requests, 1u);
    EXPECT_EQ(sample.waiting_requests, 2u);
    EXPECT_GT(sample.kv_used_ratio, 0);
    EXPECT_EQ(sample.block_tokens, sglang ? 1u : 16u);
    EXPECT_EQ(sample.block_count, 1000u);
  }
}

TEST(Metrics, TimeToFirstTokenIncludesTheQueue) {
  SimOptions options = TestOptions();
  options.running_requests_max = 1;
  const auto instance = MakeInstance(options);
  FakeCall first("POST", "/v1/completions", R"({"prompt":"a","max_tokens":200,"ignore_eos":true})");
  FakeCall second("POST", "/v1/completions", R"({"prompt":"b","max_tokens":1})");
  instance->Handle(first, 0);
  instance->Handle(second, 0);
  RunToEnd(*instance);
  const std::string page = Get(*instance, "/metrics").answer;
  // 200 steps of 6.4 ms: the second waits for 1.3 s.
  EXPECT_THAT(page, HasSubstr("vllm:time_to_first_token_seconds_bucket{engine=\"0\","
                              "model_name=\"m\",le=\"1\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("vllm:time_to_first_token_seconds_bucket{engine=\"0\","
                              "model_name=\"m\",le=\"2.5\"} 2\n"));
  EXPECT_THAT(page, HasSubstr("vllm:request_queue_time_seconds_bucket{engine=\"0\","
                              "model_name=\"m\",le=\"1.5\"} 2\n"));
}

TEST(Metrics, GaugesShowWhatRunsNow) {
  const auto instance = MakeInstance(TestOptions());
  FakeCall call("POST", "/v1/completions", R"({"prompt":"a","max_tokens":200,"ignore_eos":true})");
  instance->Handle(call, 0);
  instance->AdvanceTo(10'000'000);
  FakeCall page("GET", "/metrics");
  instance->Handle(page, 0);
  EXPECT_THAT(page.answer,
              HasSubstr("vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 1\n"));
  EXPECT_THAT(page.answer, HasSubstr("vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} "
                                     "0.000038"));
}

TEST(Histogram, CountsUpToEachBoundInclusive) {
  const double bounds[] = {1, 2.5};
  Histogram histogram(bounds);
  for (const double value : {1.0, 1.1, 2.5, 3.0}) histogram.Observe(value);
  std::string text;
  histogram.Append(text, "h", "a=\"b\"");
  EXPECT_EQ(text,
            "# TYPE h histogram\nh_bucket{a=\"b\",le=\"1\"} 1\nh_bucket{a=\"b\",le=\"2.5\"} 3\n"
            "h_bucket{a=\"b\",le=\"+Inf\"} 4\nh_sum{a=\"b\"} 7.6\nh_count{a=\"b\"} 4\n");
}

}  // namespace
}  // namespace weir::sim
