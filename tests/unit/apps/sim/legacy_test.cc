#include <gtest/gtest.h>

#include "fake_call.h"
#include "legacy_backend.h"

namespace weir::sim {
namespace {

constexpr int64_t kMs = 1'000'000;

SimOptions LegacyOptions() {
  SimOptions options = TestOptions();
  options.legacy = true;
  options.latency.time_to_first_token.mean_ns = 100 * kMs;
  options.latency.inter_token.mean_ns = 10 * kMs;
  return options;
}

TEST(LatencyCalculator, MatchesTheGoldens) {
  LegacyLatency latency;
  latency.calculator = "per-token";
  latency.time_factor_under_load = 2;
  latency.prefill_overhead_ns = 30 * kMs;
  latency.prefill_per_token.mean_ns = 250'000;
  latency.inter_token.mean_ns = 12 * kMs;
  const LatencyCalculator calculator(latency, 256);
  Random random(1);
  EXPECT_NEAR(calculator.LoadFactor(128), 1.498039, 1e-6);
  EXPECT_EQ(calculator.FirstTokenNs(random, 128, 2048, 1024, false), 428 * kMs);
  EXPECT_EQ(calculator.InterTokenNs(random, 128), 17 * kMs);
}

TEST(LatencyCalculator, ChoosesTheFormByNameOrByWhatIsSet) {
  LegacyLatency latency;
  latency.time_to_first_token.mean_ns = 100 * kMs;
  latency.prefill_overhead_ns = 7 * kMs;
  latency.kv_transfer_per_token.mean_ns = kMs;
  Random random(1);
  EXPECT_EQ(LatencyCalculator(latency, 1).FirstTokenNs(random, 1, 50, 0, false), 100 * kMs);
  EXPECT_EQ(LatencyCalculator(latency, 1).FirstTokenNs(random, 1, 50, 0, true), 50 * kMs);
  latency.calculator = "per-token";
  EXPECT_EQ(LatencyCalculator(latency, 1).FirstTokenNs(random, 1, 50, 0, false), 7 * kMs);
  latency.calculator = "constant";
  latency.kv_transfer.mean_ns = 9 * kMs;
  EXPECT_EQ(LatencyCalculator(latency, 1).FirstTokenNs(random, 1, 50, 0, true), 9 * kMs);
}

TEST(LatencyCalculator, DrawsStayWithinBoundsAndCountMilliseconds) {
  LegacyLatency latency;
  latency.inter_token = {.mean_ns = 10 * kMs, .std_dev_ns = 3 * kMs};
  const LatencyCalculator calculator(latency, 4);
  Random random(5);
  int64_t sum_ns = 0;
  for (int i = 0; i < 2000; ++i) {
    const int64_t ns = calculator.InterTokenNs(random, 1);
    EXPECT_GE(ns, 3 * kMs);
    EXPECT_LE(ns, 17 * kMs);
    EXPECT_EQ(ns % kMs, 0);
    sum_ns += ns;
  }
  EXPECT_NEAR(static_cast<double>(sum_ns) / 2000, 9.5e6, 0.3e6);  // rounding down costs a half
  latency.inter_token = {.mean_ns = 250'000};
  EXPECT_EQ(LatencyCalculator(latency, 4).InterTokenNs(random, 1), 0);
}

TEST(LegacyBackend, SleepsPerRequestAndQueuesBeyondItsSlots) {
  SimOptions options = LegacyOptions();
  options.running_requests_max = 2;
  options.waiting_requests_max = 1;
  const auto instance = MakeInstance(options);
  std::vector<std::unique_ptr<FakeCall>> calls;
  for (int i = 0; i < 4; ++i) {
    calls.push_back(std::make_unique<FakeCall>(
        "POST", "/v1/completions", R"({"prompt":"a","max_tokens":3,"ignore_eos":true})"));
    instance->Handle(*calls.back(), 0);
  }
  EXPECT_EQ(calls[3]->status, 429);
  instance->AdvanceTo(119 * kMs);
  EXPECT_FALSE(calls[0]->ended);
  instance->AdvanceTo(120 * kMs);
  EXPECT_TRUE(calls[0]->ended && calls[1]->ended);
  instance->AdvanceTo(239 * kMs);
  EXPECT_FALSE(calls[2]->ended);
  instance->AdvanceTo(240 * kMs);
  EXPECT_TRUE(calls[2]->ended);
}

TEST(LegacyBackend, ALeavingClientFreesItsSlot) {
  SimOptions options = LegacyOptions();
  options.running_requests_max = 1;
  options.legacy_kv_cache = true;
  const auto instance = MakeInstance(options);
  const std::string body = R"({"prompt":"a b c d e f g h i j k l m n o p q r","max_tokens":3})";
  FakeCall first("POST", "/v1/completions", body);
  FakeCall second("POST", "/v1/completions", body);
  instance->Handle(first, 0);
  instance->Handle(second, 0);
  EXPECT_EQ(instance->stats().waiting_requests, 1u);
  EXPECT_EQ(instance->stats().used_blocks, 1u);
  instance->ClientGone(first);
  EXPECT_EQ(instance->stats().waiting_requests, 0u);
  RunToEnd(*instance);
  EXPECT_EQ(second.json()["usage"]["prompt_tokens_details"]["cached_tokens"], 16);
  EXPECT_EQ(instance->stats().used_blocks, 0u);
}

TEST(LegacyBackend, APromptLargerThanTheCacheIsAnError) {
  SimOptions options = LegacyOptions();
  options.legacy_kv_cache = true;
  options.legacy_kv_blocks = 1;
  const auto instance = MakeInstance(options);
  std::string prompt;
  for (int i = 0; i < 40; ++i) prompt += " w" + std::to_string(i);
  const FakeCall call = Post(*instance, "/v1/completions", R"({"prompt":")" + prompt + "\"}");
  EXPECT_EQ(call.status, 500);
}

TEST(LegacyBackend, AdminChangesLatencies) {
  const auto instance = MakeInstance(LegacyOptions());
  EXPECT_EQ(Post(*instance, "/admin/config", R"({"time-to-first-token":"1s"})").status, 200);
  EXPECT_EQ(Post(*instance, "/admin/config", R"({"inter-token-latency-std-dev":"9ms"})").status,
            400);
  FakeCall call("POST", "/v1/completions", R"({"prompt":"a","max_tokens":1})");
  instance->Handle(call, 0);
  EXPECT_EQ(instance->NextEventTime(), 1000 * kMs);
}

}  // namespace
}  // namespace weir::sim
