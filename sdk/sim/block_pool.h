// weir/sim/block_pool.h: the KV blocks of one engine, with prefix caching.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace weir::sim {

using BlockHash = uint64_t;

// Index of a physical block.
using BlockId = uint32_t;
inline constexpr BlockId kNoBlock = UINT32_MAX;

// Most blocks that a pool may have.
inline constexpr uint32_t kBlocksMax = 1u << 24;

// Hash of a block from its parent's hash (the salt for the first block) and its tokens.
// [concurrent]
BlockHash ChainHash(BlockHash parent, std::span<const uint32_t> tokens) noexcept;

// Physical blocks with reference counts. A block without references waits in a free list, oldest
// release first, and keeps its content until it is allocated again. Blocks with equal content may
// exist several times; lookups see the one that was stored first. One thread at a time.
class BlockPool {
 public:
  // REQUIRES: 1 <= block_count <= kBlocksMax
  explicit BlockPool(uint32_t block_count);

  uint32_t block_count() const noexcept { return static_cast<uint32_t>(blocks_.size()); }
  uint32_t free_count() const noexcept { return free_count_; }
  uint32_t used_count() const noexcept { return block_count() - free_count_; }
  // Distinct hashes that a lookup can find.
  uint32_t cached_count() const noexcept { return static_cast<uint32_t>(by_hash_.size()); }

  // The block that a lookup of `hash` finds, or kNoBlock. Changes nothing.
  BlockId Find(BlockHash hash) const noexcept;
  bool in_use(BlockId block) const noexcept { return blocks_[block].references > 0; }

  // Adds a reference; a block without one leaves the free list. REQUIRES: block < block_count()
  void Acquire(BlockId block) noexcept;

  // What Allocate() had to forget.
  struct Allocation {
    BlockId block = kNoBlock;
    bool evicted = false;  // the block held content that is gone now
    BlockHash evicted_hash = 0;
  };
  // Takes the block at the head of the free list, with one reference; kNoBlock if none is free.
  Allocation Allocate() noexcept;

  // Drops a reference of each block, last one first, so that the tail of a chain is reused before
  // its head. REQUIRES: each has a reference
  void Release(std::span<const BlockId> blocks) noexcept;

  // Names the content of a block. REQUIRES: the block is in use and has no name yet
  void Store(BlockId block, BlockHash hash);

  // Forgets the content of all blocks that are not in use and of the names of those that are.
  void ClearCache();

  // True if counts, free list and hash table agree; O(blocks), for tests.
  bool Consistent() const;

 private:
  struct Block {
    BlockHash hash = 0;
    uint32_t references = 0;
    BlockId previous = kNoBlock;  // in the free list
    BlockId next = kNoBlock;
    BlockId next_equal = kNoBlock;  // a later block with the same hash
    bool stored = false;
  };

  void AppendFree(BlockId block) noexcept;
  void RemoveFree(BlockId block) noexcept;
  void Forget(BlockId block) noexcept;

  std::vector<Block> blocks_;
  absl::flat_hash_map<BlockHash, BlockId> by_hash_;  // the first block of each chain of equals
  BlockId free_head_ = kNoBlock;
  BlockId free_tail_ = kNoBlock;
  uint32_t free_count_ = 0;
};

}  // namespace weir::sim
