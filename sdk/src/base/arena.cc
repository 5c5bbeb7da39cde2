#include "base/arena.h"

#include <algorithm>

namespace weir::internal {
namespace {

constexpr uint64_t kFirstBlockBytes = 16 << 10;

}  // namespace

bool Arena::Grow(uint64_t bytes) noexcept {
  if (bytes_held_ + bytes > bytes_max_) return false;
  uint64_t size = std::max({bytes, bytes_held_, kFirstBlockBytes});
  size = std::min(size, bytes_max_ - bytes_held_) & ~uint64_t{15};
  std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[size]);
  if (memory == nullptr || size < bytes) return false;
  next_ = memory.get();
  end_ = next_ + size;
  bytes_held_ += size;
  blocks_.push_back({std::move(memory), size});
  return true;
}

void Arena::Reset() noexcept {
  if (blocks_.size() > 1) {
    const uint64_t total = bytes_held_;
    blocks_.clear();
    bytes_held_ = 0;
    next_ = end_ = nullptr;
    Grow(total);
  }
  if (!blocks_.empty()) next_ = blocks_.front().memory.get();
}

}  // namespace weir::internal
