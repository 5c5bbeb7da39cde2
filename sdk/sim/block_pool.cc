#include "weir/sim/block_pool.h"

#include <cassert>

namespace weir::sim {

BlockHash ChainHash(BlockHash parent, std::span<const uint32_t> tokens) noexcept {
  uint64_t hash = parent ^ 0x9E3779B97F4A7C15ull;
  for (const uint32_t token : tokens) {
    hash = (hash ^ token) * 0xFF51AFD7ED558CCDull;
    hash ^= hash >> 32;
  }
  hash *= 0xC4CEB9FE1A85EC53ull;
  return hash ^ (hash >> 29);
}

BlockPool::BlockPool(uint32_t block_count) : blocks_(block_count) {
  assert(block_count >= 1 && block_count <= kBlocksMax);
  for (BlockId block = 0; block < block_count; ++block) AppendFree(block);
}

BlockId BlockPool::Find(BlockHash hash) const noexcept {
  const auto found = by_hash_.find(hash);
  return found == by_hash_.end() ? kNoBlock : found->second;
}

void BlockPool::Acquire(BlockId block) noexcept {
  assert(block < block_count());
  if (blocks_[block].references++ == 0) RemoveFree(block);
}

BlockPool::Allocation BlockPool::Allocate() noexcept {
  if (free_head_ == kNoBlock) return {};
  Allocation allocation{.block = free_head_};
  Block& block = blocks_[allocation.block];
  if (block.stored) {
    allocation.evicted = true;
    allocation.evicted_hash = block.hash;
    Forget(allocation.block);
  }
  RemoveFree(allocation.block);
  block.references = 1;
  return allocation;
}

void BlockPool::Release(std::span<const BlockId> blocks) noexcept {
  for (size_t i = blocks.size(); i-- > 0;) {
    assert(blocks_[blocks[i]].references > 0);
    if (--blocks_[blocks[i]].references == 0) AppendFree(blocks[i]);
  }
}

void BlockPool::Store(BlockId id, BlockHash hash) {
  Block& block = blocks_[id];
  assert(block.references > 0 && !block.stored);
  block.stored = true;
  block.hash = hash;
  block.next_equal = kNoBlock;
  const auto [entry, first] = by_hash_.try_emplace(hash, id);
  if (first) return;
  Block& winner = blocks_[entry->second];
  block.next_equal = winner.next_equal;
  winner.next_equal = id;
}

void BlockPool::ClearCache() {
  by_hash_.clear();
  for (Block& block : blocks_) {
    block.stored = false;
    block.next_equal = kNoBlock;
  }
}

bool BlockPool::Consistent() const {
  uint32_t free = 0;
  for (BlockId id = free_head_; id != kNoBlock; id = blocks_[id].next) {
    if (blocks_[id].references != 0 || ++free > free_count_) return false;
  }
  uint32_t unreferenced = 0;
  uint32_t stored = 0;
  for (const Block& block : blocks_) {
    unreferenced += block.references == 0;
    stored += block.stored;
  }
  uint32_t reachable = 0;
  for (const auto& [hash, first] : by_hash_) {
    for (BlockId id = first; id != kNoBlock; id = blocks_[id].next_equal) {
      if (!blocks_[id].stored || blocks_[id].hash != hash || ++reachable > stored) return false;
    }
  }
  return free == free_count_ && unreferenced == free_count_ && reachable == stored;
}

void BlockPool::AppendFree(BlockId id) noexcept {
  blocks_[id].previous = free_tail_;
  blocks_[id].next = kNoBlock;
  (free_tail_ == kNoBlock ? free_head_ : blocks_[free_tail_].next) = id;
  free_tail_ = id;
  ++free_count_;
}

void BlockPool::RemoveFree(BlockId id) noexcept {
  Block& block = blocks_[id];
  (block.previous == kNoBlock ? free_head_ : blocks_[block.previous].next) = block.next;
  (block.next == kNoBlock ? free_tail_ : blocks_[block.next].previous) = block.previous;
  block.previous = block.next = kNoBlock;
  --free_count_;
}

void BlockPool::Forget(BlockId id) noexcept {
  Block& block = blocks_[id];
  const auto entry = by_hash_.find(block.hash);
  if (entry->second == id) {
    if (block.next_equal == kNoBlock) {
      by_hash_.erase(entry);
    } else {
      entry->second = block.next_equal;
    }
  } else {
    BlockId before = entry->second;
    while (blocks_[before].next_equal != id) before = blocks_[before].next_equal;
    blocks_[before].next_equal = block.next_equal;
  }
  block.stored = false;
  block.next_equal = kNoBlock;
}

}  // namespace weir::sim
