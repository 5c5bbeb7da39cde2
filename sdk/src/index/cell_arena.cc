#include "index/cell_arena.h"

#include <algorithm>

#include "base/check.h"
#include "index/shared_words.h"

namespace weir::internal {
namespace {

// Words of the first cell of a free run.
enum FreeWord : uint32_t { kNext = 0, kPrevious = 1, kOrder = 2 };

}  // namespace

CellArena::CellArena(uint32_t cells_max) noexcept
    : cells_(uint64_t{cells_max} * kCellBytes), free_starts_(cells_max / 8), cells_max_(cells_max) {
  std::fill(std::begin(free_heads_), std::end(free_heads_), kNone);
  // Cell 0 stays in use for ever, so that 0 can mean "none".
  if (ok()) Allocate(0);
}

uint64_t CellArena::bytes_held() const noexcept {
  constexpr uint64_t kPageBytes = 4096;  // holds the links of a region that gave the rest back
  const uint64_t released = regions_free_ > kRegionsKept ? regions_free_ - kRegionsKept : 0;
  return regions_touched_ * kRegionBytes - released * (kRegionBytes - kPageBytes);
}

bool CellArena::is_free_start(uint32_t cell) const noexcept {
  const auto* bits = reinterpret_cast<const uint64_t*>(free_starts_.data());
  return (bits[cell / 64] >> (cell % 64)) & 1;
}

void CellArena::FlipFreeStart(uint32_t cell) noexcept {
  reinterpret_cast<uint64_t*>(free_starts_.data())[cell / 64] ^= uint64_t{1} << (cell % 64);
}

void CellArena::PushFree(uint32_t cell, uint32_t order) noexcept {
  const uint32_t next = free_heads_[order];
  uint32_t* run = words(cell);
  StoreShared(&run[kNext], next);
  StoreShared(&run[kPrevious], kNone);
  StoreShared(&run[kOrder], order);
  if (next != kNone) StoreShared(&words(next)[kPrevious], cell);
  free_heads_[order] = cell;
  FlipFreeStart(cell);
}

void CellArena::RemoveFree(uint32_t cell, uint32_t order) noexcept {
  const uint32_t next = words(cell)[kNext];
  const uint32_t previous = words(cell)[kPrevious];
  if (next != kNone) StoreShared(&words(next)[kPrevious], previous);
  if (previous != kNone) {
    StoreShared(&words(previous)[kNext], next);
  } else {
    free_heads_[order] = next;
  }
  FlipFreeStart(cell);
}

uint32_t CellArena::Allocate(uint32_t order) noexcept {
  uint32_t from = order;
  while (from <= kRegionOrder && free_heads_[from] == kNone) ++from;
  uint32_t cell;
  if (from <= kRegionOrder) {
    cell = free_heads_[from];
    RemoveFree(cell, from);
    if (from == kRegionOrder) --regions_free_;
  } else {
    if (regions_touched_ == cells_max_ / kRegionCells) return 0;
    cell = regions_touched_++ * kRegionCells;
    from = kRegionOrder;
  }
  while (from > order) {
    --from;
    PushFree(cell + (1u << from), from);
  }
  cells_used_ += 1u << order;
  return cell;
}

void CellArena::Free(uint32_t cell, uint32_t order) noexcept {
  WEIR_DCHECK(cell != 0 && cell % (1u << order) == 0 && !is_free_start(cell));
  WEIR_DCHECK(cells_used_ > 1u << order);
  cells_used_ -= 1u << order;
  while (order < kRegionOrder) {
    const uint32_t buddy = cell ^ (1u << order);
    if (!is_free_start(buddy) || words(buddy)[kOrder] != order) break;
    RemoveFree(buddy, order);
    cell = std::min(cell, buddy);
    ++order;
  }
  if (order == kRegionOrder) {
    // Free regions are a stack: the lowest kRegionsKept keep their memory, those above do not.
    if (++regions_free_ > kRegionsKept) {
      cells_.Release(uint64_t{cell} * kCellBytes, kRegionBytes);
    }
  }
  PushFree(cell, order);
}

}  // namespace weir::internal
