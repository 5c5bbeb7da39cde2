// histogram.h: latencies with one writer and any number of readers.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

namespace weir::gateway {

// Upper bounds in seconds: 1, 2 and 5 per decade from 1 us to 500 s; the last bucket has none.
inline constexpr std::array<double, 27> kLatencyBoundsSeconds = {
    1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2,
    5e-2, 0.1,  0.2,  0.5,  1,    2,    5,    10,   20,   50,   100,  200,  500};

class LatencyHistogram {
 public:
  // [hot, serial]
  void Add(int64_t latency_ns) noexcept {
    const double seconds = static_cast<double>(latency_ns) * 1e-9;
    size_t bucket = 0;
    while (bucket < kLatencyBoundsSeconds.size() && seconds > kLatencyBoundsSeconds[bucket]) {
      ++bucket;
    }
    Bump(counts_[bucket], 1);
    Bump(sum_ns_, static_cast<uint64_t>(latency_ns > 0 ? latency_ns : 0));
  }
  // [concurrent]
  uint64_t count(size_t bucket) const noexcept {
    return counts_[bucket].load(std::memory_order_relaxed);
  }
  uint64_t sum_ns() const noexcept { return sum_ns_.load(std::memory_order_relaxed); }
  static constexpr size_t kBuckets = kLatencyBoundsSeconds.size() + 1;

 private:
  static void Bump(std::atomic<uint64_t>& value, uint64_t step) noexcept {
    value.store(value.load(std::memory_order_relaxed) + step, std::memory_order_relaxed);
  }

  std::array<std::atomic<uint64_t>, kBuckets> counts_ = {};
  std::atomic<uint64_t> sum_ns_{0};
};

}  // namespace weir::gateway
