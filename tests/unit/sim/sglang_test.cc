#include <gtest/gtest.h>

#include "sim_testing.h"

namespace weir::sim {
namespace {

EngineOptions SglangOptions(uint32_t tokens) {
  EngineOptions options = PlainOptions();
  options.personality = Personality::kSglang;
  options.block_count = tokens;
  return options;
}

TEST(Sglang, PrefillBatchesGoBeforeDecodes) {
  Recorder recorder;
  const auto engine = MakeEngine(SglangOptions(100'000), recorder);
  ASSERT_TRUE(engine->Submit(SpecOf(1, 100, 50), 0).ok());
  ASSERT_TRUE(engine->Submit(SpecOf(2, 20'000, 2), 1'000'000).ok());
  RunToEnd(*engine);
  size_t prefill_steps = 0;
  for (const StepReport& step : recorder.steps) {
    EXPECT_TRUE(step.prefill_tokens == 0 || step.decode_requests == 0);
    prefill_steps += step.prefill_tokens > 0;
  }
  EXPECT_EQ(prefill_steps, 4u);  // 100; then 20,000 as 8192, 8192, 3616
}

TEST(Sglang, MixedChunksLetDecodesJoin) {
  EngineOptions options = SglangOptions(100'000);
  options.mixed_chunk = true;
  Recorder recorder;
  const auto engine = MakeEngine(options, recorder);
  ASSERT_TRUE(engine->Submit(SpecOf(1, 100, 50), 0).ok());
  ASSERT_TRUE(engine->Submit(SpecOf(2, 20'000, 2), 1'000'000).ok());
  RunToEnd(*engine);
  EXPECT_EQ(recorder.steps[1].prefill_tokens, 8192u);
  EXPECT_EQ(recorder.steps[1].decode_requests, 1u);
}

TEST(Sglang, HitsEndBeforeTheLastToken) {
  Recorder recorder;
  const auto engine = MakeEngine(SglangOptions(1000), recorder);
  for (RequestId id : {1, 2}) {
    RequestSpec spec = SpecOf(id, 0, 1);
    spec.prompt_tokens = TokensOf(9, 77);
    ASSERT_TRUE(engine->Submit(std::move(spec), engine->now_ns()).ok());
    RunToEnd(*engine);
  }
  EXPECT_EQ(recorder.finished[2].cached_tokens, 76u);
}

TEST(Sglang, AdmissionKeepsRoomForOutput) {
  // 300 tokens: A takes 100 and reserves 0.7 * 100; B needs 100 + 70 of the 130 left, so it waits.
  Recorder recorder;
  const auto engine = MakeEngine(SglangOptions(300), recorder);
  ASSERT_TRUE(engine->Submit(SpecOf(1, 100, 100), 0).ok());
  ASSERT_TRUE(engine->Submit(SpecOf(2, 100, 100), 0).ok());
  RunToEnd(*engine);
  EXPECT_EQ(recorder.finished[1].scheduled_ns, 0);
  EXPECT_GT(recorder.finished[2].scheduled_ns, 0);
  EXPECT_EQ(engine->stats().preemptions, 0u);
}

TEST(Sglang, ExhaustionRetractsTheShortestOutput) {
  // 410 tokens admit both (2 * 170 + 70), and cannot hold both to their ends (2 * 250).
  Recorder recorder;
  const auto engine = MakeEngine(SglangOptions(410), recorder);
  RequestSpec first = SpecOf(1, 100, 150);
  RequestSpec second = SpecOf(2, 100, 150);
  ASSERT_TRUE(engine->Submit(std::move(first), 0).ok());
  ASSERT_TRUE(engine->Submit(std::move(second), 0).ok());
  RunToEnd(*engine);
  EXPECT_EQ(recorder.finished[1].preemptions, 0u);
  EXPECT_EQ(recorder.finished[2].preemptions, 1u);
  EXPECT_EQ(recorder.tokens[2].size(), 150u);
}

TEST(Sglang, LongestPrefixGoesFirstInShortQueues) {
  EngineOptions options = SglangOptions(10'000);
  options.longest_prefix_first = true;
  options.running_requests_max = 1;
  Recorder recorder;
  const auto engine = MakeEngine(options, recorder);
  ASSERT_TRUE(engine->Submit(SpecOf(1, 500, 20), 0).ok());
  ASSERT_TRUE(engine->Submit(SpecOf(2, 500, 20), 1).ok());
  RequestSpec again = SpecOf(3, 0, 1);
  again.prompt_tokens = TokensOf(1, 500);
  const auto answer = TokensOf(501, 60);  // starts as the first request's answer did
  again.prompt_tokens.insert(again.prompt_tokens.end(), answer.begin(), answer.end());
  ASSERT_TRUE(engine->Submit(std::move(again), 2).ok());
  RunToEnd(*engine);
  EXPECT_EQ(recorder.finished[3].cached_tokens, 519u);  // the answer's last token is not computed
  EXPECT_LT(recorder.finished[3].scheduled_ns, recorder.finished[2].scheduled_ns);
}

}  // namespace
}  // namespace weir::sim
