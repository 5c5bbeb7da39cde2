#include "load/result.h"

#include <gtest/gtest.h>

namespace weir::load {
namespace {

constexpr int64_t kMs = 1'000'000;

Sample Good(int64_t due_ms, int64_t ttft_ms, int64_t e2e_ms, uint64_t tokens = 11) {
  Sample sample;
  sample.due_ns = due_ms * kMs;
  sample.sent_ns = sample.due_ns + kMs;
  sample.first_token_ns = sample.due_ns + ttft_ms * kMs;
  sample.last_token_ns = sample.end_ns = sample.due_ns + e2e_ms * kMs;
  sample.prompt_tokens = 100;
  sample.cached_tokens = 40;
  sample.output_tokens = tokens;
  return sample;
}

TEST(Recorder, AddsUpAndCountsFromTheDueTime) {
  Recorder recorder({.ttft_ns = 50 * kMs});
  Sample sample = Good(1000, 30, 130);
  sample.server = "a";
  recorder.Add(sample);
  sample = Good(2000, 80, 180);
  sample.server = "b";
  recorder.Add(sample);
  Sample failed = Good(3000, 1, 2);
  failed.error = "http 503";
  failed.server = "a";
  recorder.Add(failed);
  Sample warm = Good(0, 1, 1);
  warm.measured = false;
  recorder.Add(warm);

  const Figures& figures = recorder.figures();
  EXPECT_EQ(figures.requests, 3u);
  EXPECT_EQ(figures.errors, 1u);
  EXPECT_EQ(figures.warmup_requests, 1u);
  EXPECT_EQ(figures.good, 1u);
  EXPECT_EQ(figures.prompt_tokens, 200u);
  EXPECT_EQ(figures.cached_tokens, 80u);
  EXPECT_EQ(figures.output_tokens, 22u);
  EXPECT_EQ(figures.ttft.count(), 2u);
  EXPECT_EQ(figures.ttft.min(), 30u * kMs);
  EXPECT_EQ(figures.tpot.max(), 10u * kMs);
  EXPECT_EQ(figures.lateness.max(), 1u * kMs);
  EXPECT_EQ(figures.errors_by_kind.at("http 503"), 1u);
  EXPECT_EQ(figures.requests_by_server.at("a"), 2u);
  EXPECT_NEAR(figures.duration_s(), 2.002, 1e-9);
  EXPECT_NEAR(figures.error_ratio(), 1.0 / 3, 1e-9);
}

TEST(Recorder, GoodputNeedsEveryLimit) {
  Recorder recorder({.ttft_ns = 50 * kMs, .itl_ns = 10 * kMs, .e2e_ns = 200 * kMs});
  recorder.Add(Good(0, 50, 150));     // all at their limits
  recorder.Add(Good(0, 51, 150));     // TTFT
  recorder.Add(Good(0, 20, 150));     // 13 ms a token
  recorder.Add(Good(0, 50, 201, 1));  // end to end
  EXPECT_EQ(recorder.figures().good, 1u);
}

TEST(Recorder, BoundsServersErrorsAndSeries) {
  Recorder recorder;
  for (size_t i = 0; i < kServersMax + 100; ++i) {
    Sample sample = Good(static_cast<int64_t>(i) * 1000, 1, 2);
    const std::string name = "server" + std::to_string(i);
    sample.server = name;
    const std::string kind = "kind" + std::to_string(i);
    if (i % 2 == 0) sample.error = kind;
    recorder.Add(sample);
  }
  const Figures& figures = recorder.figures();
  EXPECT_EQ(figures.requests_by_server.size(), kServersMax);
  EXPECT_EQ(figures.requests_by_server.at("(other)"), 101u);
  EXPECT_EQ(figures.errors_by_kind.size(), kErrorKindsMax);
  EXPECT_LE(figures.series.size(), kSeriesBucketsMax);
  uint64_t due = 0, completed = 0;
  for (const SeriesBucket& bucket : figures.series) {
    due += bucket.due;
    completed += bucket.completed;
  }
  EXPECT_EQ(due, kServersMax + 100);
  EXPECT_EQ(completed, (kServersMax + 100) / 2);
}

TEST(Recorder, MergeAlignsSeriesOfDifferentSteps) {
  Recorder shorter, longer;
  shorter.Add(Good(100, 10, 20));
  longer.Add(Good(2'000'000, 10, 20));
  const int64_t step_ns = longer.figures().series_step_ns;
  EXPECT_GT(step_ns, shorter.figures().series_step_ns);
  shorter.Merge(longer);
  EXPECT_EQ(shorter.figures().series_step_ns, step_ns);
  EXPECT_EQ(shorter.figures().series[0].due, 1u);
  EXPECT_EQ(shorter.figures().series[2'000'000 * kMs / step_ns].due, 1u);
  EXPECT_EQ(shorter.figures().requests, 2u);
  EXPECT_EQ(shorter.figures().first_due_ns, 100 * kMs);
  longer.Merge(Recorder());
  EXPECT_EQ(longer.figures().requests, 1u);
  EXPECT_EQ(longer.figures().first_due_ns, 2'000'000 * kMs);
}

}  // namespace
}  // namespace weir::load
