// index/shared_words.h: words that writers change while readers may look at them.
#pragma once

#include <atomic>
#include <cstdint>

namespace weir::internal {

// All loads acquire and all stores release: a reader that sees a word of an unfinished change then
// also sees that the shard's version is odd, so plain memory needs no fences (nor has TSan any for
// them). On x86 both are ordinary moves.
template <typename T>
inline T LoadShared(const T* word) noexcept {
  return std::atomic_ref<T>(*const_cast<T*>(word)).load(std::memory_order_acquire);
}

template <typename T>
inline void StoreShared(T* word, T value) noexcept {
  std::atomic_ref<T>(*word).store(value, std::memory_order_release);
}

}  // namespace weir::internal
