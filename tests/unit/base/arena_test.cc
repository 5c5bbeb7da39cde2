#include "base/arena.h"

#include <gtest/gtest.h>

#include "testing/allocation_guard.h"

namespace weir::internal {
namespace {

TEST(Arena, HandsOutAlignedDistinctMemory) {
  Arena arena(1 << 20);
  auto* a = arena.AllocateArray<char>(3);
  auto* b = arena.AllocateZeroed<uint64_t>(2);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a) % 16, 0u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b) % 16, 0u);
  EXPECT_GE(reinterpret_cast<char*>(b) - a, 3);
  EXPECT_EQ(b[0] | b[1], 0u);
}

TEST(Arena, NothingIsSomethingToo) {
  Arena arena(1 << 20);
  EXPECT_NE(arena.Allocate(0), nullptr);
}

TEST(Arena, KeepsMemoryAndMergesBlocksOnReset) {
  Arena arena(1 << 20);
  for (int i = 0; i < 10; ++i) ASSERT_NE(arena.Allocate(20'000), nullptr);
  arena.Reset();
  const uint64_t held = arena.bytes_held();
  EXPECT_GE(held, 200'000u);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 10; ++i) ASSERT_NE(arena.Allocate(20'000), nullptr);
    arena.Reset();
    EXPECT_EQ(arena.bytes_held(), held);
  }
}

TEST(Arena, DoublesUpToItsLimit) {
  Arena arena(64 << 20);
  while (arena.Allocate(1000) != nullptr) {
  }
  EXPECT_GT(arena.bytes_held(), (64 << 20) - 2000);
  arena.Reset();
  EXPECT_NE(arena.Allocate(63 << 20), nullptr);
  arena.Free();
  EXPECT_EQ(arena.bytes_held(), 0u);
  EXPECT_NE(arena.Allocate(1), nullptr);
}

TEST(Arena, SaysWhenTheProcessHasNoMemory) {
  Arena arena(1 << 20);
  {
    const testing::AllocationFails fails(0);
    EXPECT_EQ(arena.Allocate(1), nullptr);
  }
  for (int i = 0; i < 10; ++i) ASSERT_NE(arena.Allocate(20'000), nullptr);
  {
    const testing::AllocationFails fails(0);
    arena.Reset();
    EXPECT_EQ(arena.Allocate(1), nullptr) << "the blocks are gone, the one for all is not there";
  }
  EXPECT_NE(arena.Allocate(1), nullptr);
}

TEST(Arena, RefusesAboveItsLimitAndStaysUsable) {
  Arena arena(64 << 10);
  EXPECT_EQ(arena.Allocate(65 << 10), nullptr);
  EXPECT_EQ(arena.Allocate(UINT64_MAX), nullptr);
  EXPECT_NE(arena.Allocate(60 << 10), nullptr);
  EXPECT_EQ(arena.Allocate(60 << 10), nullptr);
  arena.Reset();
  EXPECT_NE(arena.Allocate(60 << 10), nullptr);
}

}  // namespace
}  // namespace weir::internal
