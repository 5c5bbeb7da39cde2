// base/arena.h: scratch memory of one decision, kept from decision to decision.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>

#include "base/check.h"

namespace weir::internal {

// Hands out memory that is freed all at once. Once it has grown to what its user needs it allocates
// nothing. One thread at a time.
class Arena {
 public:
  explicit Arena(uint64_t bytes_max) noexcept : bytes_max_(bytes_max) {}

  // 16-byte aligned, not cleared, not null for 0 bytes; null beyond bytes_max, and when the process
  // has no memory. [hot]
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

  // The same, and gives all memory back.
  void Free() noexcept;

  // By any thread. [hot, concurrent]
  uint64_t bytes_held() const noexcept { return bytes_held_.load(std::memory_order_relaxed); }

 private:
  // Each block is as large as all before it, so that these are enough for 1 GiB.
  static constexpr uint32_t kBlocksMax = 18;

  bool Grow(uint64_t bytes) noexcept;

  const uint64_t bytes_max_;
  std::atomic<uint64_t> bytes_held_{0};  // written by the one thread that uses the arena
  std::byte* next_ = nullptr;
  std::byte* end_ = nullptr;
  uint32_t block_count_ = 0;
  std::array<std::unique_ptr<std::byte[]>, kBlocksMax> blocks_;
};

}  // namespace weir::internal
