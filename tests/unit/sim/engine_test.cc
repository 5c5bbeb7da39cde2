#include "weir/sim/engine.h"

#include <gtest/gtest.h>

#include "sim_testing.h"

namespace weir::sim {
namespace {

EngineOptions SmallOptions(uint32_t blocks) {
  EngineOptions options = PlainOptions();
  options.block_count = blocks;
  options.block_tokens = 16;
  return options;
}

TEST(Engine, FillsDefaultsFromHardwareAndPersonality) {
  Recorder recorder;
  const auto vllm = MakeEngine(PlainOptions(), recorder);
  EXPECT_EQ(vllm->options().block_tokens, 16u);
  EXPECT_EQ(vllm->options().block_count, 26313u);
  EXPECT_EQ(vllm->options().step_tokens_max, 8192u);
  EXPECT_EQ(vllm->options().running_requests_max, 1024u);
  EngineOptions options = PlainOptions();
  options.hardware = *FindHardware("a100");
  const auto a100 = MakeEngine(options, recorder);
  EXPECT_EQ(a100->options().step_tokens_max, 2048u);
  EXPECT_EQ(a100->options().running_requests_max, 256u);
  options.personality = Personality::kSglang;
  const auto sglang = MakeEngine(options, recorder);
  EXPECT_EQ(sglang->options().block_tokens, 1u);
  EXPECT_EQ(sglang->options().step_tokens_max, 8192u);
}

TEST(Engine, RefusesOptionsOutOfRange) {
  Recorder recorder;
  const auto refused = [&](auto change) {
    EngineOptions options = PlainOptions();
    change(options);
    return std::string(Engine::Create(options, recorder).status().message());
  };
  EXPECT_EQ(refused([](EngineOptions& o) { o.tensor_parallel = 0; }),
            "tensor_parallel: 0, expected 1..64");
  EXPECT_EQ(refused([](EngineOptions& o) { o.block_tokens = 1025; }),
            "block_tokens: 1025, expected 0..1024");
  EXPECT_EQ(refused([](EngineOptions& o) { o.memory.utilization_ratio = 1.5; }),
            "memory.utilization_ratio: 1.5, expected above 0, at most 1");
  EXPECT_EQ(refused([](EngineOptions& o) { o.model_tokens_max = 1; }),
            "model_tokens_max: 1, expected 2..8388608");
  EXPECT_EQ(refused([](EngineOptions& o) { o.jitter_sigma = -1; }),
            "jitter_sigma: -1, expected 0..1");
  EXPECT_EQ(refused([](EngineOptions& o) {
              o.hardware = *FindHardware("l40s");
              o.model = *FindModel("llama-3.1-70b");
            }),
            "model llama-3.1-70b leaves no memory for KV blocks on 1 x l40s");
  EXPECT_NE(refused([](EngineOptions& o) { o.model = {}; }), "");
}

TEST(Engine, RefusesRequestsThatCannotRun) {
  EngineOptions options = SmallOptions(4);
  options.model_tokens_max = 100;
  options.waiting_requests_max = 2;
  Recorder recorder;
  const auto engine = MakeEngine(options, recorder);
  const auto code = [&](RequestSpec spec, int64_t at_ns = 10) {
    return engine->Submit(std::move(spec), at_ns).code();
  };
  EXPECT_EQ(code(SpecOf(1, 0, 1)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(SpecOf(1, 1, 0)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(SpecOf(1, 100, 1)), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(code(SpecOf(1, 60, 5)), absl::StatusCode::kOutOfRange);  // five blocks
  EXPECT_EQ(code(SpecOf(1, 60, 4)), absl::StatusCode::kOk);
  EXPECT_EQ(code(SpecOf(1, 1, 1)), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(code(SpecOf(2, 1, 1), 9), absl::StatusCode::kInvalidArgument);  // before the last
  EXPECT_EQ(code(SpecOf(2, 1, 1)), absl::StatusCode::kOk);
  EXPECT_EQ(code(SpecOf(3, 1, 1)), absl::StatusCode::kResourceExhausted);
  RunToEnd(*engine);
  EXPECT_EQ(recorder.finished.size(), 2u);
}

TEST(Engine, ReportsWhyARequestEnded) {
  EngineOptions options = SmallOptions(100);
  options.model_tokens_max = 50;
  Recorder recorder;
  const auto engine = MakeEngine(options, recorder);
  RequestSpec limited = SpecOf(1, 10, 8);
  limited.output_tokens_max = 5;
  RequestSpec exact = SpecOf(2, 10, 5);
  exact.output_tokens_max = 5;
  RequestSpec shorter = SpecOf(3, 10, 4);
  shorter.output_tokens_max = 5;
  for (RequestSpec* spec : {&limited, &exact, &shorter}) {
    ASSERT_TRUE(engine->Submit(std::move(*spec), 0).ok());
  }
  ASSERT_TRUE(engine->Submit(SpecOf(4, 45, 100), 0).ok());
  RunToEnd(*engine);
  const auto& finished = recorder.finished;
  EXPECT_EQ(finished.at(1).reason, FinishReason::kLength);
  EXPECT_EQ(finished.at(1).output_tokens, 5u);
  EXPECT_EQ(finished.at(2).reason, FinishReason::kLength);
  EXPECT_EQ(finished.at(3).reason, FinishReason::kStop);
  EXPECT_EQ(finished.at(4).reason, FinishReason::kLength);
  EXPECT_EQ(finished.at(4).output_tokens, 5u);  // the context limit
  EXPECT_EQ(engine->stats().finished_requests[0], 1u);
  EXPECT_EQ(engine->stats().finished_requests[1], 3u);
}

TEST(Engine, CancelFreesBlocksAtTheEndOfTheStep) {
  Recorder recorder;
  const auto engine = MakeEngine(SmallOptions(100), recorder);
  ASSERT_TRUE(engine->Submit(SpecOf(1, 100, 1000), 0).ok());
  ASSERT_TRUE(engine->Submit(SpecOf(2, 100, 3), 0).ok());
  while (recorder.tokens[1].size() < 2) engine->AdvanceTo(engine->NextEventTime());
  EXPECT_TRUE(engine->Cancel(1));
  EXPECT_TRUE(engine->Cancel(1));
  EXPECT_EQ(engine->stats().used_blocks, 14u);
  const int64_t step_end_ns = engine->NextEventTime();
  engine->AdvanceTo(step_end_ns);
  EXPECT_EQ(recorder.finished.at(1).reason, FinishReason::kAbort);
  EXPECT_EQ(recorder.finished.at(1).at_ns, step_end_ns);
  EXPECT_EQ(recorder.finished.at(1).output_tokens, 2u);
  EXPECT_FALSE(engine->Cancel(1));
  RunToEnd(*engine);
  EXPECT_EQ(engine->stats().used_blocks, 0u);
  EXPECT_EQ(recorder.finished.at(2).reason, FinishReason::kStop);
}

TEST(Engine, CancelOfAWaitingRequestTakesEffectAtOnce) {
  Recorder recorder;
  EngineOptions options = SmallOptions(100);
  options.running_requests_max = 1;
  const auto engine = MakeEngine(options, recorder);
  ASSERT_TRUE(engine->Submit(SpecOf(1, 100, 10), 0).ok());
  ASSERT_TRUE(engine->Submit(SpecOf(2, 100, 10), 0).ok());
  ASSERT_TRUE(engine->Submit(SpecOf(3, 100, 10), 1'000'000'000).ok());
  engine->AdvanceTo(1'000'000);
  EXPECT_EQ(engine->stats().waiting_requests, 1u);
  EXPECT_TRUE(engine->Cancel(2));
  EXPECT_TRUE(engine->Cancel(3));
  EXPECT_EQ(engine->stats().waiting_requests, 0u);
  engine->AdvanceTo(1'000'000);
  EXPECT_EQ(recorder.finished.at(2).scheduled_ns, -1);
  EXPECT_EQ(recorder.finished.count(3), 1u);
  RunToEnd(*engine);
  EXPECT_EQ(recorder.finished.at(1).reason, FinishReason::kStop);
}

TEST(Engine, CpuCostsAddToLatencyAndDoNotOccupyTheEngine) {
  EngineOptions options = SmallOptions(100);
  Recorder plain, costly;
  const auto engine = MakeEngine(options, plain);
  options.ingress_ns = 15'000'000;
  options.token_output_ns = 46'000;
  options.finish_ns = 780'000;
  const auto slow = MakeEngine(options, costly);
  for (Engine* each : {engine.get(), slow.get()}) {
    ASSERT_TRUE(each->Submit(SpecOf(1, 100, 10), 0).ok());
    RunToEnd(*each);
  }
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(costly.tokens[1][i].at_ns - plain.tokens[1][i].at_ns, 15'046'000) << i;
  }
  EXPECT_EQ(costly.finished[1].at_ns - plain.finished[1].at_ns, 15'826'000);
}

TEST(Engine, GeneratedBlocksServeTheNextTurn) {
  Recorder recorder;
  const auto engine = MakeEngine(SmallOptions(100), recorder);
  const RequestSpec first = SpecOf(1, 40, 30);
  RequestSpec second = SpecOf(2, 0, 1);
  second.prompt_tokens = first.prompt_tokens;
  second.prompt_tokens.insert(second.prompt_tokens.end(), first.output_tokens.begin(),
                              first.output_tokens.end());
  ASSERT_TRUE(engine->Submit(first, 0).ok());
  RunToEnd(*engine);
  ASSERT_TRUE(engine->Submit(second, engine->now_ns()).ok());
  RunToEnd(*engine);
  EXPECT_EQ(recorder.finished[2].cached_tokens, 64u);  // 69 of 70 tokens were computed
}

TEST(Engine, AFullHitStillComputesTheLastToken) {
  Recorder recorder;
  const auto engine = MakeEngine(SmallOptions(100), recorder);
  for (RequestId id : {1, 2}) {
    RequestSpec spec = SpecOf(id, 0, 1);
    spec.prompt_tokens = TokensOf(9, 64);
    ASSERT_TRUE(engine->Submit(std::move(spec), engine->now_ns()).ok());
    RunToEnd(*engine);
  }
  EXPECT_EQ(recorder.finished[2].cached_tokens, 48u);
}

TEST(Engine, SaltsAndAdaptersShareNothing) {
  Recorder recorder;
  const auto engine = MakeEngine(SmallOptions(100), recorder);
  const auto cached = [&](RequestId id, uint64_t salt, uint32_t lora) {
    RequestSpec spec = SpecOf(id, 0, 1);
    spec.prompt_tokens = TokensOf(9, 64);
    spec.cache_salt = salt;
    spec.lora = lora;
    EXPECT_TRUE(engine->Submit(std::move(spec), engine->now_ns()).ok());
    RunToEnd(*engine);
    return recorder.finished[id].cached_tokens;
  };
  EXPECT_EQ(cached(1, 0, 0), 0u);
  EXPECT_EQ(cached(2, 1ull << 40, 0), 0u);
  EXPECT_EQ(cached(3, 0, 1), 0u);
  EXPECT_EQ(cached(4, 0, 1), 48u);
  EXPECT_EQ(engine->stats().prefix_queried_tokens, 256u);
  EXPECT_EQ(engine->stats().prefix_hit_tokens, 48u);
}

TEST(Engine, PrefixCachingCanBeOff) {
  EngineOptions options = SmallOptions(100);
  options.prefix_caching = false;
  Recorder recorder;
  const auto engine = MakeEngine(options, recorder);
  for (RequestId id : {1, 2}) {
    RequestSpec spec = SpecOf(id, 0, 1);
    spec.prompt_tokens = TokensOf(9, 64);
    ASSERT_TRUE(engine->Submit(std::move(spec), engine->now_ns()).ok());
    RunToEnd(*engine);
  }
  EXPECT_EQ(recorder.finished[2].cached_tokens, 0u);
  EXPECT_EQ(engine->pool().cached_count(), 0u);
}

TEST(Engine, ResetPrefixCacheNeedsAnIdleEngineAndRestartDoesNot) {
  Recorder recorder;
  const auto engine = MakeEngine(SmallOptions(100), recorder);
  ASSERT_TRUE(engine->Submit(SpecOf(1, 64, 100), 0).ok());
  while (recorder.tokens[1].empty()) engine->AdvanceTo(engine->NextEventTime());
  EXPECT_FALSE(engine->ResetPrefixCache());
  ASSERT_TRUE(engine->Submit(SpecOf(2, 64, 100), engine->now_ns()).ok());
  engine->Restart();
  engine->AdvanceTo(engine->now_ns());
  EXPECT_EQ(recorder.finished.size(), 2u);
  EXPECT_EQ(engine->stats().used_blocks, 0u);
  EXPECT_EQ(engine->pool().cached_count(), 0u);
  EXPECT_EQ(engine->NextEventTime(), Engine::kNever);
  EXPECT_TRUE(engine->ResetPrefixCache());
}

TEST(Engine, PriorityGoesFirstAndPreempts) {
  EngineOptions options = SmallOptions(8);
  options.priority_scheduling = true;
  Recorder recorder;
  const auto engine = MakeEngine(options, recorder);
  RequestSpec low = SpecOf(1, 40, 30);
  low.priority = 5;
  RequestSpec high = SpecOf(2, 40, 30);
  high.priority = -1;
  ASSERT_TRUE(engine->Submit(std::move(low), 0).ok());
  ASSERT_TRUE(engine->Submit(std::move(high), 0).ok());
  RunToEnd(*engine);
  EXPECT_EQ(recorder.finished[1].preemptions, 1u);
  EXPECT_EQ(recorder.finished[2].preemptions, 0u);
  EXPECT_LT(recorder.finished[2].at_ns, recorder.finished[1].at_ns);
}

TEST(Engine, AVictimGivesBackItsShareOfTheStep) {
  // The request that must go ran first in the step: its token leaves the batch.
  EngineOptions options = SmallOptions(8);
  options.priority_scheduling = true;
  Recorder recorder;
  const auto engine = MakeEngine(options, recorder);
  RequestSpec low = SpecOf(1, 47, 40);
  low.priority = 5;
  ASSERT_TRUE(engine->Submit(std::move(low), 0).ok());
  ASSERT_TRUE(engine->Submit(SpecOf(2, 40, 40), 1).ok());
  RunToEnd(*engine);
  EXPECT_EQ(recorder.finished[1].preemptions, 1u);
  EXPECT_EQ(recorder.tokens[1].size(), 40u);
  for (uint32_t i = 0; i < 40; ++i) EXPECT_EQ(recorder.tokens[1][i].index, i);
}

TEST(Engine, AdaptersBeyondTheLimitWaitWithoutBlockingOthers) {
  EngineOptions options = SmallOptions(100);
  options.loras_max = 1;
  Recorder recorder;
  const auto engine = MakeEngine(options, recorder);
  for (RequestId id : {1, 2, 3}) {
    RequestSpec spec = SpecOf(id, 16, 20);
    spec.lora = id == 3 ? 0 : static_cast<uint32_t>(id);
    ASSERT_TRUE(engine->Submit(std::move(spec), 0).ok());
  }
  RunToEnd(*engine);
  EXPECT_EQ(recorder.finished[3].scheduled_ns, 0);
  EXPECT_EQ(recorder.finished[2].scheduled_ns, recorder.finished[1].at_ns);
}

TEST(Engine, LongPromptsComeInChunks) {
  EngineOptions options = SmallOptions(200);
  options.step_tokens_max = 1000;
  options.prefill_chunk_tokens_max = 300;
  Recorder recorder;
  const auto engine = MakeEngine(options, recorder);
  ASSERT_TRUE(engine->Submit(SpecOf(1, 1000, 2), 0).ok());
  RunToEnd(*engine);
  std::vector<uint32_t> chunks;
  for (const StepReport& step : recorder.steps) chunks.push_back(step.prefill_tokens);
  EXPECT_EQ(chunks, (std::vector<uint32_t>{300, 300, 300, 100, 0}));
}

TEST(Engine, SlowStepsTakeLonger) {
  Recorder recorder;
  const auto engine = MakeEngine(SmallOptions(100), recorder);
  engine->set_step_time_factor(10);
  ASSERT_TRUE(engine->Submit(SpecOf(1, 16, 2), 0).ok());
  RunToEnd(*engine);
  Recorder plain_recorder;
  const auto plain = MakeEngine(SmallOptions(100), plain_recorder);
  ASSERT_TRUE(plain->Submit(SpecOf(1, 16, 2), 0).ok());
  RunToEnd(*plain);
  EXPECT_NEAR(static_cast<double>(recorder.finished[1].at_ns),
              10 * static_cast<double>(plain_recorder.finished[1].at_ns), 20);
}

TEST(Engine, AnObserverMaySubmitAndCancel) {
  class Chain final : public Recorder {
   public:
    Engine* engine = nullptr;
    void OnFinished(const FinishReport& finish) override {
      Recorder::OnFinished(finish);
      if (finish.id < 5) {
        EXPECT_TRUE(engine->Submit(SpecOf(finish.id + 1, 16, 3), engine->now_ns()).ok());
      }
    }
    void OnToken(const TokenReport& token) override {
      Recorder::OnToken(token);
      if (token.id == 3) engine->Cancel(3);
    }
  } chain;
  const auto engine = MakeEngine(SmallOptions(100), chain);
  chain.engine = engine.get();
  ASSERT_TRUE(engine->Submit(SpecOf(1, 16, 3), 0).ok());
  RunToEnd(*engine);
  EXPECT_EQ(chain.finished.size(), 5u);
  EXPECT_EQ(chain.finished[3].reason, FinishReason::kAbort);
  EXPECT_EQ(chain.finished[3].output_tokens, 1u);
  EXPECT_EQ(chain.finished[5].reason, FinishReason::kStop);
}

}  // namespace
}  // namespace weir::sim
