#include "index/cell_arena.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "weir/random.h"

namespace weir::internal {
namespace {

TEST(CellArena, RunsNeverOverlapAndAllComesBack) {
  CellArena arena(8 * CellArena::kRegionCells);
  ASSERT_TRUE(arena.ok());
  Random random(3);
  std::map<uint32_t, uint32_t> runs;  // first cell -> order
  uint32_t refused = 0;
  for (int step = 0; step < 40000; ++step) {
    const bool filling = step / 5000 % 2 == 0;
    if (random.NextBelow(10) < (filling ? 7u : 3u)) {
      const uint32_t order = std::min(random.NextBelow(12), random.NextBelow(12));
      const uint32_t cell = arena.Allocate(order);
      if (cell == 0) {
        ++refused;
        continue;
      }
      ASSERT_EQ(cell % (1u << order), 0u);
      ASSERT_LE(cell + (1u << order), arena.cells_max());
      const auto after = runs.lower_bound(cell);
      if (after != runs.end()) {
        ASSERT_LE(cell + (1u << order), after->first);
      }
      if (after != runs.begin()) {
        const auto before = std::prev(after);
        ASSERT_LE(before->first + (1u << before->second), cell);
      }
      runs[cell] = order;
    } else if (!runs.empty()) {
      const auto run = std::next(runs.begin(), random.NextBelow(uint32_t(runs.size())));
      arena.Free(run->first, run->second);
      runs.erase(run);
    }
  }
  EXPECT_GT(refused, 0u) << "the limit was not reached";
  for (const auto& [cell, order] : runs) arena.Free(cell, order);
  EXPECT_EQ(arena.cells_used(), 1u);  // cell 0
  // All but the region of cell 0 has merged again.
  for (int i = 0; i < 7; ++i) EXPECT_NE(arena.Allocate(CellArena::kRegionOrder), 0u);
  EXPECT_EQ(arena.Allocate(CellArena::kRegionOrder), 0u);
}

TEST(CellArena, UpperHalfOfARunCanGoBackAlone) {
  CellArena arena(CellArena::kRegionCells);
  const uint32_t cell = arena.Allocate(3);
  arena.Free(cell + 4, 2);
  EXPECT_EQ(arena.Allocate(2), cell + 4);
  arena.Free(cell + 4, 2);
  arena.Free(cell, 2);
  EXPECT_EQ(arena.Allocate(3), cell);
}

TEST(CellArena, EmptyRegionsGiveMemoryBack) {
  CellArena arena(64 * CellArena::kRegionCells);
  std::vector<uint32_t> regions;
  while (const uint32_t cell = arena.Allocate(CellArena::kRegionOrder)) regions.push_back(cell);
  EXPECT_EQ(regions.size(), 63u);
  EXPECT_EQ(arena.bytes_held(), 64 * CellArena::kRegionBytes);
  for (const uint32_t cell : regions) {
    arena.words(cell)[100] = 1;
    arena.Free(cell, CellArena::kRegionOrder);
  }
  EXPECT_LT(arena.bytes_held(), (1 + CellArena::kRegionsKept + 4) * CellArena::kRegionBytes);
  EXPECT_EQ(arena.words(regions.back())[100], 0u);
  EXPECT_EQ(arena.words(regions.front())[100], 1u);
}

}  // namespace
}  // namespace weir::internal
