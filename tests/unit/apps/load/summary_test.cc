#include "load/summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace weir::load {
namespace {

using ::testing::HasSubstr;

Recorder Sampled() {
  Recorder recorder({.ttft_ns = 1'000'000'000});
  for (int i = 0; i < 101; ++i) {
    Sample sample;
    sample.due_ns = i * 100'000'000LL;
    sample.sent_ns = sample.due_ns;
    sample.first_token_ns = sample.due_ns + (i + 1) * 1'000'000LL;
    sample.last_token_ns = sample.end_ns = sample.due_ns + 200'000'000;
    sample.prompt_tokens = 1000;
    sample.cached_tokens = 250;
    sample.output_tokens = 10;
    sample.server = i % 2 == 0 ? "a" : "b";
    recorder.Add(sample);
  }
  return recorder;
}

TEST(Summary, HasTheRatesOfItsFigures) {
  const Summary summary = Summarize(Sampled().figures(), {.ttft_ns = 1'000'000'000});
  EXPECT_EQ(summary.requests, 101u);
  EXPECT_NEAR(summary.duration_s, 10.2, 1e-9);
  EXPECT_NEAR(summary.offered_requests_per_s, 10, 1e-9);
  EXPECT_NEAR(summary.output_tokens_per_s, 1010 / 10.2, 1e-6);
  EXPECT_DOUBLE_EQ(summary.prefix_hit_ratio, 0.25);
  EXPECT_NEAR(summary.ttft_ms.p50, 51, 0.3);
  EXPECT_DOUBLE_EQ(summary.ttft_ms.max, 101);
  EXPECT_DOUBLE_EQ(summary.good_ratio, 1);
}

TEST(Summary, ComesBackFromItsJson) {
  Summary summary = Summarize(Sampled().figures(), {.ttft_ns = 1'000'000'000});
  summary.name = "prefix aware";
  summary.processes.push_back({"weir-load", 1.5, 10, 2, 4096});
  const auto read = ParseSummary(ToJson(summary).dump());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(ToJson(*read), ToJson(summary));
}

TEST(Summary, OfNothingIsAllZero) {
  const Summary summary = Summarize(Figures(), {});
  EXPECT_EQ(summary.requests_per_s, 0);
  EXPECT_EQ(summary.prefix_hit_ratio, 0);
  EXPECT_TRUE(ParseSummary(ToJson(summary).dump()).ok());
}

TEST(Summary, NamesWhatIsWrongInAFile) {
  const struct {
    const char* text;
    const char* complaint;
  } kCases[] = {
      {"", "not a JSON object"},
      {"[]", "not a JSON object"},
      {"{}", "schema: \"\", expected \"weir-load/1\""},
      {R"({"schema":"weir-load/9"})", "weir-load/9"},
      {R"({"schema":"weir-load/1","requests":-1})", "requests: expected a whole number"},
      {R"({"schema":"weir-load/1","ttft_ms":3})", "ttft_ms: expected an object"},
      {R"({"schema":"weir-load/1","ttft_ms":{"p50":"x"}})", "ttft_ms.p50: expected a number"},
      {R"({"schema":"weir-load/1","servers":[3]})", "servers: expected a list of objects"},
      {R"({"schema":"weir-load/1","servers":[{"name":3}]})", "servers[].name: expected a text"},
      {R"({"schema":"weir-load/1","ttft_cdf":[[1]]})", "ttft_cdf: expected"},
      {R"({"schema":"weir-load/1","series":{}})", "series: expected"},
      {R"({"schema":"weir-load/1","name":[]})", "name: expected a text"},
  };
  for (const auto& bad : kCases) {
    const auto summary = ParseSummary(bad.text);
    ASSERT_FALSE(summary.ok()) << bad.text;
    EXPECT_THAT(std::string(summary.status().message()), HasSubstr(bad.complaint));
  }
}

}  // namespace
}  // namespace weir::load
