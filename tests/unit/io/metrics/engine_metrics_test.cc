#include "weir/io/metrics/engine_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weir::io {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kSecond = 1'000'000'000;

class PoolMetricsTest : public ::testing::Test {
 protected:
  void Put(const std::string& name, uint32_t waiting, uint32_t running, double kv_used) {
    ASSERT_TRUE(router_.pool()
                    .Upsert({.name = name,
                             .address = "10.0.0.1:8000",
                             .metrics = {.waiting_requests = waiting,
                                         .running_requests = running,
                                         .kv_used_ratio = kv_used}})
                    .ok());
  }
  std::string Page() {
    MetricsText text;
    WritePoolMetrics(*router_.pool().snapshot(), clock_.now_ns(), {.pool_name = "p"}, text);
    return text.Take();
  }

  ManualClock clock_{kSecond};
  const Router router_ = Router::Default({.clock = &clock_}).value();
};

TEST_F(PoolMetricsTest, AveragesFreshEndpoints) {
  Put("a", 1, 2, .5);
  Put("b", 2, 4, .25);
  Put("c", 2, 6, .25);
  const std::string page = Page();
  EXPECT_THAT(page, HasSubstr("\nllm_d_epp_average_queue_size{name=\"p\"} 1.67\n"));
  EXPECT_THAT(page, HasSubstr("\ninference_pool_average_queue_size{name=\"p\"} 1.67\n"));
  EXPECT_THAT(page, HasSubstr("\nllm_d_epp_average_running_requests{name=\"p\"} 4\n"));
  EXPECT_THAT(page, HasSubstr("\nllm_d_epp_average_kv_cache_utilization{name=\"p\"} 0.33\n"));
  EXPECT_THAT(page, HasSubstr("\nllm_d_epp_std_dev_running_requests{name=\"p\"} 2\n"));
  EXPECT_THAT(page, HasSubstr("\nllm_d_epp_ready_endpoints{name=\"p\"} 3\n"));
  EXPECT_THAT(page, HasSubstr("\ninference_pool_ready_pods{name=\"p\"} 3\n"));
  EXPECT_THAT(page, HasSubstr("llm_d_epp_per_endpoint_queue_size{name=\"p\","
                              "model_server_endpoint=\"b\"} 2\n"));
  EXPECT_THAT(page, HasSubstr("inference_pool_per_pod_queue_size{name=\"p\","
                              "model_server_pod=\"b\"} 2\n"));
}

TEST_F(PoolMetricsTest, OldAndMissingSamplesDoNotCount) {
  Put("a", 8, 0, 0);
  clock_.Advance(2 * kSecond);
  Put("b", 2, 0, 0);
  ASSERT_TRUE(router_.pool().Upsert({.name = "never", .address = "10.0.0.1:8000"}).ok());
  EXPECT_THAT(Page(), HasSubstr("llm_d_epp_average_queue_size{name=\"p\"} 5\n"));
  clock_.Advance(1);
  const std::string page = Page();
  EXPECT_THAT(page, HasSubstr("llm_d_epp_average_queue_size{name=\"p\"} 2\n"));
  EXPECT_THAT(page, HasSubstr("llm_d_epp_ready_endpoints{name=\"p\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("llm_d_epp_std_dev_queue_size{name=\"p\"} 0\n"));
  EXPECT_THAT(page, Not(HasSubstr("never")));
}

TEST_F(PoolMetricsTest, AnEmptyPoolIsAllZero) {
  const std::string page = Page();
  EXPECT_THAT(page, HasSubstr("llm_d_epp_ready_endpoints{name=\"p\"} 0\n"));
  EXPECT_THAT(page, HasSubstr("llm_d_epp_average_queue_size{name=\"p\"} 0\n"));
  EXPECT_THAT(page, Not(HasSubstr("per_endpoint")));
}

TEST(RewriteMetrics, AreWrittenTwice) {
  const RewriteCount counts[] = {
      {.rewrite_name = "r", .model = "m", .target_model = "t", .decisions = 3},
      {.rewrite_name = "never", .model = "m", .target_model = "t", .decisions = 0}};
  MetricsText text;
  WriteRewriteMetrics(counts, text);
  const std::string labels = "{model_rewrite_name=\"r\",model_name=\"m\",target_model=\"t\"} 3\n";
  EXPECT_THAT(text.text(), Not(HasSubstr("never")));
  EXPECT_THAT(text.text(), HasSubstr("\nllm_d_epp_model_rewrite_decisions_total" + labels));
  EXPECT_THAT(text.text(),
              HasSubstr("\ninference_extension_model_rewrite_decisions_total" + labels));
}

TEST(EngineMetrics, ShowsFlightsThatHaveNotEnded) {
  RouterStats stats;
  stats.decisions = 5;
  stats.flights_begun = 3;
  stats.flights_ended = 1;
  stats.plugins.push_back({.name = "n", .type = "t", .failures = 2, .invalid_results = 1});
  MetricsText text;
  WriteEngineMetrics(stats, text);
  EXPECT_THAT(text.text(), HasSubstr("\nweir_decisions_total 5\n"));
  EXPECT_THAT(text.text(), HasSubstr("\nweir_flights 2\n"));
  EXPECT_THAT(text.text(),
              HasSubstr("weir_plugin_failures_total{plugin_name=\"n\",plugin_type=\"t\"} 2"));
  EXPECT_THAT(
      text.text(),
      HasSubstr("weir_plugin_invalid_results_total{plugin_name=\"n\",plugin_type=\"t\"} 1"));
}

}  // namespace
}  // namespace weir::io
