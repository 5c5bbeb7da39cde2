// The approximate prefix index. Each answer is checked against what was put in before it is timed.
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "weir/prefix_hash.h"
#include "weir/prefix_index.h"
#include "weir/random.h"

namespace weir {
namespace {

using Hashes = std::vector<uint64_t>;

Hashes Chain(Hashes hashes, uint64_t seed, size_t blocks) {
  uint64_t state = (hashes.empty() ? 0 : hashes.back()) ^ seed;
  while (hashes.size() < blocks) hashes.push_back(SplitMix64(state));
  return hashes;
}

// A pool that serves conversations under one system prompt: all slots hold the first sixth of every
// prompt, each conversation's first half lies on three slots and all of it but the end on one.
struct Pool {
  Pool(uint32_t slots, uint32_t blocks, uint32_t conversation_count) : slots(slots) {
    index = *PrefixIndex::Create({.slots_max = slots});
    const Hashes system = Chain({}, 1, blocks / 6);
    for (uint32_t slot = 0; slot < slots; ++slot) index->Insert(slot, system);
    Random random(7);
    for (uint32_t i = 0; i < conversation_count; ++i) {
      conversations.push_back(Chain(system, 100 + i, blocks));
      const std::span<const uint64_t> hashes = conversations.back();
      const uint32_t first = random.NextBelow(slots);
      std::vector<uint32_t> answer(slots, blocks / 6);
      for (uint32_t copy = 0; copy < 3; ++copy) {
        const uint32_t held = copy == 0 ? blocks - blocks / 10 : blocks / 2;
        index->Insert((first + copy) % slots, hashes.first(held));
        answer[(first + copy) % slots] = held;
      }
      answers.push_back(std::move(answer));
    }
  }

  bool IsRight() const {
    std::vector<uint32_t> matched(slots);
    for (size_t i = 0; i < conversations.size(); ++i) {
      index->Match(conversations[i], matched);
      if (matched != answers[i]) return false;
    }
    return true;
  }

