// One decision over a loaded pool. Each answer is checked against the endpoint that served the
// conversation before, and the heap must stay untouched.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "allocation_count.h"
#include "decide_pipeline.h"
#include "weir/prefix_hash.h"
#include "weir/random.h"
#include "weir/router.h"

namespace weir {
namespace {

constexpr uint32_t kConversations = 16;
constexpr uint32_t kBlockTokens = 64;  // the producer's default

// A conversation's prompt as a parser leaves it: text that lies as tokens.
struct Conversation {
  Conversation(uint64_t seed, uint32_t token_count) : tokens(token_count) {
    Random random(seed);
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = i < tokens.size() / 4 ? static_cast<uint32_t>(i)  // the system prompt of all
                                        : random.NextBelow(1u << 30);
    }
    part.bytes = {reinterpret_cast<const char*>(tokens.data()), tokens.size() * 4};
    prompt.parts = {&part, 1};
    request.api = Api::kChatCompletions;
    request.id = "0b1f6d3e-7d0c-4a59-9c57-0f6a3b1c2d4e";
    request.model = "meta-llama/Llama-3.1-8B-Instruct";
    request.prompts = {&prompt, 1};
  }
  Conversation(const Conversation&) = delete;

  std::vector<uint32_t> tokens;
  PromptPart part;
  Prompt prompt;
  Request request;
  EndpointId home;
};

// `endpoint_count` scraped servers with requests in flight, each conversation cached on one.
struct World {
  World(uint32_t endpoint_count, uint32_t token_count)
      : router(*Router::FromText(kPipeline, "bench.yaml", {.seed = 7})) {
    Random random(11);
    for (uint32_t i = 0; i < endpoint_count; ++i) {
      auto added = router.pool().Upsert(
          {.name = "server-" + std::to_string(i),
           .address = "10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250) + ":8000",
           .metrics = {.waiting_requests = random.NextBelow(8),
                       .running_requests = random.NextBelow(64),
                       .kv_used_ratio = random.NextBelow(100) / 100.0,
                       .kv_block_tokens = 16,
                       .kv_block_count = 100'000}});
      if (!added.ok()) std::abort();
    }
    Conversation small(1, 16);
    for (uint32_t i = 0; i < 2 * endpoint_count; ++i) Serve(small, true);
    for (uint32_t i = 0; i < kConversations; ++i) {
      conversations.push_back(std::make_unique<Conversation>(100 + i, token_count));
      conversations.back()->home = Serve(*conversations.back(), false);
    }
  }

  EndpointId Serve(const Conversation& conversation, bool stays_open) {
    const Decision decision = *router.Decide(conversation.request);
    Flight flight = router.Begin(decision);
    flight.FirstToken();
    if (stays_open) {
      open.push_back(std::move(flight));
    } else {
      flight.Finish();
    }
    return decision.primary().id;
  }

  Router router;
  std::vector<std::unique_ptr<Conversation>> conversations;
  std::vector<Flight> open;
};

int64_t NowNs() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

double Quantile(std::vector<int64_t>& values, double share) {
  const auto nth = values.begin() + static_cast<ptrdiff_t>(share * (values.size() - 1));
  std::nth_element(values.begin(), nth, values.end());
  return static_cast<double>(*nth);
}

// Times Decide and, on the same prompt right before it, the hashing of its blocks, which is the
// part of Decide that the prompt path's budget pays for.
void BM_Decide(benchmark::State& state) {
  World world(static_cast<uint32_t>(state.range(0)), static_cast<uint32_t>(state.range(1)));
  std::vector<uint64_t> hashes(static_cast<size_t>(state.range(1)) / kBlockTokens);
  std::vector<int64_t> decide_ns, hash_ns;
  decide_ns.reserve(1 << 22);
  hash_ns.reserve(1 << 22);
  for (const auto& conversation : world.conversations) {
    if (world.router.Decide(conversation->request)->primary().id != conversation->home) {
      return state.SkipWithError("a conversation left the endpoint that caches it");
    }
  }
  const uint64_t allocations_before = AllocationCount();
  uint32_t next = 0;
  for (auto _ : state) {
    const Conversation& conversation = *world.conversations[next++ % kConversations];
    const int64_t begin_ns = NowNs();
    const uint64_t seed = PrefixSeed(conversation.request.model);
    benchmark::DoNotOptimize(HashPrefixBlocks(seed, conversation.tokens, kBlockTokens, hashes));
    const int64_t hashed_ns = NowNs();
    {
      auto decision = world.router.Decide(conversation.request);
      benchmark::DoNotOptimize(decision);
    }
    const int64_t end_ns = NowNs();
    if (decide_ns.size() == decide_ns.capacity()) continue;
    hash_ns.push_back(hashed_ns - begin_ns);
    decide_ns.push_back(end_ns - hashed_ns);
    state.SetIterationTime(static_cast<double>(end_ns - hashed_ns) * 1e-9);
  }
  state.counters["allocations"] = static_cast<double>(AllocationCount() - allocations_before);
  const double decide_p50 = Quantile(decide_ns, 0.5), hash_p50 = Quantile(hash_ns, 0.5);
  state.counters["p50_ns"] = decide_p50;
  state.counters["p99_ns"] = Quantile(decide_ns, 0.99);
  state.counters["hash_p50_ns"] = hash_p50;
  state.counters["keys_cached_p50_ns"] = decide_p50 - hash_p50;
}
BENCHMARK(BM_Decide)
    ->ArgNames({"endpoints", "prompt_tokens"})
    ->Args({100, 8192})
    ->Args({1000, 8192})
    ->Args({100, 64})
    ->Args({1000, 64})
    ->UseManualTime();

// What follows a decision until its request ends.
void BM_Flight(benchmark::State& state) {
  World world(static_cast<uint32_t>(state.range(0)), static_cast<uint32_t>(state.range(1)));
  const Conversation& conversation = *world.conversations[0];
  const uint64_t allocations_before = AllocationCount();
  for (auto _ : state) {
    Decision decision = *world.router.Decide(conversation.request);
    const int64_t begin_ns = NowNs();
    Flight flight = world.router.Begin(decision);
    decision.ReleaseRequest();
    world.router.Record(std::move(decision));
    flight.FirstToken();
    flight.Finish({.prompt_tokens = 8192, .cached_tokens = 8000, .output_tokens = 100});
    state.SetIterationTime(static_cast<double>(NowNs() - begin_ns) * 1e-9);
  }
  state.counters["allocations"] = static_cast<double>(AllocationCount() - allocations_before);
}
BENCHMARK(BM_Flight)->ArgNames({"endpoints", "prompt_tokens"})->Args({100, 8192})->UseManualTime();

}  // namespace
}  // namespace weir
