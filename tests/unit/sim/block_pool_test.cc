#include "weir/sim/block_pool.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace weir::sim {
namespace {

TEST(BlockPool, HandsOutEveryBlockOnceAndThenNone) {
  BlockPool pool(3);
  for (BlockId expected : {0u, 1u, 2u}) EXPECT_EQ(pool.Allocate().block, expected);
  EXPECT_EQ(pool.Allocate().block, kNoBlock);
  EXPECT_EQ(pool.used_count(), 3u);
  EXPECT_TRUE(pool.Consistent());
}

TEST(BlockPool, ReusesTheTailOfAChainBeforeItsHead) {
  BlockPool pool(3);
  std::vector<BlockId> chain;
  for (BlockHash hash : {10, 11, 12}) {
    chain.push_back(pool.Allocate().block);
    pool.Store(chain.back(), hash);
  }
  pool.Release(chain);
  for (BlockHash expected : {12, 11, 10}) {
    const BlockPool::Allocation allocation = pool.Allocate();
    EXPECT_TRUE(allocation.evicted);
    EXPECT_EQ(allocation.evicted_hash, expected);
    EXPECT_EQ(pool.Find(expected), kNoBlock);
  }
}

TEST(BlockPool, AHitKeepsItsBlockFromReuse) {
  BlockPool pool(2);
  const BlockId first = pool.Allocate().block;
  pool.Store(first, 7);
  pool.Release(std::array{first});
  pool.Acquire(pool.Find(7));
  EXPECT_TRUE(pool.in_use(first));
  EXPECT_NE(pool.Allocate().block, first);
  EXPECT_EQ(pool.Allocate().block, kNoBlock);
  EXPECT_EQ(pool.Find(7), first);
}

TEST(BlockPool, EqualBlocksTakeOverFromEachOther) {
  BlockPool pool(3);
  const std::array blocks = {pool.Allocate().block, pool.Allocate().block, pool.Allocate().block};
  for (BlockId block : blocks) pool.Store(block, 5);
  EXPECT_EQ(pool.Find(5), blocks[0]);
  EXPECT_EQ(pool.cached_count(), 1u);
  EXPECT_TRUE(pool.Consistent());
  // In the order of release: the middle of the chain of equals, its head, the last.
  for (BlockId block : {blocks[1], blocks[0], blocks[2]}) pool.Release(std::array{block});
  EXPECT_EQ(pool.Allocate().block, blocks[1]);
  EXPECT_EQ(pool.Find(5), blocks[0]);
  EXPECT_TRUE(pool.Consistent());
  EXPECT_EQ(pool.Allocate().block, blocks[0]);
  EXPECT_EQ(pool.Find(5), blocks[2]);
  EXPECT_EQ(pool.Allocate().block, blocks[2]);
  EXPECT_EQ(pool.Find(5), kNoBlock);
  EXPECT_TRUE(pool.Consistent());
}

TEST(BlockPool, ClearCacheForgetsContentAndKeepsReferences) {
  BlockPool pool(2);
  const BlockId block = pool.Allocate().block;
  pool.Store(block, 5);
  pool.ClearCache();
  EXPECT_EQ(pool.Find(5), kNoBlock);
  EXPECT_EQ(pool.used_count(), 1u);
  pool.Store(block, 6);
  EXPECT_EQ(pool.Find(6), block);
  EXPECT_TRUE(pool.Consistent());
}

TEST(ChainHash, DependsOnParentOrderAndLength) {
  const std::array<uint32_t, 2> ab = {1, 2}, ba = {2, 1};
  const std::array<uint32_t, 3> longer = {1, 2, 0};
  EXPECT_EQ(ChainHash(0, ab), ChainHash(0, ab));
  EXPECT_NE(ChainHash(0, ab), ChainHash(1, ab));
  EXPECT_NE(ChainHash(0, ab), ChainHash(0, ba));
  EXPECT_NE(ChainHash(0, ab), ChainHash(0, longer));
}

}  // namespace
}  // namespace weir::sim
