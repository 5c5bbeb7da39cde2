#include "weir/io/metrics/request_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "testing/allocation_guard.h"

namespace weir::io {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kMs = 1'000'000;

std::string PageOf(const RequestMetrics& metrics) {
  MetricsText text;
  metrics.Write(text, true);
  return text.Take();
}

// One of everything, on two threads' tables.
void FillAll(RequestMetrics& metrics) {
  WorkerMetrics& one = metrics.worker(0);
  WorkerMetrics& two = metrics.worker(1);
  const RequestLabels plain = {.model = "m", .target_model = "t", .fairness_id = "f"};
  const RequestLabels urgent = {
      .model = "m", .target_model = "t", .fairness_id = "f", .priority = -3};
  one.OnStreamBegin();
  two.OnStreamBegin();
  two.OnStreamBegin();
  one.OnDecision(true, "t", "default/a", "10.0.0.1:8000", 15'000);
  two.OnDecision(true, "t", "default/a", "10.0.0.1:8000", 150'000);
  two.OnDecision(false, "t", "", "", 1'000);
  const auto first = one.SeriesOf(plain);
  one.OnRequestRouted(first, 1000);
  one.OnRequestProcessed(2 * kMs);
  one.OnResponseProcessed(kMs / 10);
  one.OnResponseGap(first, 20 * kMs);
  one.OnRequestEnd(first, {.routed = true,
                           .streaming = true,
                           .complete = true,
                           .duration_ns = 1100 * kMs,
                           .first_byte_ns = 100 * kMs,
                           .response_bytes = 4000,
                           .prompt_tokens = 800,
                           .cached_tokens = 640,
                           .output_tokens = 101});
  const auto second = two.SeriesOf(urgent);
  two.OnRequestRouted(second, 64);
  two.OnRequestEnd(second, {.routed = true,
                            .complete = true,
                            .duration_ns = 10 * kMs,
                            .first_byte_ns = 9 * kMs,
                            .response_bytes = 32778,
                            .prompt_tokens = 5,
                            .output_tokens = 1});
  two.OnRequestRouted(two.SeriesOf(plain), 65);
  two.OnRequestError(two.SeriesOf(plain), "ResourceExhausted");
  two.OnRequestError(WorkerMetrics::kNoRequest, "BadRequest");
  one.OnStreamEnd(0, 2000 * kMs);
  two.OnStreamEnd(8, 5 * kMs);
}

// The page with one of everything: names, help texts, labels, bounds. A change here changes what
// dashboards see. WEIR_WRITE_GOLDEN=1 writes it anew.
TEST(RequestMetrics, PageIsGolden) {
  const std::string path = WEIR_SOURCE_DIR "/tests/golden/metrics/requests.prom";
  RequestMetrics metrics(2);
  FillAll(metrics);
  const std::string page = PageOf(metrics);
  if (std::getenv("WEIR_WRITE_GOLDEN") != nullptr) std::ofstream(path) << page;
  std::ostringstream golden;
  golden << std::ifstream(path).rdbuf();
  EXPECT_EQ(page, golden.str());
}

TEST(RequestMetrics, NothingHappenedNothingShown) {
  RequestMetrics metrics(1);
  MetricsText text;
  metrics.Write(text, false);
  EXPECT_EQ(text.text(), "");
  EXPECT_THAT(PageOf(metrics), HasSubstr("llm_d_epp_extproc_streams_inflight 0\n"));
}

TEST(RequestMetrics, RunningFallsAtTheEnd) {
  RequestMetrics metrics(1);
  WorkerMetrics& worker = metrics.worker(0);
  const auto series = worker.SeriesOf({.model = "m"});
  worker.OnRequestRouted(series, 1);
  EXPECT_THAT(PageOf(metrics),
              HasSubstr("inference_objective_running_requests{model_name=\"m\"} 1"));
  worker.OnRequestEnd(series, {.routed = true});
  EXPECT_THAT(PageOf(metrics),
              HasSubstr("inference_objective_running_requests{model_name=\"m\"} 0"));
}

TEST(RequestMetrics, AResponseWithoutARoutedRequestWasNotRunning) {
  RequestMetrics metrics(1);
  metrics.worker(0).OnRequestRouted(WorkerMetrics::kNoRequest, 1);
  metrics.worker(0).OnRequestEnd(WorkerMetrics::kNoRequest, {.complete = true, .duration_ns = 1});
  EXPECT_THAT(PageOf(metrics), HasSubstr("running_requests{model_name=\"\"} 1\n"));
}

TEST(RequestMetrics, ACutResponseHasNoDuration) {
  RequestMetrics metrics(1);
  WorkerMetrics& worker = metrics.worker(0);
  const auto series = worker.SeriesOf({.model = "m"});
  worker.OnRequestRouted(series, 1);
  worker.OnRequestEnd(series,
                      {.routed = true, .streaming = true, .duration_ns = kMs, .first_byte_ns = 1});
  const std::string page = PageOf(metrics);
  EXPECT_THAT(page, Not(HasSubstr("llm_d_epp_request_duration_seconds")));
  EXPECT_THAT(page, Not(HasSubstr("tokens")));
  EXPECT_THAT(page, HasSubstr("llm_d_epp_request_ttft_seconds_count{model_name=\"m\","
                              "target_model_name=\"\",fairness_id=\"\",priority=\"0\","
                              "streaming=\"true\"} 1"));
}

TEST(RequestMetrics, UnknownErrorsAndCodesAreCountedAsSuch) {
  RequestMetrics metrics(1);
  metrics.worker(0).OnRequestError(WorkerMetrics::kNoRequest, "SomethingNew");
  metrics.worker(0).OnStreamEnd(99, 0);
  EXPECT_THAT(PageOf(metrics), HasSubstr("error_code=\"Unknown\"} 1"));
  EXPECT_THAT(PageOf(metrics), HasSubstr("streams_total{code=\"Unknown\"} 1"));
}

TEST(RequestMetrics, NamesBeyondTheLimitAreOther) {
  RequestMetrics metrics(1);
  const std::string_view kept[] = {"configured"};
  metrics.KeepModels(kept);
  WorkerMetrics& worker = metrics.worker(0);
  for (uint32_t i = 0; i <= kModelLabelsMax; ++i) {
    worker.OnRequestRouted(worker.SeriesOf({.model = "model-" + std::to_string(i)}), 1);
  }
  worker.OnRequestRouted(worker.SeriesOf({.model = "configured"}), 1);
  const std::string page = PageOf(metrics);
  EXPECT_THAT(page, HasSubstr("model_name=\"model-999\""));
  EXPECT_THAT(page, Not(HasSubstr("model_name=\"model-1000\"")));
  EXPECT_THAT(page, HasSubstr("llm_d_epp_request_total{model_name=\"other\","));
  EXPECT_THAT(page, HasSubstr("llm_d_epp_request_total{model_name=\"configured\","));
}

TEST(RequestMetrics, LabelSetsBeyondTheLimitShareOne) {
  RequestMetrics metrics(2);
  WorkerMetrics& worker = metrics.worker(0);
  std::set<uint32_t> seen;
  for (int32_t priority = 1; priority <= 3 * static_cast<int32_t>(kRequestSeriesMax); ++priority) {
    const auto series = worker.SeriesOf({.model = "m", .priority = priority});
    seen.insert(series);
    worker.OnRequestRouted(series, 1);
  }
  EXPECT_EQ(seen.size(), kRequestSeriesMax - 1);  // all but that of streams without a request
  EXPECT_THAT(PageOf(metrics), HasSubstr("fairness_id=\"other\",priority=\"other\"} 4098\n"));
}

TEST(RequestMetrics, SteadyTrafficAllocatesNothing) {
  RequestMetrics metrics(1);
  WorkerMetrics& worker = metrics.worker(0);
  const RequestLabels labels = {.model = "a model with a name of some length",
                                .target_model = "another model with a name of some length",
                                .fairness_id = "a tenant with a name of some length"};
  const auto serve = [&] {
    worker.OnStreamBegin();
    worker.OnDecision(true, labels.target_model, "default/pod", "10.0.0.1:8000", 1000);
    const auto series = worker.SeriesOf(labels);
    worker.OnRequestRouted(series, 1000);
    worker.OnResponseGap(series, 1000);
    worker.OnRequestEnd(series,
                        {.routed = true, .complete = true, .duration_ns = 1, .output_tokens = 3});
    worker.OnRequestError(series, "Internal");
    worker.OnStreamEnd(0, 1);
  };
  serve();
  const testing::AllocationForbidden guard;
  serve();
}

TEST(RequestMetrics, PagesCanBeReadWhileThreadsCount) {
  RequestMetrics metrics(2);
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < 2; ++i) {
    threads.emplace_back([&worker = metrics.worker(i)] {
      for (int32_t n = 0; n < 2000; ++n) {
        const auto series = worker.SeriesOf({.model = "m" + std::to_string(n % 50)});
        worker.OnRequestRouted(series, 1);
        worker.OnDecision(true, "m", "default/a", "h:1", 1);
        worker.OnRequestEnd(series, {.routed = true, .complete = true, .duration_ns = 1});
      }
    });
  }
  for (int i = 0; i < 5; ++i) PageOf(metrics);
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(PageOf(metrics),
              HasSubstr("llm_d_epp_scheduler_attempts_total{status=\"success\","
                        "target_model_name=\"m\",endpoint_name=\"a\",namespace=\"default\","
                        "port=\"1\"} 4000\n"));
}

}  // namespace
}  // namespace weir::io
