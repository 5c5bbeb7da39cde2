#include "base/arena.h"

#include <algorithm>

namespace weir::internal {
namespace {

constexpr uint64_t kFirstBlockBytes = 16 << 10;

}  // namespace

bool Arena::Grow(uint64_t bytes) noexcept {
  const uint64_t held = bytes_held();
  if (held + bytes > bytes_max_ || block_count_ == kBlocksMax) return false;
  uint64_t size = std::max({bytes, held, kFirstBlockBytes});
  size = std::min(size, bytes_max_ - held) & ~uint64_t{15};
  if (size < bytes) return false;
  std::byte* memory = new (std::nothrow) std::byte[size];
  if (memory == nullptr) return false;
  blocks_[block_count_++].reset(memory);
  next_ = memory;
  end_ = memory + size;
  bytes_held_.store(held + size, std::memory_order_relaxed);
  return true;
}

void Arena::Reset() noexcept {
  if (block_count_ > 1) {
    const uint64_t total = bytes_held();
    Free();
    Grow(total);
  }
  next_ = blocks_[0].get();
}

void Arena::Free() noexcept {
  for (uint32_t i = 0; i < block_count_; ++i) blocks_[i].reset();
  block_count_ = 0;
  bytes_held_.store(0, std::memory_order_relaxed);
  next_ = end_ = nullptr;
}

}  // namespace weir::internal
