#include "weir/io/decision_log/ring.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace weir::io {

EventRing::EventRing(size_t bytes)
    : mask_(std::bit_ceil(std::max<size_t>(bytes, 4096)) - 1),
      words_(new uint64_t[(mask_ + 1) / kWord]()) {}

std::byte* EventRing::Reserve(size_t size, size_t spare_bytes) noexcept {
  const uint64_t total = kWord + ((size + kWord - 1) & ~(kWord - 1));
  uint64_t position = reserved_.load(std::memory_order_relaxed);
  uint64_t filler = 0;
  while (true) {
    const uint64_t to_end = mask_ + 1 - (position & mask_);
    filler = total <= to_end ? 0 : to_end;
    const uint64_t popped = popped_.load(std::memory_order_acquire);
    if (popped > position) {  // others reserved, and the consumer took, since `position` was read
      position = reserved_.load(std::memory_order_relaxed);
      continue;
    }
    if (position - popped + filler + total + spare_bytes > mask_ + 1) return nullptr;
    if (reserved_.compare_exchange_weak(position, position + filler + total,
                                        std::memory_order_relaxed)) {
      break;
    }
  }
  if (filler != 0) {
    WordAt(position).store(filler | kFiller | kCommitted, std::memory_order_release);
  }
  const uint64_t word = ((position + filler) & mask_) / kWord;
  // Not committed yet, so still nothing to the consumer; Commit adds the mark.
  std::atomic_ref<uint64_t>(words_[word]).store(total, std::memory_order_relaxed);
  return reinterpret_cast<std::byte*>(&words_[word + 1]);
}

void EventRing::Commit(std::byte* entry) noexcept {
  std::atomic_ref<uint64_t> word(reinterpret_cast<uint64_t*>(entry)[-1]);
  word.store(word.load(std::memory_order_relaxed) | kCommitted, std::memory_order_release);
}

std::span<std::byte> EventRing::Front() noexcept {
  uint64_t position = popped_.load(std::memory_order_relaxed);
  uint64_t word = WordAt(position).load(std::memory_order_acquire);
  if ((word & kFiller) != 0) {
    WordAt(position).store(0, std::memory_order_relaxed);
    position += word & ~(kFiller | kCommitted);
    popped_.store(position, std::memory_order_release);
    word = WordAt(position).load(std::memory_order_acquire);
  }
  if ((word & kCommitted) == 0) return {};
  auto* const entry = reinterpret_cast<std::byte*>(&words_[(position & mask_) / kWord + 1]);
  return {entry, static_cast<size_t>(word & ~kCommitted) - kWord};
}

void EventRing::Pop() noexcept {
  const uint64_t position = popped_.load(std::memory_order_relaxed);
  const uint64_t size = WordAt(position).load(std::memory_order_relaxed) & ~kCommitted;
  // Any of these words may be the first of a later entry, which must read as not committed.
  std::memset(static_cast<void*>(&words_[(position & mask_) / kWord]), 0, size);
  popped_.store(position + size, std::memory_order_release);
}

}  // namespace weir::io
