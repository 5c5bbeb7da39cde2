#include "weir/prefix_index.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "index/block_table.h"
#include "index/cell_arena.h"
#include "index/shared_words.h"

namespace weir {
namespace {

using internal::BlockTable;
using internal::CellArena;
using internal::StoreShared;
using Read = internal::BlockTable::Read;

static_assert(kEndpointsMax <= BlockTable::kHoldersMax, "a slot must fit its bits of a tag");
static_assert(kPrefixMemoryBytesMax / CellArena::kCellBytes <= 1ull << 31);

constexpr uint64_t kEmptyAge = std::numeric_limits<uint64_t>::max();
constexpr uint32_t kReclaimBatch = 64;  // entries evicted per look for the slot with the oldest one
// Entries evicted to make room for one more, which is then left out. A block with thousands of
// holders needs up to 2048 adjacent cells; neighbours were mostly written, and so grow old,
// together.
constexpr uint32_t kReclaimMax = 8192;
constexpr uint32_t kEvictionStep = 256;  // entries evicted before other writers get their turn
constexpr size_t kFetchAhead = 8;        // blocks between two steps of fetching one

// One slot's recency list, most recently used first. Insert keeps a block newer than the blocks
// after it in any prefix, so the back is a tail.
struct SlotList {
  uint32_t capacity = 0;
  uint32_t count = 0;
  uint32_t front = 0;
  uint32_t back = 0;
  uint64_t back_age = kEmptyAge;  // full number of the Insert that used the back last
};

// Memory of all kinds for `cells` cells, in bytes: the cell, its free bit, and half a bucket,
// because a block takes at least two cells.
constexpr uint64_t TableBytes(uint64_t cells) {
  return cells * CellArena::kCellBytes + cells / 8 + cells / 2 * sizeof(uint32_t);
}

uint64_t FixedBytes(uint32_t slots_max) {
  return slots_max * sizeof(SlotList) + BlockTable::kShards * sizeof(uint32_t) + 4096;
}

uint32_t CellsFor(const PrefixIndexOptions& options) {
  const uint64_t fixed = FixedBytes(options.slots_max) + BlockTable::kBucketsMin * sizeof(uint32_t);
  const uint64_t regions = (options.memory_bytes_max - fixed) / TableBytes(CellArena::kRegionCells);
  return static_cast<uint32_t>(std::min<uint64_t>(regions * CellArena::kRegionCells,
                                                  (1ull << 31) - CellArena::kRegionCells));
}

// Finds for each slot where its match ends, looking at as few blocks as it can: the holders of a
// block are among those of the block before, so where two blocks have equally many, nothing ends
// between.
class Matcher {
 public:
  Matcher(const BlockTable& table, std::span<const uint64_t> hashes, std::span<uint32_t> matched,
          Read read) noexcept
      : table_(table), hashes_(hashes), matched_(matched), read_(read) {
    std::fill(matched_.begin(), matched_.end(), 0u);
  }

  // Both return false if a writer disturbed a look too often; the answer is then incomplete.
  bool Contiguous() noexcept {
    if (hashes_.empty()) return true;
    uint32_t count;
    return Count(0, &count) && Ends(0, count, hashes_.size(), 0);
  }

  bool UpToFirstUnknown() noexcept {
    for (size_t i = 0; i < hashes_.size(); ++i) {
      const uint32_t count = table_.CopyHolders(hashes_[i], read_, holders_);
      if (count == BlockTable::kDisturbed) return false;
      if (count == 0) return true;
      for (uint32_t h = 0; h < count; ++h) {
        if (holders_[h] < matched_.size()) ++matched_[holders_[h]];
      }
    }
    return true;
  }

 private:
  bool Count(size_t block, uint32_t* count) noexcept {
    *count = table_.CountHolders(hashes_[block], read_);
    return *count != BlockTable::kDisturbed;
  }

  // Finds the ends in [low, high), whose blocks have the given numbers of holders. Shallow ends
  // come first, so that a slot's deepest one stays. Depth of recursion: log2(blocks).
  bool Ends(size_t low, uint32_t low_count, size_t high, uint32_t high_count) noexcept {
    if (low_count == high_count) return true;
    if (high - low == 1) return Credit(low);

    const size_t middle = low + (high - low) / 2;
    uint32_t count;
    return Count(middle, &count) && Ends(low, low_count, middle, count) &&
           Ends(middle, count, high, high_count);
  }

  bool Credit(size_t block) noexcept {
    const uint32_t count = table_.CopyHolders(hashes_[block], read_, holders_);
    if (count == BlockTable::kDisturbed) return false;
    for (uint32_t h = 0; h < count; ++h) {
      if (holders_[h] < matched_.size()) matched_[holders_[h]] = static_cast<uint32_t>(block + 1);
    }
    return true;
  }

  const BlockTable& table_;
  std::span<const uint64_t> hashes_;
  std::span<uint32_t> matched_;
  Read read_;
  uint16_t holders_[BlockTable::kHoldersMax];
};

}  // namespace

class PrefixIndex::Impl {
 public:
  explicit Impl(const PrefixIndexOptions& options)
      : options_(options),
        arena_(CellsFor(options)),
        table_(&arena_, std::max(CellsFor(options) / 2, BlockTable::kBucketsMin), options.seed),
        lists_(options.slots_max) {
    for (SlotList& list : lists_) list.capacity = options.capacity_blocks;
  }

  bool ok() const noexcept { return arena_.ok() && table_.ok(); }

  void Match(std::span<const uint64_t> hashes, std::span<uint32_t> matched) const noexcept {
    if (MatchOnce(hashes, matched, Read::kOptimistic)) return;
    const std::lock_guard lock(mutex_);
    MatchOnce(hashes, matched, Read::kConsistent);
  }

  PrefixTicket Insert(uint32_t slot, std::span<const uint64_t> hashes) noexcept;
  void Erase(const PrefixTicket& ticket) noexcept;
  void SetCapacity(uint32_t slot, uint32_t capacity_blocks) noexcept;

  void Clear(uint32_t slot) noexcept {
    SetCapacity(slot, 0);
    SetCapacity(slot, options_.capacity_blocks);
  }

  uint32_t held_blocks(uint32_t slot) const noexcept {
    return slot < lists_.size() ? internal::LoadShared(&lists_[slot].count) : 0;
  }

  PrefixIndexStats Stats() const noexcept {
    const std::lock_guard lock(mutex_);
    const uint64_t fixed = FixedBytes(options_.slots_max) + table_.bytes_used();
    const uint64_t used = uint64_t{arena_.cells_used()} * CellArena::kCellBytes;
    const uint64_t bits = arena_.bytes_held() / CellArena::kCellBytes / 8;
    return {.entry_count = entry_count_,
            .block_count = table_.block_count(),
            .bytes_used = fixed + bits + used,
            .bytes_held = fixed + bits + arena_.bytes_held(),
            .capacity_evictions = capacity_evictions_,
            .memory_evictions = memory_evictions_};
  }

 private:
  bool MatchOnce(std::span<const uint64_t> hashes, std::span<uint32_t> matched,
                 Read read) const noexcept {
    Matcher matcher(table_, hashes, matched, read);
    return options_.llmd_compat ? matcher.UpToFirstUnknown() : matcher.Contiguous();
  }

  void FetchAhead(std::span<const uint64_t> hashes, size_t i) const noexcept;
  uint32_t EntryOf(uint32_t slot, uint64_t hash, uint32_t neighbour) const noexcept;
  uint32_t AddEntry(uint32_t slot, uint64_t hash, uint32_t newer) noexcept;
  uint32_t ReclaimOldest(uint32_t slot, uint32_t newer) noexcept;
  void DropEntry(SlotList& list, uint32_t entry) noexcept;

  void Link(SlotList& list, uint32_t entry, uint32_t newer) noexcept;
  void Unlink(SlotList& list, uint32_t entry) noexcept;
  void SetBack(SlotList& list, uint32_t entry) noexcept;
  uint32_t& word(uint32_t entry, internal::EntryWord which) const noexcept {
    return arena_.words(entry)[which];
  }
  // The tag of an entry that the Insert of this number used last; keeps the number's low bits.
  static uint32_t TagOf(uint64_t insert_number, uint32_t slot) noexcept {
    return static_cast<uint32_t>(insert_number) << internal::kSlotBits | slot;
  }

  const PrefixIndexOptions options_;
  mutable std::mutex mutex_;  // of writers; all below but what readers may see of table_ and counts
  CellArena arena_;
  BlockTable table_;
  std::vector<SlotList> lists_;
  uint64_t insert_number_ = 0;
  uint64_t entry_count_ = 0;
  uint64_t capacity_evictions_ = 0;
  uint64_t memory_evictions_ = 0;
};

// ---- recency lists

// A stamp is the low bits of an Insert's number. Stamps never decrease from back to front, so the
// new back's number is the next one from the old back's that ends in its stamp.
void PrefixIndex::Impl::SetBack(SlotList& list, uint32_t entry) noexcept {
  list.back = entry;
  if (entry == 0) {
    list.back_age = kEmptyAge;
    return;
  }
  const uint32_t entry_stamp = word(entry, internal::kEntryTag) >> internal::kSlotBits;
  if (list.back_age == kEmptyAge) list.back_age = insert_number_;
  list.back_age += (entry_stamp - static_cast<uint32_t>(list.back_age)) & internal::kStampMask;
}

// Links an entry behind `newer`, or in front of all if that is 0.
void PrefixIndex::Impl::Link(SlotList& list, uint32_t entry, uint32_t newer) noexcept {
  const uint32_t older = newer == 0 ? list.front : word(newer, internal::kEntryOlder);
  StoreShared(&word(entry, internal::kEntryNewer), newer);
  StoreShared(&word(entry, internal::kEntryOlder), older);
  if (newer == 0) {
    list.front = entry;
  } else {
    StoreShared(&word(newer, internal::kEntryOlder), entry);
  }
  if (older == 0) {
    SetBack(list, entry);
  } else {
    StoreShared(&word(older, internal::kEntryNewer), entry);
  }
}

void PrefixIndex::Impl::Unlink(SlotList& list, uint32_t entry) noexcept {
  const uint32_t newer = word(entry, internal::kEntryNewer);
  const uint32_t older = word(entry, internal::kEntryOlder);
  if (newer == 0) {
    list.front = older;
  } else {
    StoreShared(&word(newer, internal::kEntryOlder), older);
  }
  if (older == 0) {
    SetBack(list, newer);
  } else {
    StoreShared(&word(older, internal::kEntryNewer), newer);
  }
}

void PrefixIndex::Impl::DropEntry(SlotList& list, uint32_t entry) noexcept {
  WEIR_DCHECK(entry != 0 && list.count > 0);
  Unlink(list, entry);
  table_.Remove(entry);
  StoreShared(&list.count, list.count - 1);
  --entry_count_;
}

// ---- writers

// Evicts some of the longest unused entries of all slots and returns how many: 0 if nothing is left
// but what the Insert under way has touched; `newer` is its last entry in `slot`, or 0.
uint32_t PrefixIndex::Impl::ReclaimOldest(uint32_t slot, uint32_t newer) noexcept {
  SlotList* oldest = nullptr;
  uint64_t runner_up_age = kEmptyAge;
  for (SlotList& list : lists_) {
    if (list.back_age == kEmptyAge || (&list == &lists_[slot] && list.back == newer)) continue;
    if (oldest == nullptr || list.back_age < oldest->back_age) {
      runner_up_age = oldest == nullptr ? kEmptyAge : oldest->back_age;
      oldest = &list;
    } else {
      runner_up_age = std::min(runner_up_age, list.back_age);
    }
  }
  if (oldest == nullptr) return 0;
  uint32_t evicted = 0;
  while (evicted < kReclaimBatch && oldest->count > 0 && oldest->back_age <= runner_up_age &&
         !(oldest == &lists_[slot] && oldest->back == newer)) {
    DropEntry(*oldest, oldest->back);
    ++evicted;
  }
  memory_evictions_ += evicted;
  return evicted;
}

// A new entry of a block that `slot` does not hold, not linked yet; 0 if memory has no room.
uint32_t PrefixIndex::Impl::AddEntry(uint32_t slot, uint64_t hash, uint32_t newer) noexcept {
  SlotList& list = lists_[slot];
  if (list.count >= list.capacity) {
    DropEntry(list, list.back);
    ++capacity_evictions_;
  }
  const uint32_t tag = TagOf(insert_number_, slot);
  for (uint32_t evicted = 0;;) {
    const uint32_t entry = table_.Add(table_.Find(hash), hash, tag);
    if (entry != 0) {
      StoreShared(&list.count, list.count + 1);
      ++entry_count_;
      return entry;
    }
    const uint32_t now = evicted < kReclaimMax ? ReclaimOldest(slot, newer) : 0;
    if (now == 0) return 0;
    evicted += now;
  }
}

// A long prompt's blocks lie anywhere in memory: asks for those that come soon.
void PrefixIndex::Impl::FetchAhead(std::span<const uint64_t> hashes, size_t i) const noexcept {
  if (i + 3 * kFetchAhead < hashes.size()) table_.FetchBucket(hashes[i + 3 * kFetchAhead]);
  if (i + 2 * kFetchAhead < hashes.size()) table_.FetchNode(hashes[i + 2 * kFetchAhead]);
  if (i + kFetchAhead < hashes.size()) table_.FetchHolders(hashes[i + kFetchAhead]);
}

// The slot's entry of a block, or 0. `neighbour`, of the same slot or 0, is probably it: the next
// in the list to the entry of the block before, as prompts were inserted in one piece.
uint32_t PrefixIndex::Impl::EntryOf(uint32_t slot, uint64_t hash,
                                    uint32_t neighbour) const noexcept {
  if (neighbour != 0 && table_.HashOf(word(neighbour, internal::kEntryBlock)) == hash) {
    return neighbour;
  }
  const uint32_t node = table_.Find(hash);
  return node == 0 ? 0 : table_.FindEntry(node, slot);
}

PrefixTicket PrefixIndex::Impl::Insert(uint32_t slot, std::span<const uint64_t> hashes) noexcept {
  if (slot >= lists_.size() || hashes.empty()) return {};
  const std::lock_guard lock(mutex_);
  SlotList& list = lists_[slot];
  if (list.capacity == 0) return {};
  // What does not fit is the tail; llm-d pushes everything and keeps the tail.
  if (!options_.llmd_compat) hashes = hashes.first(std::min<size_t>(hashes.size(), list.capacity));
  PrefixTicket ticket{.insert_number = ++insert_number_, .slot = slot};
  const auto deeper = options_.llmd_compat ? internal::kEntryNewer : internal::kEntryOlder;
  uint32_t newer = 0, neighbour = 0;
  for (size_t i = 0; i < hashes.size(); ++i) {
    FetchAhead(hashes, i);
    uint32_t entry = EntryOf(slot, hashes[i], neighbour);
    neighbour = entry == 0 ? 0 : word(entry, deeper);
    if (entry == 0) {
      entry = AddEntry(slot, hashes[i], newer);
      if (entry == 0) break;
    } else {
      if (entry == newer) continue;
      if (ticket.held_blocks == i) ++ticket.held_blocks;
      Unlink(list, entry);
      StoreShared(&word(entry, internal::kEntryTag), TagOf(insert_number_, slot));
    }
    Link(list, entry, newer);
    // Behind the block before it, so that heads are newest; llm-d: in front of it.
    if (!options_.llmd_compat) newer = entry;
    ++ticket.inserted_blocks;
    ticket.last_hash = hashes[i];
  }
  return ticket;
}

// The blocks of one Insert lie together in the list, deepest last (llm-d's order: first), because
// later Inserts put theirs in front. A block that one of those used carries its stamp, and so do
// the blocks before it: the first foreign stamp ends the walk.
void PrefixIndex::Impl::Erase(const PrefixTicket& ticket) noexcept {
  if (ticket.slot >= lists_.size() || ticket.inserted_blocks <= ticket.held_blocks) return;
  const std::lock_guard lock(mutex_);
  SlotList& list = lists_[ticket.slot];
  const uint32_t tag = TagOf(ticket.insert_number, ticket.slot);
  const auto shallower = options_.llmd_compat ? internal::kEntryOlder : internal::kEntryNewer;
  uint32_t entry = EntryOf(ticket.slot, ticket.last_hash, 0);
  for (uint32_t left = ticket.inserted_blocks - ticket.held_blocks; left > 0; --left) {
    if (entry == 0 || word(entry, internal::kEntryTag) != tag) return;
    const uint32_t next = word(entry, shallower);
    DropEntry(list, entry);
    entry = next;
  }
}

void PrefixIndex::Impl::SetCapacity(uint32_t slot, uint32_t capacity_blocks) noexcept {
  if (slot >= lists_.size()) return;
  SlotList& list = lists_[slot];
  for (bool is_done = false; !is_done;) {
    const std::lock_guard lock(mutex_);
    list.capacity = capacity_blocks;
    for (uint32_t i = 0; i < kEvictionStep && list.count > capacity_blocks; ++i)
      DropEntry(list, list.back);
    is_done = list.count <= capacity_blocks;
  }
}

// ---- public face

absl::StatusOr<std::unique_ptr<PrefixIndex>> PrefixIndex::Create(
    const PrefixIndexOptions& options) {
  if (options.slots_max < 1 || options.slots_max > kEndpointsMax) {
    return absl::InvalidArgumentError(absl::StrCat("prefix index: slots_max ", options.slots_max,
                                                   ", expected 1..", kEndpointsMax));
  }
  if (options.memory_bytes_max < kPrefixMemoryBytesMin ||
      options.memory_bytes_max > kPrefixMemoryBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("prefix index: memory_bytes_max ", options.memory_bytes_max, ", expected ",
                     kPrefixMemoryBytesMin, "..", kPrefixMemoryBytesMax));
  }
  auto impl = std::make_unique<Impl>(options);
  if (!impl->ok()) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "prefix index: the system reserves no ", options.memory_bytes_max, " bytes of addresses"));
  }
  return std::unique_ptr<PrefixIndex>(new PrefixIndex(std::move(impl)));
}

PrefixIndex::PrefixIndex(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
PrefixIndex::~PrefixIndex() = default;

void PrefixIndex::Match(std::span<const uint64_t> hashes,
                        std::span<uint32_t> matched_blocks) const noexcept {
  impl_->Match(hashes, matched_blocks);
}
PrefixTicket PrefixIndex::Insert(uint32_t slot, std::span<const uint64_t> hashes) noexcept {
  return impl_->Insert(slot, hashes);
}
void PrefixIndex::Erase(const PrefixTicket& ticket) noexcept { impl_->Erase(ticket); }
void PrefixIndex::SetCapacity(uint32_t slot, uint32_t capacity_blocks) noexcept {
  impl_->SetCapacity(slot, capacity_blocks);
}
void PrefixIndex::Clear(uint32_t slot) noexcept { impl_->Clear(slot); }
uint32_t PrefixIndex::held_blocks(uint32_t slot) const noexcept { return impl_->held_blocks(slot); }
PrefixIndexStats PrefixIndex::Stats() const noexcept { return impl_->Stats(); }

}  // namespace weir