  uint32_t slots;
  std::unique_ptr<PrefixIndex> index;
  std::vector<Hashes> conversations;
  std::vector<std::vector<uint32_t>> answers;
};

// conversations: 1 = all warm in the first caches; many = most lookups miss them.
void BM_PrefixIndex_Match(benchmark::State& state) {
  Pool pool(uint32_t(state.range(0)), uint32_t(state.range(1)), uint32_t(state.range(2)));
  if (!pool.IsRight()) return state.SkipWithError("wrong answer");
  std::vector<uint32_t> matched(pool.slots);
  size_t next = 0;
  for (auto _ : state) {
    pool.index->Match(pool.conversations[next], matched);
    benchmark::DoNotOptimize(matched.data());
    if (++next == pool.conversations.size()) next = 0;
  }
}
BENCHMARK(BM_PrefixIndex_Match)
    ->ArgNames({"endpoints", "blocks", "conversations"})
    ->Args({100, 128, 1})
    ->Args({100, 128, 5000})
    ->Args({1000, 128, 1})
    ->Args({1000, 128, 5000})
    ->Args({100, 1563, 1})
    ->Args({100, 1563, 500})
    ->Args({1000, 1563, 500});

// The same while another thread inserts without pause.
void BM_PrefixIndex_MatchBesideWriter(benchmark::State& state) {
  Pool pool(uint32_t(state.range(0)), uint32_t(state.range(1)), 500);
  if (!pool.IsRight()) return state.SkipWithError("wrong answer");
  std::atomic<bool> stop{false};
  uint64_t inserted = 0;
  std::thread writer([&] {
    for (size_t i = 0; !stop.load(std::memory_order_relaxed); ++i) {
      const Hashes fresh = Chain({}, 1u << 20 | i, size_t(state.range(1)));
      pool.index->Insert(uint32_t(i % pool.slots), fresh);
      inserted += fresh.size();
    }
  });
  std::vector<uint32_t> matched(pool.slots);
  size_t next = 0;
  for (auto _ : state) {
    pool.index->Match(pool.conversations[next], matched);
    benchmark::DoNotOptimize(matched.data());
    if (++next == pool.conversations.size()) next = 0;
  }
  stop.store(true);
  writer.join();
  state.counters["inserted_blocks"] =
      benchmark::Counter(double(inserted), benchmark::Counter::kIsRate);
}
BENCHMARK(BM_PrefixIndex_MatchBesideWriter)
    ->ArgNames({"endpoints", "blocks"})
    ->Args({100, 128})
    ->Args({1000, 128})
    ->Args({100, 1563})
    ->UseRealTime();

// A conversation that goes on: its prompt again with two blocks more, on the slot that has it.
void BM_PrefixIndex_InsertNextTurn(benchmark::State& state) {
  const uint32_t blocks = uint32_t(state.range(1));
  Pool pool(uint32_t(state.range(0)), blocks, 200);
  if (!pool.IsRight()) return state.SkipWithError("wrong answer");
  size_t next = 0;
  uint64_t turn = 0;
  for (auto _ : state) {
    Hashes& hashes = pool.conversations[next];
    hashes[blocks - 2] = ++turn;
    hashes[blocks - 1] = ++turn;
    pool.index->Insert(uint32_t(next % pool.slots), hashes);
    if (++next == pool.conversations.size()) next = 0;
  }
  state.SetItemsProcessed(state.iterations() * blocks);
}
BENCHMARK(BM_PrefixIndex_InsertNextTurn)
    ->ArgNames({"endpoints", "blocks"})
    ->Args({100, 128})
    ->Args({1000, 128})
    ->Args({100, 1563});

// New prompts into full slots: each block evicts one.
void BM_PrefixIndex_InsertNew(benchmark::State& state) {
  const uint32_t slots = uint32_t(state.range(0)), blocks = uint32_t(state.range(1));
  auto index = *PrefixIndex::Create({.slots_max = slots, .capacity_blocks = 20000});
  const uint64_t fixed = index->Stats().bytes_held;
  uint64_t i = 0;
  for (; i < uint64_t{slots} * 20000 / blocks; ++i) {
    index->Insert(uint32_t(i % slots), Chain({}, i << 1 | 1, blocks));
  }
  const PrefixIndexStats stats = index->Stats();
  Hashes fresh(blocks);
  uint64_t random_state = 99;
  for (auto _ : state) {
    for (uint64_t& hash : fresh) hash = SplitMix64(random_state);
    index->Insert(uint32_t(++i % slots), fresh);
  }
  state.SetItemsProcessed(state.iterations() * blocks);
  state.counters["bytes_per_entry"] = double(stats.bytes_held - fixed) / double(stats.entry_count);
}
BENCHMARK(BM_PrefixIndex_InsertNew)->ArgNames({"endpoints", "blocks"})->Args({100, 128});

void BM_PrefixHash_Blocks(benchmark::State& state) {
  std::vector<uint32_t> tokens(size_t(state.range(0)));
  uint64_t random_state = 1;
  for (uint32_t& token : tokens) token = uint32_t(SplitMix64(random_state) % 150000);
  std::vector<uint64_t> whole(tokens.size() / 64), pieces(tokens.size() / 64);
  const uint64_t seed = PrefixSeed("model");
  HashPrefixBlocks(seed, tokens, 64, whole);
  PrefixHasher hasher(seed, 64, pieces);
  for (size_t i = 0; i < tokens.size(); ++i) hasher.Append(std::span(tokens).subspan(i, 1));
  if (hasher.Finish() != whole.size() || whole != pieces)
    return state.SkipWithError("wrong hashes");
  for (auto _ : state) {
    benchmark::DoNotOptimize(HashPrefixBlocks(seed, tokens, 64, whole));
  }
  state.SetBytesProcessed(state.iterations() * state.range(0) * 4);
}
BENCHMARK(BM_PrefixHash_Blocks)->ArgName("tokens")->Arg(8192)->Arg(100032);

}  // namespace
}  // namespace weir
