// What recording costs: a request's life (Decide, Begin, FirstToken, Finish) at 100 endpoints, with
// and without a log. The log is read back afterwards and must hold every decision.
#include <benchmark/benchmark.h>
#include <ctime>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "allocation_count.h"
#include "weir/io/decision_log/reader.h"
#include "weir/io/decision_log/replayer.h"
#include "weir/io/decision_log/writer.h"
#include "weir/random.h"
#include "weir/router.h"

namespace weir::io {
namespace {

constexpr uint32_t kEndpoints = 100;
constexpr uint32_t kConversations = 64;

int64_t NowNs(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::string LogPath() {
  const char* folder = std::getenv("TMPDIR");
  return std::string(folder == nullptr ? "/tmp" : folder) + "/decision_log_bench.log";
}

struct World {
  World(bool records, uint32_t token_count) : tokens(kConversations) {
    RouterOptions options{.seed = 7};
    if (records) {
      writer = DecisionLogWriter::Create(
                   {.path = LogPath(), .bytes_max = uint64_t{64} << 30, .ring_bytes = 64u << 20})
                   .value();
      options.recorder = writer.get();
    }
    router = std::make_unique<Router>(Router::Default(options).value());
    Random random(11);
    for (uint32_t i = 0; i < kEndpoints; ++i) {
      auto added =
          router->pool().Upsert({.name = "server-" + std::to_string(i),
                                 .address = "10.0.0." + std::to_string(i) + ":8000",
                                 .metrics = {.waiting_requests = random.NextBelow(8),
                                             .running_requests = random.NextBelow(64),
                                             .kv_used_ratio = random.NextBelow(100) / 100.0,
                                             .kv_block_tokens = 16,
                                             .kv_block_count = 100'000}});
      if (!added.ok()) std::abort();
    }
    for (auto& conversation : tokens) {
      for (uint32_t i = 0; i < token_count; ++i) conversation.push_back(random.NextBelow(1u << 30));
    }
  }

  // Each tenth request's prompt ends in a way that no log has seen.
  void Serve(uint32_t number) {
    std::vector<uint32_t>& conversation = tokens[number % kConversations];
    if (number % 10 == 0) conversation.back() = number;
    prompt.tokens = conversation;
    Request request;
    request.api = Api::kChatCompletions;
    request.id = "0b1f6d3e-7d0c-4a59-9c57-0f6a3b1c2d4e";
    request.model = "meta-llama/Llama-3.1-8B-Instruct";
    request.prompts = {&prompt, 1};
    Decision decision = router->Decide(request).value();
    Flight flight = router->Begin(decision);
    flight.FirstToken();
    flight.Finish({.prompt_tokens = 100, .cached_tokens = 64, .output_tokens = 30});
  }

  std::vector<std::vector<uint32_t>> tokens;
  Prompt prompt;
  std::unique_ptr<DecisionLogWriter> writer;
  std::unique_ptr<Router> router;
};

void BM_DecisionLog_Request(benchmark::State& state) {
  const bool records = state.range(1) != 0;
  World world(records, static_cast<uint32_t>(state.range(0)));
  uint32_t number = 0;
  for (; number < 1'000; ++number) world.Serve(number);
  if (records) world.writer->Flush();
  const uint64_t bytes_before = records ? world.writer->stats().bytes : 0;
  const uint64_t allocations_before = AllocationCount();
  const int64_t cpu_before_ns = NowNs(CLOCK_PROCESS_CPUTIME_ID);
  std::vector<int64_t> times_ns;
  times_ns.reserve(1 << 20);
  const uint32_t first = number;
  for (auto _ : state) {
    const int64_t begin_ns = NowNs(CLOCK_MONOTONIC);
    world.Serve(number++);
    if (times_ns.size() < times_ns.capacity()) {
      times_ns.push_back(NowNs(CLOCK_MONOTONIC) - begin_ns);
    }
    // Paced by what the writer can take, as requests on a network are.
    if (records && number % 1'000 == 0) {
      state.PauseTiming();
      world.writer->Flush();
      state.ResumeTiming();
    }
  }
  if (records) world.writer->Flush();
  const double served = number - first;
  std::nth_element(times_ns.begin(), times_ns.begin() + times_ns.size() / 2, times_ns.end());
  state.counters["p50_ns"] = static_cast<double>(times_ns[times_ns.size() / 2]);
  state.counters["cpu_ns_of_all_threads"] =
      static_cast<double>(NowNs(CLOCK_PROCESS_CPUTIME_ID) - cpu_before_ns) / served;
  state.counters["allocations"] =
      records ? 0 : static_cast<double>(AllocationCount() - allocations_before);
  if (!records) return;
  state.counters["bytes"] =
      static_cast<double>(world.writer->stats().bytes - bytes_before) / served;
  world.writer->Close();
  const DecisionLogStats stats = world.writer->stats();
  if (stats.decisions != number || stats.dropped_ring_full != 0) {
    state.SkipWithError("decisions are missing in the log");
  }
}
BENCHMARK(BM_DecisionLog_Request)
    ->ArgNames({"prompt_tokens", "records"})
    ->Args({64, 0})
    ->Args({64, 1})
    ->Args({8192, 0})
    ->Args({8192, 1});

// A log of 20,000 decisions on 1,024-token prompts, read, and read and replayed.
void BM_DecisionLog_Read(benchmark::State& state) {
  {
    World world(true, 1'024);
    for (uint32_t number = 0; number < 20'000; ++number) {
      world.Serve(number);
      if (number % 1'000 == 0) world.writer->Flush();
    }
  }
  const bool replays = state.range(0) != 0;
  uint64_t decisions = 0;
  for (auto _ : state) {
    auto reader = DecisionLogReader::Open(LogPath()).value();
    auto replayer = DecisionReplayer::Create(reader->header(), {}).value();
    while (const LogRecord* record = reader->Next().value()) {
      decisions += std::holds_alternative<LoggedDecision>(*record) ? 1 : 0;
      if (replays) benchmark::DoNotOptimize(replayer->Apply(*record).value());
    }
    if (replays && replayer->different() != 0) state.SkipWithError("another decision");
  }
  state.SetItemsProcessed(static_cast<int64_t>(decisions));
  std::remove(LogPath().c_str());
  std::remove((LogPath() + ".1").c_str());
}
BENCHMARK(BM_DecisionLog_Read)->ArgName("replays")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace weir::io
