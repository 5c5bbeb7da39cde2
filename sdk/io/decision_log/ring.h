// weir/io/decision_log/ring.h: entries of any size from many threads to one, without a lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace weir::io {

// A ring of bytes. Producers reserve room for an entry, fill it and commit it; the consumer sees
// entries in the order of their reservation. A full ring refuses, nobody waits. A producer that
// is stopped between Reserve and Commit holds up the consumer, but no other producer until the ring
// is full.
class EventRing {
 public:
  // `bytes` is rounded up to a power of two, at least 4 KiB. [control]
  explicit EventRing(size_t bytes);
  EventRing(const EventRing&) = delete;
  EventRing& operator=(const EventRing&) = delete;

  // Room for an entry, 8-byte aligned, to be filled and committed by this thread; null if the ring
  // has less than that beside `spare_bytes`, or could never have it. REQUIRES: size > 0
  // [hot, concurrent]
  std::byte* Reserve(size_t size, size_t spare_bytes = 0) noexcept;
  // Shows the entry at `entry`, with what was written to it, to the consumer. [hot, concurrent]
  static void Commit(std::byte* entry) noexcept;

  // The oldest entry, empty if there is none or it is not committed. Valid until Pop. [serial]
  std::span<std::byte> Front() noexcept;
  // REQUIRES: Front() was not empty. [serial]
  void Pop() noexcept;

  size_t capacity_bytes() const noexcept { return mask_ + 1; }
  // Where the next entry will be reserved, and up to where entries were taken: an entry is gone
  // when popped() has reached a reserved() that was read after its Commit. [concurrent]
  uint64_t reserved() const noexcept { return reserved_.load(); }
  uint64_t popped() const noexcept { return popped_.load(); }

 private:
  // Before each entry: its size with this word, and whether it is committed or only fills the ring
  // up to its end. Zero until then.
  static constexpr uint64_t kCommitted = uint64_t{1} << 63;
  static constexpr uint64_t kFiller = uint64_t{1} << 62;
  static constexpr size_t kWord = sizeof(uint64_t);

  std::atomic_ref<uint64_t> WordAt(uint64_t position) const noexcept {
    return std::atomic_ref<uint64_t>(words_[(position & mask_) / kWord]);
  }

  const size_t mask_;
  const std::unique_ptr<uint64_t[]> words_;
  alignas(64) std::atomic<uint64_t> reserved_{0};
  alignas(64) std::atomic<uint64_t> popped_{0};
};

}  // namespace weir::io
