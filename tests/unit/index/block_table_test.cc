#include "index/block_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <bitset>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "weir/random.h"

namespace weir::internal {
namespace {

using Read = BlockTable::Read;

class BlockTableTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kCells = 64 * CellArena::kRegionCells;

  void Add(uint64_t hash, uint32_t slot) {
    ASSERT_NE(table_.Add(table_.Find(hash), hash, slot), 0u);
  }
  void Remove(uint64_t hash, uint32_t slot) {
    const uint32_t entry = table_.FindEntry(table_.Find(hash), slot);
    ASSERT_NE(entry, 0u);
    table_.Remove(entry);
  }
  std::vector<uint16_t> Holders(uint64_t hash, Read read = Read::kOptimistic) {
    std::vector<uint16_t> slots(BlockTable::kHoldersMax);
    const uint32_t count = table_.CopyHolders(hash, read, slots.data());
    slots.resize(count == BlockTable::kDisturbed ? 0 : count);
    return slots;
  }

  CellArena arena_{kCells};
  BlockTable table_{&arena_, kCells / 2, 5};
};

TEST_F(BlockTableTest, AgreesWithAMapWhileItGrowsAndShrinks) {
  std::map<uint64_t, std::set<uint16_t>> model;
  Random random(1);
  for (int step = 0; step < 60000; ++step) {
    const bool filling = step / 15000 % 2 == 0;
    // Few hashes with many holders, many hashes with few.
    const uint64_t hash = random.NextBelow(4) == 0 ? random.NextBelow(8) : random.NextBelow(8000);
    const uint32_t slot = random.NextBelow(hash < 8 ? 600 : 3);
    auto& holders = model[hash];
    if (holders.contains(static_cast<uint16_t>(slot))) {
      if (!filling || random.NextBelow(4) == 0) {
        Remove(hash, slot);
        holders.erase(static_cast<uint16_t>(slot));
      }
    } else if (filling || random.NextBelow(4) == 0) {
      Add(hash, slot);
      holders.insert(static_cast<uint16_t>(slot));
    }
    if (holders.empty()) {
      ASSERT_EQ(table_.Find(hash), 0u);
    }
    auto found = Holders(hash);
    std::sort(found.begin(), found.end());
    ASSERT_EQ(found, std::vector<uint16_t>(holders.begin(), holders.end())) << "step " << step;
    ASSERT_EQ(table_.CountHolders(hash, Read::kConsistent), holders.size());
  }
  for (const auto& [hash, holders] : model) {
    for (const uint16_t slot : holders) Remove(hash, slot);
  }
  EXPECT_EQ(table_.block_count(), 0u);
  EXPECT_EQ(arena_.cells_used(), 1u);
  EXPECT_EQ(table_.bytes_used(), BlockTable::kBucketsMin * sizeof(uint32_t));
}

TEST_F(BlockTableTest, ARefusedAddChangesNothing) {
  CellArena arena(CellArena::kRegionCells);
  BlockTable table(&arena, BlockTable::kBucketsMin, 0);
  uint64_t hash = 1;
  while (table.Add(0, hash, 0) != 0) ++hash;
  const uint32_t used = arena.cells_used();
  EXPECT_GE(used, CellArena::kRegionCells - 1);
  for (uint64_t held = 1; held < 100; ++held) {
    ASSERT_EQ(table.Add(table.Find(held), held, 1), 0u);
    ASSERT_EQ(table.CountHolders(held, Read::kOptimistic), 1u);
  }
  EXPECT_EQ(arena.cells_used(), used);
  EXPECT_EQ(table.Find(hash), 0u);
}

// Blocks 0 and 1 lie side by side in memory and keep exchanging cells; slots below 100 hold block 0
// only, the others block 1 only. An answer that mixes two moments has a slot twice or a stranger.
TEST_F(BlockTableTest, ReadersNeverSeeHalfAChange) {
  constexpr uint64_t kAnswersMin = 50000;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> answers{0};
  std::thread reader([&] {
    while (!stop.load()) {
      for (const uint64_t hash : {0, 1}) {
        std::bitset<BlockTable::kHoldersMax> seen;
        for (const uint16_t slot : Holders(hash)) {
          ASSERT_LT(slot, 200);
          ASSERT_EQ(slot < 100, hash == 0) << "a holder of another block";
          ASSERT_FALSE(seen[slot]) << "a holder twice";
          seen[slot] = true;
        }
      }
      ++answers;
    }
  });
  Random random(9);
  std::bitset<200> held;
  for (int step = 0; step < 3'000'000 && answers.load() < kAnswersMin; ++step) {
    const uint32_t most = random.NextBelow(2) == 0 ? 100 : 6;  // through all sizes of chunks
    const uint64_t hash = random.NextBelow(2);
    const uint32_t slot = static_cast<uint32_t>(hash) * 100 + random.NextBelow(most);
    if (held[slot]) {
      Remove(hash, slot);
    } else {
      Add(hash, slot);
    }
    held.flip(slot);
    if (step % 5000 == 0) {
      for (uint32_t s = 0; s < 200; ++s) {
        if (held[s]) Remove(s / 100, s);
      }
      held.reset();
    }
  }
  stop.store(true);
  reader.join();
  EXPECT_GT(answers.load(), 0u);
}

}  // namespace
}  // namespace weir::internal
