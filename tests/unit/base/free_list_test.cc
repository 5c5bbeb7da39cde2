#include "base/free_list.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

#include "testing/allocation_guard.h"

namespace weir::internal {
namespace {

struct Item {
  std::atomic<uint32_t> free_next{0};
  uint32_t free_index = 0;
  std::atomic<int> holders{0};
};

TEST(FreeList, HandsOutDistinctObjectsUpToItsLimitAndReusesThem) {
  FreeList<Item, 128> list;
  std::set<Item*> taken;
  for (int i = 0; i < 128; ++i) taken.insert(list.Take());
  EXPECT_EQ(taken.size(), 128u);
  EXPECT_EQ(list.Take(), nullptr);
  list.Return(*taken.begin());
  EXPECT_EQ(list.Take(), *taken.begin());
  EXPECT_EQ(list.size(), 128u);
}

TEST(FreeList, HasNothingMoreWhenTheProcessHasNoMemory) {
  FreeList<Item, 128> list;
  {
    const testing::AllocationFails fails(0);
    EXPECT_EQ(list.Take(), nullptr);
  }
  EXPECT_EQ(list.size(), 0u);
  EXPECT_NE(list.Take(), nullptr);
}

TEST(FreeList, NeverGivesOneObjectToTwoThreads) {
  FreeList<Item, 64> list;
  std::atomic<int> shared{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20'000; ++i) {
        Item* item = list.Take();
        if (item == nullptr) continue;
        if (item->holders.fetch_add(1) != 0) shared.fetch_add(1);
        item->holders.fetch_sub(1);
        list.Return(item);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(shared.load(), 0);
  EXPECT_LE(list.size(), 4u);
}

}  // namespace
}  // namespace weir::internal
