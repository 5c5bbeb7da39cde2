// Randomized runs: what must hold after every step, whatever arrives.
#include <gtest/gtest.h>

#include <map>

#include "sim_testing.h"
#include "weir/random.h"

namespace weir::sim {
namespace {

// Checks each report as it comes and mirrors the cache from the KV events alone.
class Auditor final : public Recorder {
 public:
  const Engine* engine = nullptr;
  std::map<BlockHash, uint32_t> mirror;  // copies of each hash

  void OnStep(const StepReport& step) override {
    EXPECT_GE(step.start_ns, last_ns_);
    EXPECT_GT(step.end_ns, step.start_ns);
    last_ns_ = step.end_ns;
    EXPECT_GT(step.prefill_tokens + step.decode_requests, 0u) << "a step without work";
    const BlockPool& pool = engine->pool();
    EXPECT_TRUE(pool.Consistent());
    EXPECT_EQ(mirror.size(), pool.cached_count());
    for (const auto& [hash, copies] : mirror) EXPECT_NE(pool.Find(hash), kNoBlock);
    Recorder::OnStep(step);
  }
  void OnToken(const TokenReport& token) override {
    EXPECT_EQ(token.index, tokens[token.id].size());
    if (token.index > 0) {
      EXPECT_GT(token.at_ns, tokens[token.id].back().at_ns);
    }
    Recorder::OnToken(token);
  }
  void OnFinished(const FinishReport& finish) override {
    EXPECT_EQ(finish.output_tokens, tokens[finish.id].size());
    EXPECT_LT(finish.cached_tokens, finish.prompt_tokens);
    if (finish.first_token_ns >= 0) {
      EXPECT_GE(finish.first_token_ns - finish.arrival_ns, finish.scheduled_ns - finish.arrival_ns);
      EXPECT_GE(finish.scheduled_ns, finish.arrival_ns);
    }
    Recorder::OnFinished(finish);
  }
  void OnBlocksStored(const StoreReport& store) override {
    EXPECT_EQ(store.tokens.size(), store.hashes.size() * store.block_tokens);
    for (const BlockHash hash : store.hashes) ++mirror[hash];
  }
  void OnBlockRemoved(int64_t, BlockHash hash) override {
    ASSERT_TRUE(mirror.contains(hash));
    if (--mirror[hash] == 0) mirror.erase(hash);
  }

 private:
  int64_t last_ns_ = 0;
};

RequestSpec RandomSpec(Random& random, RequestId id) {
  RequestSpec spec{.id = id};
  // A few shared heads, cut anywhere, and an own tail.
  spec.prompt_tokens = TokensOf(900 + random.NextBelow(3), random.NextBelow(120));
  const auto tail = TokensOf(static_cast<uint32_t>(id), 1 + random.NextBelow(60));
  spec.prompt_tokens.insert(spec.prompt_tokens.end(), tail.begin(), tail.end());
  spec.output_tokens = TokensOf(static_cast<uint32_t>(id) + 5000, 1 + random.NextBelow(80));
  spec.priority = static_cast<int32_t>(random.NextBelow(3));
  spec.lora = random.NextBelow(4) == 0 ? 1 + random.NextBelow(3) : 0;
  return spec;
}

EngineOptions RandomOptions(Random& random, uint64_t seed) {
  EngineOptions options = PlainOptions();
  options.personality = random.NextBelow(2) == 0 ? Personality::kVllm : Personality::kSglang;
  options.block_tokens = 1u << random.NextBelow(5);
  options.block_count = 300 / options.block_tokens + random.NextBelow(600 / options.block_tokens);
  options.step_tokens_max = 16 + random.NextBelow(200);
  options.running_requests_max = 1 + random.NextBelow(20);
  options.prefill_chunk_tokens_max = random.NextBelow(2) * 20;
  options.priority_scheduling =
      options.personality == Personality::kVllm && random.NextBelow(2) == 0;
  options.mixed_chunk = random.NextBelow(2) == 0;
  options.longest_prefix_first = random.NextBelow(2) == 0;
  options.loras_max = random.NextBelow(3);
  options.token_output_ns = random.NextBelow(2) * 46'000;
  options.finish_ns = random.NextBelow(2) * 780'000;
  options.jitter = random.NextBelow(2) == 0 ? Jitter::kNone : Jitter::kReal;
  options.seed = seed;
  return options;
}

// 80 requests and some cancellations at random times.
void Drive(Engine& engine, Random random) {
  int64_t at_ns = 0;
  for (RequestId id = 1; id <= 80; ++id) {
    at_ns += random.NextBelow(30'000'000);
    engine.AdvanceTo(at_ns);
    const absl::Status status = engine.Submit(RandomSpec(random, id), at_ns);
    EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kOutOfRange) << status;
    if (random.NextBelow(8) == 0) engine.Cancel(1 + random.NextBelow(static_cast<uint32_t>(id)));
  }
  for (int step = 0; engine.NextEventTime() != Engine::kNever; ++step) {
    ASSERT_LT(step, 100'000) << "the engine does not come to rest";
    engine.AdvanceTo(engine.NextEventTime());
  }
}

TEST(Property, HoldAfterEveryStep) {
  for (uint64_t seed = 1; seed <= 150 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed=" << seed);
    Random random(seed);
    Auditor auditor;
    const auto engine = MakeEngine(RandomOptions(random, seed), auditor);
    auditor.engine = engine.get();
    Drive(*engine, random);
    const EngineStats stats = engine->stats();
    EXPECT_EQ(stats.running_requests + stats.waiting_requests, 0u) << "work was left behind";
    EXPECT_EQ(stats.used_blocks, 0u);
    EXPECT_EQ(auditor.finished.size(),
              stats.finished_requests[0] + stats.finished_requests[1] + stats.finished_requests[2]);
  }
}

TEST(Property, EqualSeedsGiveEqualEventLogs) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const auto digest = [&](uint64_t jitter_seed) {
      Random random(seed);
      EngineOptions options = RandomOptions(random, jitter_seed);
      options.jitter = Jitter::kReal;
      EventLog log;
      const auto engine = MakeEngine(options, log);
      Drive(*engine, random);
      EXPECT_GT(log.event_count(), 1000u);
      return log.digest();
    };
    EXPECT_EQ(digest(1), digest(1)) << "seed=" << seed;
    EXPECT_NE(digest(1), digest(2)) << "seed=" << seed;
  }
}

TEST(Property, TheEventLogDoesNotDependOnHowTimeIsSliced) {
  Random random(3);
  EngineOptions options = RandomOptions(random, 3);
  options.token_output_ns = 46'000;
  const auto digest = [&](int64_t slice_ns) {
    EventLog log;
    const auto engine = MakeEngine(options, log);
    Random specs(4);
    for (RequestId id = 1; id <= 20; ++id) {
      EXPECT_TRUE(engine->Submit(RandomSpec(specs, id), static_cast<int64_t>(id) * 9'000'000).ok());
    }
    for (int64_t now_ns = 0; engine->NextEventTime() != Engine::kNever; now_ns += slice_ns) {
      engine->AdvanceTo(now_ns);
    }
    return log.digest();
  };
  const uint64_t expected = digest(1'000'000'000'000);
  EXPECT_EQ(digest(1'000'003), expected);
  EXPECT_EQ(digest(50'000'000), expected);
}

}  // namespace
}  // namespace weir::sim
