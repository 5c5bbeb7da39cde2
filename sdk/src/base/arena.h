// base/arena.h: scratch memory of one decision, kept from decision to decision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "base/check.h"

namespace weir::internal {

// Hands out memory that is freed all at once. Once it has grown to what its user needs it allocates
// nothing. One thread at a time.
class Arena {
 public:
  explicit Arena(uint64_t bytes_max) : bytes_max_(bytes_max) {}

  // 16-byte aligned, not cleared, not null for 0 bytes; null beyond bytes_max. [hot]
  void* Allocate(uint64_t bytes) noexcept {
    if (bytes > bytes_max_) return nullptr;
    bytes = bytes == 0 ? 16 : (bytes + 15) & ~uint64_t{15};
    if (bytes > static_cast<uint64_t>(end_ - next_) && !Grow(bytes)) return nullptr;
    std::byte* memory = next_;
    next_ += bytes;
    return memory;
  }
  // Uninitialised elements, empty beyond the limit. [hot]
  template <class T>
  T* AllocateArray(uint64_t count) noexcept {
    static_assert(alignof(T) <= 16 && std::is_trivially_destructible_v<T>);
    return static_cast<T*>(Allocate(count * sizeof(T)));
  }
  template <class T>
  T* AllocateZeroed(uint64_t count) noexcept {
    T* memory = AllocateArray<T>(count);
    if (memory != nullptr) std::memset(static_cast<void*>(memory), 0, count * sizeof(T));
    return memory;
  }

  // Forgets everything handed out. Merges the blocks into one, so that the next user of the same
  // amount allocates nothing.
  void Reset() noexcept;

  uint64_t bytes_held() const noexcept { return bytes_held_; }

 private:
  bool Grow(uint64_t bytes) noexcept;

  struct Block {
    std::unique_ptr<std::byte[]> memory;
    uint64_t size_bytes;
  };
  uint64_t bytes_max_;
  uint64_t bytes_held_ = 0;
  std::byte* next_ = nullptr;
  std::byte* end_ = nullptr;
  std::vector<Block> blocks_;
};

}  // namespace weir::internal
