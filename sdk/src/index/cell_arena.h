// index/cell_arena.h: one pool of 16-byte cells for everything the prefix index stores.
#pragma once

#include <cstdint>

#include "index/reservation.h"

namespace weir::internal {

// A buddy allocator: runs of 2^order cells, aligned to their size, split and merged on demand, so
// that memory of one use serves any other. Numbers stay valid and readable for ever: a reader that
// holds the number of a freed cell reads stale or foreign words, never a fault. One writer at a
// time.
class CellArena {
 public:
  static constexpr uint32_t kCellBytes = 16;
  static constexpr uint32_t kRegionOrder = 12;  // the longest run: 64 KiB
  static constexpr uint32_t kRegionCells = 1u << kRegionOrder;
  static constexpr uint64_t kRegionBytes = uint64_t{kRegionCells} * kCellBytes;
  static constexpr uint32_t kRegionsKept = 16;  // empty regions that keep their memory: 1 MiB

  // REQUIRES: cells_max is a multiple of kRegionCells, >= kRegionCells and < 2^31
  explicit CellArena(uint32_t cells_max) noexcept;

  bool ok() const noexcept { return cells_.ok() && free_starts_.ok(); }

  // The first cell of a run of 2^order cells of undefined content, or 0 if no such run is left.
  uint32_t Allocate(uint32_t order) noexcept;
  // Takes back a run, or a half (quarter, ...) of one whose rest stays in use.
  void Free(uint32_t cell, uint32_t order) noexcept;

  // The words of a cell. REQUIRES: cell < cells_max()
  uint32_t* words(uint32_t cell) const noexcept {
    return reinterpret_cast<uint32_t*>(cells_.data() + uint64_t{cell} * kCellBytes);
  }
  uint32_t cells_max() const noexcept { return cells_max_; }
  uint32_t cells_used() const noexcept { return cells_used_; }
  // Bytes of cells that were touched and not given back, an upper bound.
  uint64_t bytes_held() const noexcept;

 private:
  static constexpr uint32_t kNone = ~0u;

  void PushFree(uint32_t cell, uint32_t order) noexcept;
  void RemoveFree(uint32_t cell, uint32_t order) noexcept;
  bool is_free_start(uint32_t cell) const noexcept;
  void FlipFreeStart(uint32_t cell) noexcept;

  Reservation cells_;
  Reservation free_starts_;  // one bit per cell: a free run begins here
  uint32_t cells_max_;
  uint32_t regions_touched_ = 0;  // regions handed out at least once
  uint32_t regions_free_ = 0;     // of these, empty now
  uint32_t cells_used_ = 0;
  uint32_t free_heads_[kRegionOrder + 1];
};

}  // namespace weir::internal
