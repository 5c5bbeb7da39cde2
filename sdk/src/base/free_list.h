// base/free_list.h: objects that are used, returned and used again, without a lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <type_traits>

#include "base/check.h"

namespace weir::internal {

// Hands out at most `size_max` objects of type T, made when first needed and kept until the list is
// destroyed. T has `std::atomic<uint32_t> free_next` and `uint32_t free_index` for the list's use.
// A stack of indices with a version in its head, so that a stale read is noticed. [hot, concurrent]
template <class T, uint32_t kSizeMax>
class FreeList {
 public:
  FreeList() = default;
  FreeList(const FreeList&) = delete;
  FreeList& operator=(const FreeList&) = delete;

  // Null when kSizeMax objects are out, or no memory is left for more. Allocates only while the
  // list grows.
  T* Take() noexcept {
    uint64_t head = head_.load(std::memory_order_acquire);
    while (Index(head) != kNone) {
      T& object = At(Index(head));
      const uint64_t next = Pack(object.free_next.load(std::memory_order_relaxed), head);
      if (head_.compare_exchange_weak(head, next, std::memory_order_acq_rel)) return &object;
    }
    return Grow();
  }

  void Return(T* object) noexcept {
    uint64_t head = head_.load(std::memory_order_relaxed);
    do {
      object->free_next.store(Index(head), std::memory_order_relaxed);
    } while (!head_.compare_exchange_weak(head, Pack(object->free_index, head),
                                          std::memory_order_release, std::memory_order_relaxed));
  }

  // Objects made so far. [concurrent]
  uint32_t size() const noexcept { return size_.load(std::memory_order_acquire); }
  // REQUIRES: index < size()
  T& At(uint32_t index) noexcept {
    return chunks_[index / kChunk].load(std::memory_order_acquire)[index % kChunk];
  }

  ~FreeList() {
    for (uint32_t i = 0; i < kSizeMax / kChunk; ++i) delete[] chunks_[i].load();
  }

 private:
  static constexpr uint32_t kChunk = 64;
  static constexpr uint32_t kNone = UINT32_MAX;
  static_assert(kSizeMax % kChunk == 0);
  static_assert(std::is_nothrow_default_constructible_v<T>);

  static uint32_t Index(uint64_t head) { return static_cast<uint32_t>(head); }
  static uint64_t Pack(uint32_t index, uint64_t old_head) {
    return (((old_head >> 32) + 1) << 32) | index;
  }

  T* Grow() noexcept {
    std::lock_guard lock(grow_mutex_);
    const uint32_t index = size_.load(std::memory_order_relaxed);
    if (index == kSizeMax) return nullptr;
    std::atomic<T*>& chunk = chunks_[index / kChunk];
    if (chunk.load(std::memory_order_relaxed) == nullptr) {
      T* const more = new (std::nothrow) T[kChunk];
      if (more == nullptr) return nullptr;
      chunk.store(more, std::memory_order_release);
    }
    T& object = chunk.load(std::memory_order_relaxed)[index % kChunk];
    object.free_index = index;
    size_.store(index + 1, std::memory_order_release);
    return &object;
  }

  std::atomic<uint64_t> head_{kNone};
  std::atomic<uint32_t> size_{0};
  std::mutex grow_mutex_;
  const std::unique_ptr<std::atomic<T*>[]> chunks_ { new std::atomic<T*>[ kSizeMax / kChunk ]() };
};

}  // namespace weir::internal
