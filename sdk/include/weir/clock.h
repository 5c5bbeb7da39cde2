// weir/clock.h: where weir reads the time. Injected, so that tests and simulations own it.
#pragma once

#include <atomic>
#include <cstdint>

namespace weir {

// A monotonic clock. Its zero is arbitrary; only differences mean something.
// Safe for concurrent use by many threads without external locking.
class Clock {
 public:
  virtual ~Clock() = default;
  // Nanoseconds since the clock's zero; never decreases. [hot, concurrent]
  virtual int64_t now_ns() const noexcept = 0;
};

// The machine's monotonic clock (CLOCK_MONOTONIC). Lives forever. [concurrent]
const Clock& SystemClock() noexcept;

// A clock that moves only when told to, for tests and simulations.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(int64_t start_ns = 0) noexcept : now_ns_(start_ns) {}
  int64_t now_ns() const noexcept override { return now_ns_.load(std::memory_order_relaxed); }
  void Advance(int64_t step_ns) noexcept { now_ns_.fetch_add(step_ns, std::memory_order_relaxed); }
  // REQUIRES: now_ns >= this->now_ns()
  void Set(int64_t now_ns) noexcept { now_ns_.store(now_ns, std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> now_ns_;
};

}  // namespace weir
