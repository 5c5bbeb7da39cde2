// index/block_table.h: block hash -> the slots that hold the block, over cells of one arena.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <span>

#include "index/cell_arena.h"
#include "index/reservation.h"

namespace weir::internal {

// An entry says that one slot holds one block. It is a cell of four words, linked into its slot's
// recency list by the index. Readers look at kTag only.
enum EntryWord : uint32_t { kEntryBlock = 0, kEntryNewer = 1, kEntryOlder = 2, kEntryTag = 3 };

inline constexpr uint32_t kSlotBits = 12;   // low bits of the tag
inline constexpr uint32_t kStampBits = 20;  // high bits: number of the Insert that used it last
inline constexpr uint32_t kSlotMask = (1u << kSlotBits) - 1;
inline constexpr uint32_t kStampMask = (1u << kStampBits) - 1;
static_assert(kSlotBits + kStampBits == 32);

// A linear-hash table of chained block nodes that grows and shrinks one bucket at a time, so that
// no single call pays for a rehash. One writer, many readers. Each bucket belongs to one of kShards
// versions (odd while a change is under way); readers check it around each look at a block.
class BlockTable {
 public:
  static constexpr uint32_t kShards = 1024;
  static constexpr uint32_t kBucketsMin = kShards;  // a bucket must not span shards
  static constexpr uint32_t kReadAttemptsMax = 32;
  static constexpr uint32_t kChainStepsMax = 256;  // of a reader without the writers' lock
  static constexpr uint32_t kHoldersMax = 1u << kSlotBits;

  // Readers of kConsistent find no change under way (they hold the writers' lock).
  enum class Read : uint8_t { kOptimistic, kConsistent };
  static constexpr uint32_t kDisturbed =
      ~0u;  // answer of an optimistic read that never got through

  // Borrowed: `arena`, for life.
  BlockTable(CellArena* arena, uint32_t buckets_max, uint64_t seed);
  bool ok() const noexcept { return buckets_.ok(); }

  // Readers.
  // How many slots hold the block, or kDisturbed.
  uint32_t CountHolders(uint64_t hash, Read read) const noexcept;
  // The same; also writes the first kHoldersMax of them to `slots`, which has kHoldersMax elements.
  uint32_t CopyHolders(uint64_t hash, Read read, uint16_t* slots) const noexcept;

  // Writers.
  // Ask the memory for what Find() and FindEntry() will look at: its bucket, then the block's node,
  // then its holders. Each is quick once the one before has arrived, some blocks later.
  void FetchBucket(uint64_t hash) const noexcept;
  void FetchNode(uint64_t hash) const noexcept;
  void FetchHolders(uint64_t hash) const noexcept;
  // The block's node, or 0.
  uint32_t Find(uint64_t hash) const noexcept;
  // The hash of a node's block.
  uint64_t HashOf(uint32_t node) const noexcept;
  // The entry by which `slot` holds the block of `node`, or 0.
  uint32_t FindEntry(uint32_t node, uint32_t slot) const noexcept;
  // Makes the slot of `tag` hold the block and returns the new entry, whose block and tag are set;
  // 0 if the arena has no room, and then nothing changed. `node` is Find(hash). REQUIRES: the slot
  // does not hold the block
  uint32_t Add(uint32_t node, uint64_t hash, uint32_t tag) noexcept;
  // Takes the entry out of its block and frees it.
  void Remove(uint32_t entry) noexcept;

  uint32_t block_count() const noexcept { return block_count_; }
  // Bytes of buckets in use; pages beyond them are given back in steps.
  uint64_t bytes_used() const noexcept { return uint64_t{bucket_count_} * sizeof(uint32_t); }

 private:
  // Where an optimistic look at a block ended.
  struct Look {
    bool valid;
    uint32_t count;  // 0: no such block
  };
  class Change;

  uint64_t KeyOf(uint64_t hash) const noexcept {
    return (hash ^ seed_) * 0x9E3779B97F4A7C15ull >> 32;
  }
  static uint32_t BucketOf(uint64_t key, uint32_t bucket_count) noexcept {
    const uint32_t mask = std::bit_ceil(bucket_count) - 1;
    const uint32_t bucket = static_cast<uint32_t>(key) & mask;
    return bucket < bucket_count ? bucket : bucket & (mask >> 1);
  }
  static uint32_t ShardOf(uint64_t key) noexcept {
    return static_cast<uint32_t>(key) & (kShards - 1);
  }
  uint32_t* bucket(uint32_t index) const noexcept {
    return reinterpret_cast<uint32_t*>(buckets_.data()) + index;
  }

  template <typename Visit>
  Look LookAt(uint64_t hash, uint64_t key, uint32_t steps_max, Visit visit) const noexcept;
  template <typename Visit>
  uint32_t ReadHolders(uint64_t hash, Read read, Visit visit) const noexcept;

  bool AddHolder(uint32_t node, uint32_t shard, uint32_t slot, uint32_t entry) noexcept;
  void RemoveHolder(uint32_t node, uint32_t shard, uint32_t slot) noexcept;
  void UnlinkNode(uint32_t node, uint64_t key) noexcept;
  void Grow() noexcept;
  void Shrink() noexcept;

  CellArena* arena_;
  Reservation buckets_;
  std::unique_ptr<uint32_t[]> versions_;
  uint64_t seed_;
  uint32_t buckets_max_;
  uint32_t bucket_count_ = kBucketsMin;
  uint32_t block_count_ = 0;
};

}  // namespace weir::internal
