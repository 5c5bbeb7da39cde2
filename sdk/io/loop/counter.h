// weir/io/loop/counter.h: a number that one thread writes and others read.
#pragma once

#include <atomic>
#include <cstdint>

namespace weir::io {

// One writer. Readers see a recent value, never a torn one.
class Counter {
 public:
  void Add(uint64_t step) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + step, std::memory_order_relaxed);
  }
  void Subtract(uint64_t step) noexcept { Add(~step + 1); }
  // [concurrent]
  uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_ = 0;
};

}  // namespace weir::io
