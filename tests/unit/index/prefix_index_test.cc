#include "weir/prefix_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "prefix_model.h"
#include "weir/random.h"

namespace weir {
namespace {

using Hashes = std::vector<uint64_t>;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<PrefixIndex> Make(const PrefixIndexOptions& options) {
  auto index = PrefixIndex::Create(options);
  EXPECT_TRUE(index.ok()) << index.status();
  return *std::move(index);
}

std::vector<uint32_t> Match(const PrefixIndex& index, const Hashes& hashes, size_t slots) {
  std::vector<uint32_t> matched(slots, 77);
  index.Match(hashes, matched);
  return matched;
}

// Blocks of a made-up prompt: `parts` choose a way down a tree, `lengths` how long each piece is.
void AppendChain(Hashes& hashes, uint64_t part, size_t length) {
  uint64_t state = (hashes.empty() ? 1 : hashes.back()) * 31 + part;
  for (size_t i = 0; i < length; ++i) hashes.push_back(SplitMix64(state));
}

Hashes Chain(uint64_t part, size_t length) {
  Hashes hashes;
  AppendChain(hashes, part, length);
  return hashes;
}

// A prompt of a workload whose prompts share prefixes of all depths.
Hashes RandomPrompt(Random& random, uint32_t ways, uint32_t piece_blocks_max) {
  Hashes hashes;
  const uint32_t pieces = 1 + random.NextBelow(4);
  for (uint32_t i = 0; i < pieces; ++i) {
    const uint64_t part = random.NextBelow(ways);
    AppendChain(hashes, part, 1 + part * 7 % piece_blocks_max);
  }
  hashes.resize(1 + random.NextBelow(uint32_t(hashes.size())));
  return hashes;
}

TEST(PrefixIndex, Goldens) {
  std::ifstream file(WEIR_SOURCE_DIR "/tests/golden/prefix/index_steps.json");
  for (const auto& golden : nlohmann::json::parse(file)) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    auto index = Make({.slots_max = 2,
                       .capacity_blocks = golden["capacity_blocks"],
                       .llmd_compat = golden["llmd_compat"]});
    for (const auto& step : golden["steps"]) {
      SCOPED_TRACE(step.dump());
      if (step.contains("insert")) {
        index->Insert(step["slot"], step["insert"].get<Hashes>());
      } else {
        EXPECT_EQ(Match(*index, step["match"], 2), step["expect"].get<std::vector<uint32_t>>());
      }
    }
  }
}

TEST(PrefixIndex, OptionsOutOfRangeAreNamed) {
  const auto Error = [](PrefixIndexOptions options) {
    return std::string(PrefixIndex::Create(options).status().message());
  };
  EXPECT_THAT(Error({.slots_max = 0}), HasSubstr("slots_max 0, expected 1..4096"));
  EXPECT_THAT(Error({.slots_max = 4097}), HasSubstr("slots_max 4097"));
  EXPECT_THAT(Error({.memory_bytes_max = 1000}), HasSubstr("memory_bytes_max 1000, expected"));
  EXPECT_THAT(Error({.memory_bytes_max = kPrefixMemoryBytesMax + 1}), HasSubstr("expected"));
}

TEST(PrefixIndex, SlotsOutsideAreIgnoredAndShortSpansAreRespected) {
  auto index = Make({.slots_max = 4});
  const Hashes chain = Chain(1, 5);
  EXPECT_EQ(index->Insert(4, chain).insert_number, 0u);
  index->Insert(3, chain);
  index->Insert(0, chain);
  index->SetCapacity(4, 1);
  index->Clear(9);
  index->Erase({.insert_number = 1, .last_hash = chain[4], .slot = 4, .inserted_blocks = 5});
  index->Erase({});
  EXPECT_EQ(index->held_blocks(4), 0u);
  EXPECT_THAT(Match(*index, chain, 2), ElementsAre(5, 0));
  EXPECT_THAT(Match(*index, chain, 6), ElementsAre(5, 0, 0, 5, 0, 0));
  EXPECT_THAT(Match(*index, {}, 2), ElementsAre(0, 0));
  EXPECT_THAT(Match(*index, chain, 0), ElementsAre());
  EXPECT_EQ(index->Insert(0, {}).insert_number, 0u);
}

TEST(PrefixIndex, CapacitiesOfNoneAndOne) {
  auto index = Make({.slots_max = 2, .capacity_blocks = 0});
  const Hashes chain = Chain(1, 3);
  EXPECT_EQ(index->Insert(0, chain).inserted_blocks, 0u);
  EXPECT_EQ(index->Stats().entry_count, 0u);
  index->SetCapacity(0, 1);
  EXPECT_EQ(index->Insert(0, chain).inserted_blocks, 1u);
  EXPECT_THAT(Match(*index, chain, 2), ElementsAre(1, 0));
  EXPECT_EQ(index->Insert(0, Chain(2, 3)).inserted_blocks, 1u);
  EXPECT_THAT(Match(*index, chain, 2), ElementsAre(0, 0));
  EXPECT_EQ(index->Stats().capacity_evictions, 1u);
}

TEST(PrefixIndex, ShrinkingEvictsTheOldestAndClearForgets) {
  auto index = Make({.slots_max = 2, .capacity_blocks = 5000});
  const Hashes old = Chain(1, 1000), recent = Chain(2, 1000);
  index->Insert(0, old);
  index->Insert(0, recent);
  index->Insert(1, recent);
  index->SetCapacity(0, 1400);
  EXPECT_THAT(Match(*index, old, 2), ElementsAre(400, 0));
  EXPECT_THAT(Match(*index, recent, 2), ElementsAre(1000, 1000));
  index->Clear(0);
  EXPECT_THAT(Match(*index, recent, 2), ElementsAre(0, 1000));
  EXPECT_EQ(index->held_blocks(0), 0u);
  EXPECT_EQ(index->held_blocks(1), 1000u);
  EXPECT_EQ(index->Insert(0, old).inserted_blocks, 1000u) << "the capacity is the option's again";
}

TEST(PrefixIndex, EraseTakesBackWhatOnlyThatInsertBrought) {
  auto index = Make({.slots_max = 1});
  Hashes shared = Chain(1, 10), mine = shared, later = shared;
  AppendChain(mine, 2, 10);
  later = mine;
  AppendChain(later, 3, 5);
  index->Insert(0, shared);
  const PrefixTicket ticket = index->Insert(0, mine);
  EXPECT_EQ(ticket.held_blocks, 10u);
  EXPECT_EQ(ticket.inserted_blocks, 20u);
  index->Erase(ticket);
  EXPECT_THAT(Match(*index, mine, 1), ElementsAre(10));
  index->Erase(ticket);
  EXPECT_THAT(Match(*index, mine, 1), ElementsAre(10));

  const PrefixTicket again = index->Insert(0, mine);
  index->Insert(0, later);
  index->Erase(again);
  EXPECT_THAT(Match(*index, later, 1), ElementsAre(25)) << "a later request uses those blocks";
}

TEST(PrefixIndex, RepeatedHashesAreHarmless) {
  for (const bool llmd_compat : {false, true}) {
    auto index = Make({.slots_max = 1, .capacity_blocks = 3, .llmd_compat = llmd_compat});
    for (int i = 0; i < 4; ++i) {
      index->Insert(0, Hashes{5, 5, 6, 5, 6, 6, 7, 5});
      index->Insert(0, Hashes{0, 0, ~0ull, 0});
      EXPECT_LE(index->held_blocks(0), 3u);
      EXPECT_EQ(index->Stats().entry_count, index->held_blocks(0));
    }
  }
}

struct Workload {
  const char* name;
  uint32_t slots;
  uint32_t capacity;
  uint32_t ways;
  uint32_t piece_blocks_max;
  bool llmd_compat;
};

class PrefixIndexAgainstModel : public ::testing::TestWithParam<Workload> {};

TEST_P(PrefixIndexAgainstModel, SameAnswersAfterEveryStep) {
  const Workload& load = GetParam();
  for (const uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(testing::Message() << "seed=" << seed);
    auto index = Make({.slots_max = load.slots,
                       .capacity_blocks = load.capacity,
                       .llmd_compat = load.llmd_compat,
                       .seed = seed});
    PrefixModel model(load.slots, load.capacity, load.llmd_compat);
    Random random(seed);
    for (int step = 0; step < 1500; ++step) {
      const uint32_t slot = random.NextBelow(load.slots);
      const Hashes prompt = RandomPrompt(random, load.ways, load.piece_blocks_max);
      ASSERT_EQ(Match(*index, prompt, load.slots), model.Match(prompt)) << "step " << step;
      const PrefixTicket ticket = index->Insert(slot, prompt);
      const PrefixTicket expected = model.Insert(slot, prompt);
      ASSERT_EQ(ticket.inserted_blocks, expected.inserted_blocks);
      ASSERT_EQ(ticket.held_blocks, expected.held_blocks);
      const uint32_t dice = random.NextBelow(100);
      if (dice < 5) {
        index->Erase(ticket);
        model.Erase(slot, prompt, expected);
      } else if (dice < 7) {
        const uint32_t capacity = random.NextBelow(2 * load.capacity);
        index->SetCapacity(slot, capacity);
        model.SetCapacity(slot, capacity);
      } else if (dice < 8) {
        index->Clear(slot);
        model.SetCapacity(slot, 0);
        model.SetCapacity(slot, load.capacity);
      }
      ASSERT_EQ(index->held_blocks(slot), model.held_blocks(slot));
    }
    uint64_t entries = 0;
    for (uint32_t slot = 0; slot < load.slots; ++slot) entries += model.held_blocks(slot);
    EXPECT_EQ(index->Stats().entry_count, entries);
    for (uint32_t slot = 0; slot < load.slots; ++slot) index->Clear(slot);
    EXPECT_EQ(index->Stats().entry_count, 0u);
    EXPECT_EQ(index->Stats().block_count, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Workloads, PrefixIndexAgainstModel,
                         ::testing::Values(Workload{"tight", 3, 20, 3, 8, false},
                                           Workload{"shared", 40, 60, 2, 6, false},
                                           Workload{"wide", 5, 400, 9, 60, false},
                                           Workload{"peer", 6, 40, 3, 8, true},
                                           Workload{"one_block", 4, 1, 3, 4, false}),
                         [](const auto& info) { return info.param.name; });

// What Match relies on, checked block by block through the smallest questions.
TEST(PrefixIndex, AHeldBlockImpliesItsAncestors) {
  constexpr uint32_t kSlots = 4;
  auto index = Make({.slots_max = kSlots, .capacity_blocks = 50});
  Random random(11);
  std::vector<Hashes> prompts;
  for (int step = 0; step < 600; ++step) {
    prompts.push_back(RandomPrompt(random, 4, 12));
    const PrefixTicket ticket = index->Insert(random.NextBelow(kSlots), prompts.back());
    if (step % 10 == 0) index->Erase(ticket);
    const Hashes& asked = prompts[random.NextBelow(uint32_t(prompts.size()))];
    std::vector<bool> held(kSlots, true);
    for (size_t i = 0; i < asked.size(); ++i) {
      const auto alone = Match(*index, {asked[i]}, kSlots);
      for (uint32_t slot = 0; slot < kSlots; ++slot) {
        if (alone[slot] == 1) {
          ASSERT_TRUE(held[slot]) << "block " << i << " without its ancestors";
        } else {
          held[slot] = false;
        }
      }
    }
  }
}

TEST(PrefixIndex, AllSlotsMayHoldOneBlock) {
  auto index = Make({});
  const Hashes chain = Chain(1, 3);
  for (uint32_t slot = 0; slot < kEndpointsMax; ++slot) index->Insert(slot, chain);
  for (const uint32_t matched : Match(*index, chain, kEndpointsMax)) ASSERT_EQ(matched, 3u);
  const PrefixIndexStats stats = index->Stats();
  EXPECT_EQ(stats.block_count, 3u);
  EXPECT_EQ(stats.entry_count, 3u * kEndpointsMax);
  for (uint32_t slot = 0; slot < kEndpointsMax; slot += 2) index->Clear(slot);
  const auto matched = Match(*index, chain, kEndpointsMax);
  for (uint32_t slot = 0; slot < kEndpointsMax; ++slot) ASSERT_EQ(matched[slot], slot % 2 * 3);
  for (uint32_t slot = 1; slot < kEndpointsMax; slot += 2) index->Clear(slot);
  EXPECT_EQ(index->Stats().block_count, 0u);
}

TEST(PrefixIndex, AnEntryTakesAtMostFortyBytes) {
  auto empty = Make({.slots_max = 100});
  const uint64_t fixed = empty->Stats().bytes_held;
  EXPECT_LT(fixed, 128u << 10);
  const auto BytesPerEntry = [fixed](const PrefixIndex& index) {
    const PrefixIndexStats stats = index.Stats();
    return static_cast<double>(stats.bytes_held - fixed) / static_cast<double>(stats.entry_count);
  };
  for (const uint32_t holders : {1, 2, 3, 5, 11, 21, 43, 100}) {
    auto index = Make({.slots_max = 100});
    for (uint32_t prompt = 0; prompt < 10000 / holders; ++prompt) {
      const Hashes chain = Chain(prompt, 10);
      for (uint32_t i = 0; i < holders; ++i) index->Insert((prompt + i) % 100, chain);
    }
    EXPECT_LE(BytesPerEntry(*index), 40) << holders << " holders";
  }
}

TEST(PrefixIndex, TheMemoryLimitEvictsTheLongestUnusedOfAllSlots) {
  constexpr uint64_t kLimit = 4 << 20;
  constexpr uint32_t kSlots = 10;
  auto index = Make({.slots_max = kSlots, .capacity_blocks = 1u << 30, .memory_bytes_max = kLimit});
  const Hashes popular = Chain(1u << 20, 20);
  constexpr uint32_t kPrompts = 20000;
  for (uint32_t i = 0; i < kPrompts; ++i) {
    index->Insert(i % kSlots, popular);
    EXPECT_EQ(index->Insert(i % kSlots, Chain(i, 20)).inserted_blocks, 20u);
  }
  const PrefixIndexStats stats = index->Stats();
  EXPECT_LE(stats.bytes_held, kLimit + kLimit / 20);
  EXPECT_GE(stats.bytes_used, kLimit - kLimit / 10);
  EXPECT_GT(stats.memory_evictions, 100000u);
  EXPECT_GE(stats.entry_count, kLimit / 40);
  for (const uint32_t matched : Match(*index, popular, kSlots)) EXPECT_EQ(matched, 20u);
  // Age decides, not the slot: there is one border between forgotten and remembered prompts.
  uint32_t border = 0;
  for (uint32_t i = kPrompts; i-- > 0;) {
    if (Match(*index, Chain(i, 20), kSlots)[i % kSlots] < 20) {
      border = i;
      break;
    }
  }
  EXPECT_GT(kPrompts - border, kLimit / 40 / 20);
  for (uint32_t i = 0; i + 50 < border; ++i) {
    ASSERT_EQ(Match(*index, Chain(i, 20), kSlots)[i % kSlots], 0u) << i << " of " << border;
  }
}

TEST(PrefixIndex, APromptLargerThanAllMemoryKeepsItsHead) {
  auto index = Make({.slots_max = 2, .capacity_blocks = 1u << 30, .memory_bytes_max = 1 << 20});
  const Hashes chain = Chain(1, 100000);
  const PrefixTicket ticket = index->Insert(0, chain);
  EXPECT_GT(ticket.inserted_blocks, 20000u);
  EXPECT_LT(ticket.inserted_blocks, 30000u);
  EXPECT_THAT(Match(*index, chain, 2), ElementsAre(ticket.inserted_blocks, 0));
  EXPECT_EQ(index->Insert(1, Chain(2, 100)).inserted_blocks, 100u);
  EXPECT_LE(index->Stats().bytes_held, (1u << 20) / 100 * 105);
}

// Memory of single blocks can become memory of widely shared ones and back.
TEST(PrefixIndex, MemoryServesChangingWorkloads) {
  auto index = Make({.slots_max = 1000, .capacity_blocks = 1u << 30, .memory_bytes_max = 2 << 20});
  for (uint32_t round = 0; round < 3; ++round) {
    for (uint32_t i = 0; i < 10000; ++i) index->Insert(i % 1000, Chain(round << 20 | i, 10));
    for (uint32_t slot = 0; slot < 1000; ++slot) {
      ASSERT_EQ(index->Insert(slot, Chain(1u << 30 | round, 10)).inserted_blocks, 10u);
    }
    for (const uint32_t matched : Match(*index, Chain(1u << 30 | round, 10), 1000)) {
      ASSERT_EQ(matched, 10u);
    }
    EXPECT_LE(index->Stats().bytes_held, (2u << 20) / 100 * 105);
  }
}

TEST(PrefixIndex, GivesMemoryBack) {
  auto index = Make({.slots_max = 4, .capacity_blocks = 1u << 30, .memory_bytes_max = 64 << 20});
  for (uint32_t i = 0; i < 10000; ++i) index->Insert(i % 4, Chain(i, 20));
  EXPECT_GT(index->Stats().bytes_held, 6u << 20);
  for (uint32_t slot = 0; slot < 4; ++slot) index->Clear(slot);
  EXPECT_LT(index->Stats().bytes_held, 2u << 20);
}

}  // namespace
}  // namespace weir
