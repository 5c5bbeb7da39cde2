// weir/prefix_index.h: which endpoints hold which prefix blocks, guessed from the router's own
// decisions. Start at PrefixIndex::Create(); names of blocks come from weir/prefix_hash.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "weir/limits.h"
#include "weir/status.h"

namespace weir {

inline constexpr uint64_t kPrefixMemoryBytesMin = 1ull << 20;  // below, fixed tables would dominate
inline constexpr uint64_t kPrefixMemoryBytesMax = 32ull << 30;  // cells have 31-bit numbers
inline constexpr uint32_t kPrefixCapacityBlocksDefault = 31250;

struct PrefixIndexOptions {
  // Affects behaviour.
  uint32_t slots_max = kEndpointsMax;  // slots are 0 .. slots_max-1; 1 .. kEndpointsMax
  uint32_t capacity_blocks = kPrefixCapacityBlocksDefault;  // of a slot, until SetCapacity
  // Follow llm-d to the letter: heads of prefixes are evicted before tails, and Match credits a
  // slot with every block it holds up to the first that no slot holds, contiguous or not.
  bool llmd_compat = false;
  uint64_t seed = 0;  // where blocks lie in the table; unpredictable to clients if drawn at random
  // Affects performance.
  uint64_t memory_bytes_max = 256ull << 20;  // hard limit; blocks unused for longest go first
};

// What one Insert did; Erase takes it back. Small enough to travel with a request in flight.
struct PrefixTicket {
  uint64_t insert_number = 0;  // 0: nothing was inserted
  uint64_t last_hash = 0;      // of the last block inserted
  uint32_t slot = 0;
  uint32_t held_blocks = 0;      // leading blocks that the slot held before
  uint32_t inserted_blocks = 0;  // leading blocks that it held right after, the old ones included
};

struct PrefixIndexStats {
  uint64_t entry_count = 0;         // (block, slot) pairs
  uint64_t block_count = 0;         // distinct blocks
  uint64_t bytes_used = 0;          // live entries, tables and bookkeeping
  uint64_t bytes_held = 0;          // memory the system may have given us for them; >= bytes_used
  uint64_t capacity_evictions = 0;  // entries dropped because their slot was full
  uint64_t memory_evictions = 0;    // entries dropped because memory_bytes_max was reached
};

// For each slot the prefix blocks it was last sent, least recently used blocks evicted first, and
// of one prefix its tail first: a slot that holds a block holds all blocks before it. Safe for
// concurrent use by many threads without external locking. Match never waits for an Insert in the
// normal case; Insert, Erase, Clear and SetCapacity take turns.
//
// A hash stands for its block and everything before it (weir/prefix_hash.h makes such hashes).
// Other input is safe but the answers mean nothing.
class PrefixIndex {
 public:
  // Errors: kInvalidArgument (option out of range, named in the text), kResourceExhausted (address
  // space). [control]
  static absl::StatusOr<std::unique_ptr<PrefixIndex>> Create(const PrefixIndexOptions& options);
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;
  ~PrefixIndex();

  // Writes to matched_blocks[s] how many leading blocks of `hashes` slot s holds, 0 for none. Slots
  // beyond the span are left out, elements beyond slots_max become 0. Beside a writer each value
  // was true at some moment during the call, or is lower. O(slots + holders + k log blocks) for k
  // different answers; no allocation. Borrowed: both spans, until return. [hot, concurrent]
  void Match(std::span<const uint64_t> hashes, std::span<uint32_t> matched_blocks) const noexcept;

  // Makes `slot` hold `hashes` and most recently used, as far as capacity and memory reach: then
  // leading blocks only. O(blocks), no allocation, waits for other writers. An unknown slot is
  // ignored. Borrowed: `hashes`, until return. [hot, concurrent]
  PrefixTicket Insert(uint32_t slot, std::span<const uint64_t> hashes) noexcept;

  // Undoes an Insert whose request failed: drops the blocks that were new then and that no later
  // Insert used. Does nothing if the last of them is gone already. O(blocks). [hot, concurrent]
  void Erase(const PrefixTicket& ticket) noexcept;

  // Sets how many blocks `slot` may hold; 0 is allowed. Shrinking evicts in small steps, so that
  // other writers wait little. [control, concurrent]
  void SetCapacity(uint32_t slot, uint32_t capacity_blocks) noexcept;

  // Forgets what `slot` holds and resets its capacity to the option. [control, concurrent]
  void Clear(uint32_t slot) noexcept;

  // Blocks that `slot` holds; 0 for an unknown slot. [hot, concurrent]
  uint32_t held_blocks(uint32_t slot) const noexcept;

  // Figures of one moment; waits for writers. [control, concurrent]
  PrefixIndexStats Stats() const noexcept;

 private:
  class Impl;
  explicit PrefixIndex(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir
