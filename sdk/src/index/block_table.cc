#include "index/block_table.h"

#include <algorithm>
#include <atomic>

#include "base/check.h"
#include "index/shared_words.h"

namespace weir::internal {
namespace {

// Words of a block's node: its hash in the first two, the next node of its bucket, its holders.
enum NodeWord : uint32_t { kNodeHash = 0, kNodeNext = 2, kNodeHolders = 3 };

// kNodeHolders is an entry where one slot holds the block; with this bit it is a chunk of several.
constexpr uint32_t kChunkBit = 1u << 31;

// A chunk is a run of 2^order cells: count and order in its first word, then the slots (u16), then
// their entries (u32).
constexpr uint32_t kChunkHeadBytes = 4;
constexpr uint32_t kChunkOrderMax = 11;
constexpr uint32_t ChunkCapacity(uint32_t order) {
  const uint32_t bytes = CellArena::kCellBytes << order;
  return (bytes - kChunkHeadBytes) / (sizeof(uint16_t) + sizeof(uint32_t));
}
static_assert(ChunkCapacity(0) == 2);
static_assert(ChunkCapacity(kChunkOrderMax) >= BlockTable::kHoldersMax);
static_assert(kChunkOrderMax <= CellArena::kRegionOrder);

struct Chunk {
  explicit Chunk(uint32_t* first_word) noexcept : head(first_word) {}
  uint32_t count() const noexcept { return *head & 0xFFFF; }
  uint32_t order() const noexcept { return *head >> 16; }
  static uint32_t Head(uint32_t order, uint32_t count) noexcept { return order << 16 | count; }
  uint16_t* slots() const noexcept { return reinterpret_cast<uint16_t*>(head + 1); }
  uint32_t* entries(uint32_t order) const noexcept { return head + 1 + ChunkCapacity(order) / 2; }
  uint32_t* entries() const noexcept { return entries(order()); }

  // Position of `slot`, or count().
  uint32_t Find(uint32_t slot) const noexcept {
    const uint16_t* all = slots();
    const uint32_t size = count();
    uint32_t i = 0;
    for (; i + 16 <= size; i += 16) {
      uint32_t equal = 0;
      for (uint32_t j = 0; j < 16; ++j) equal |= all[i + j] == slot ? 1u : 0u;
      if (equal != 0) break;
    }
    while (i < size && all[i] != slot) ++i;
    return i;
  }
  void Set(uint32_t order, uint32_t i, uint32_t slot, uint32_t entry) const noexcept {
    StoreShared(&slots()[i], static_cast<uint16_t>(slot));
    StoreShared(&entries(order)[i], entry);
  }

  uint32_t* head;
};
static_assert(ChunkCapacity(1) % 2 == 0 && ChunkCapacity(5) % 2 == 0, "entries are aligned");

constexpr uint64_t kBucketReleaseBytes = 64 << 10;

}  // namespace

// Marks one shard as changing for its lifetime.
class BlockTable::Change {
 public:
  Change(BlockTable* table, uint32_t shard) noexcept : version_(&table->versions_[shard]) {
    WEIR_DCHECK(*version_ % 2 == 0);  // changes of one shard do not nest
    StoreShared(version_, *version_ + 1);
  }
  ~Change() { StoreShared(version_, *version_ + 1); }

 private:
  uint32_t* version_;
};

BlockTable::BlockTable(CellArena* arena, uint32_t buckets_max, uint64_t seed)
    : arena_(arena),
      buckets_((uint64_t{buckets_max} * sizeof(uint32_t) / kBucketReleaseBytes + 1) *
               kBucketReleaseBytes),
      versions_(std::make_unique<uint32_t[]>(kShards)),
      seed_(seed),
      buckets_max_(buckets_max) {}

uint64_t BlockTable::HashOf(uint32_t node) const noexcept {
  return *reinterpret_cast<const uint64_t*>(&arena_->words(node)[kNodeHash]);
}

// ---- readers

template <typename Visit>
BlockTable::Look BlockTable::LookAt(uint64_t hash, uint64_t key, uint32_t steps_max,
                                    Visit visit) const noexcept {
  constexpr Look kTorn = {.valid = false, .count = 0};
  const uint32_t cells_max = arena_->cells_max();
  uint32_t node = LoadShared(bucket(BucketOf(key, LoadShared(&bucket_count_))));
  uint32_t* words = nullptr;
  for (uint32_t step = 0;; ++step) {
    if (node == 0) return {.valid = true, .count = 0};
    if (node >= cells_max || step == steps_max) return kTorn;
    words = arena_->words(node);
    if (LoadShared(reinterpret_cast<uint64_t*>(&words[kNodeHash])) == hash) break;
    node = LoadShared(&words[kNodeNext]);
  }
  const uint32_t holders = LoadShared(&words[kNodeHolders]);
  const uint32_t cell = holders & ~kChunkBit;
  if (cell >= cells_max) return kTorn;
  if (cell == holders) {
    const uint32_t* tag = &arena_->words(cell)[kEntryTag];
    visit(1u, [tag](uint32_t) { return static_cast<uint16_t>(LoadShared(tag) & kSlotMask); });
    return {.valid = true, .count = 1};
  }
  const Chunk chunk(arena_->words(cell));
  const uint32_t count = LoadShared(chunk.head) & 0xFFFF;
  if (count > kHoldersMax || cell + (count / 2 + 5) / 4 > cells_max) return kTorn;
  const uint16_t* slots = chunk.slots();
  visit(count, [slots](uint32_t i) { return LoadShared(&slots[i]); });
  return {.valid = true, .count = count};
}

template <typename Visit>
uint32_t BlockTable::ReadHolders(uint64_t hash, Read read, Visit visit) const noexcept {
  const uint64_t key = KeyOf(hash);
  if (read == Read::kConsistent) return LookAt(hash, key, ~0u, visit).count;
  const uint32_t* version = &versions_[ShardOf(key)];
  for (uint32_t attempt = 0; attempt < kReadAttemptsMax; ++attempt) {
    const uint32_t before = LoadShared(version);
    if (before % 2 == 0) {
      const Look look = LookAt(hash, key, kChainStepsMax, visit);
      if (look.valid && LoadShared(version) == before) return look.count;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  return kDisturbed;
}

uint32_t BlockTable::CountHolders(uint64_t hash, Read read) const noexcept {
  return ReadHolders(hash, read, [](uint32_t, auto) {});
}

uint32_t BlockTable::CopyHolders(uint64_t hash, Read read, uint16_t* slots) const noexcept {
  return ReadHolders(hash, read, [slots](uint32_t count, auto slot_at) {
    for (uint32_t i = 0; i < count; ++i) slots[i] = slot_at(i);
  });
}

// ---- writers

void BlockTable::FetchBucket(uint64_t hash) const noexcept {
  __builtin_prefetch(bucket(BucketOf(KeyOf(hash), bucket_count_)));
}

void BlockTable::FetchNode(uint64_t hash) const noexcept {
  const uint32_t node = *bucket(BucketOf(KeyOf(hash), bucket_count_));
  if (node != 0) __builtin_prefetch(arena_->words(node));
}

// Of the first node of the bucket, which is mostly the one.
void BlockTable::FetchHolders(uint64_t hash) const noexcept {
  const uint32_t node = *bucket(BucketOf(KeyOf(hash), bucket_count_));
  if (node == 0) return;
  __builtin_prefetch(arena_->words(arena_->words(node)[kNodeHolders] & ~kChunkBit));
}

uint32_t BlockTable::Find(uint64_t hash) const noexcept {
  uint32_t node = *bucket(BucketOf(KeyOf(hash), bucket_count_));
  while (node != 0 && HashOf(node) != hash) node = arena_->words(node)[kNodeNext];
  return node;
}

uint32_t BlockTable::FindEntry(uint32_t node, uint32_t slot) const noexcept {
  const uint32_t holders = arena_->words(node)[kNodeHolders];
  const uint32_t cell = holders & ~kChunkBit;
  if (cell == holders) {
    return (arena_->words(cell)[kEntryTag] & kSlotMask) == slot ? cell : 0;
  }
  const Chunk chunk(arena_->words(cell));
  const uint32_t i = chunk.Find(slot);
  return i < chunk.count() ? chunk.entries()[i] : 0;
}

uint32_t BlockTable::Add(uint32_t node, uint64_t hash, uint32_t tag) noexcept {
  const uint32_t entry = arena_->Allocate(0);
  if (entry == 0) return 0;
  const uint64_t key = KeyOf(hash);
  const bool is_new = node == 0;
  if (is_new) node = arena_->Allocate(0);
  if (node != 0) {
    StoreShared(&arena_->words(entry)[kEntryBlock], node);
    StoreShared(&arena_->words(entry)[kEntryTag], tag);
  }
  if (node == 0 || (!is_new && !AddHolder(node, ShardOf(key), tag & kSlotMask, entry))) {
    arena_->Free(entry, 0);
    return 0;
  }
  if (!is_new) return entry;
  uint32_t* head = bucket(BucketOf(key, bucket_count_));
  uint32_t* words = arena_->words(node);
  StoreShared(reinterpret_cast<uint64_t*>(&words[kNodeHash]), hash);
  StoreShared(&words[kNodeNext], *head);
  StoreShared(&words[kNodeHolders], entry);
  {
    Change change(this, ShardOf(key));
    StoreShared(head, node);
  }
  if (++block_count_ > bucket_count_) Grow();
  return entry;
}

bool BlockTable::AddHolder(uint32_t node, uint32_t shard, uint32_t slot, uint32_t entry) noexcept {
  uint32_t* holders = &arena_->words(node)[kNodeHolders];
  const uint32_t cell = *holders & ~kChunkBit;
  const bool was_chunk = cell != *holders;
  const Chunk old(arena_->words(cell));
  const uint32_t count = was_chunk ? old.count() : 1;
  const uint32_t old_order = was_chunk ? old.order() : 0;
  if (was_chunk && count < ChunkCapacity(old_order)) {
    Change change(this, shard);
    old.Set(old_order, count, slot, entry);
    StoreShared(old.head, Chunk::Head(old_order, count + 1));
    return true;
  }
  const uint32_t order = was_chunk ? old_order + 1 : 0;
  const uint32_t grown_cell = arena_->Allocate(order);
  if (grown_cell == 0) return false;
  const Chunk grown(arena_->words(grown_cell));
  for (uint32_t i = 0; i < count; ++i) {
    if (was_chunk) {
      grown.Set(order, i, old.slots()[i], old.entries()[i]);
    } else {
      grown.Set(order, i, arena_->words(cell)[kEntryTag] & kSlotMask, cell);
    }
  }
  grown.Set(order, count, slot, entry);
  StoreShared(grown.head, Chunk::Head(order, count + 1));
  {
    Change change(this, shard);
    StoreShared(holders, grown_cell | kChunkBit);
  }
  if (was_chunk) arena_->Free(cell, old_order);
  return true;
}

void BlockTable::Remove(uint32_t entry) noexcept {
  const uint32_t node = arena_->words(entry)[kEntryBlock];
  const uint64_t key = KeyOf(HashOf(node));
  if (arena_->words(node)[kNodeHolders] == entry) {
    UnlinkNode(node, key);
    arena_->Free(node, 0);
    --block_count_;
    // Two buckets for one block, or an emptied table would keep half of them.
    for (int i = 0; i < 2 && bucket_count_ > kBucketsMin && block_count_ < bucket_count_ / 2; ++i) {
      Shrink();
    }
  } else {
    RemoveHolder(node, ShardOf(key), arena_->words(entry)[kEntryTag] & kSlotMask);
  }
  arena_->Free(entry, 0);
}

void BlockTable::RemoveHolder(uint32_t node, uint32_t shard, uint32_t slot) noexcept {
  uint32_t* holders = &arena_->words(node)[kNodeHolders];
  const uint32_t cell = *holders & ~kChunkBit;
  const Chunk chunk(arena_->words(cell));
  const uint32_t order = chunk.order();
  const uint32_t last = chunk.count() - 1;
  const uint32_t gap = chunk.Find(slot);
  WEIR_DCHECK(last >= 1 && gap <= last);
  {
    Change change(this, shard);
    chunk.Set(order, gap, chunk.slots()[last], chunk.entries()[last]);
    StoreShared(chunk.head, Chunk::Head(order, last));
    if (last == 1) StoreShared(holders, chunk.entries()[0]);
  }
  if (last == 1) {
    arena_->Free(cell, order);
  } else if (order > 0 && last <= ChunkCapacity(order - 1) / 2) {
    {
      Change change(this, shard);
      const uint32_t* entries = chunk.entries();
      for (uint32_t i = 0; i < last; ++i) {
        StoreShared(&chunk.entries(order - 1)[i], entries[i]);
      }
      StoreShared(chunk.head, Chunk::Head(order - 1, last));
    }
    arena_->Free(cell + (1u << (order - 1)), order - 1);
  }
}

void BlockTable::UnlinkNode(uint32_t node, uint64_t key) noexcept {
  uint32_t* link = bucket(BucketOf(key, bucket_count_));
  while (*link != node) link = &arena_->words(*link)[kNodeNext];
  Change change(this, ShardOf(key));
  StoreShared(link, arena_->words(node)[kNodeNext]);
}

void BlockTable::Grow() noexcept {
  if (bucket_count_ == buckets_max_) return;
  const uint32_t added = bucket_count_;
  const uint32_t parent = added - std::bit_floor(added);
  Change change(this, parent & (kShards - 1));
  uint32_t* link = bucket(parent);
  uint32_t moved = 0;
  while (*link != 0) {
    const uint32_t node = *link;
    uint32_t* next = &arena_->words(node)[kNodeNext];
    if (BucketOf(KeyOf(HashOf(node)), added + 1) == parent) {
      link = next;
      continue;
    }
    StoreShared(link, *next);
    StoreShared(next, moved);
    moved = node;
  }
  StoreShared(bucket(added), moved);
  StoreShared(&bucket_count_, added + 1);
}

void BlockTable::Shrink() noexcept {
  const uint32_t removed = bucket_count_ - 1;
  const uint32_t parent = removed - std::bit_floor(removed);
  {
    Change change(this, parent & (kShards - 1));
    uint32_t* link = bucket(parent);
    while (*link != 0) link = &arena_->words(*link)[kNodeNext];
    StoreShared(link, *bucket(removed));
    StoreShared(bucket(removed), 0u);
    StoreShared(&bucket_count_, removed);
  }
  const uint64_t bytes = uint64_t{removed} * sizeof(uint32_t);
  if (bytes % kBucketReleaseBytes == 0) buckets_.Release(bytes, kBucketReleaseBytes);
}

}  // namespace weir::internal
