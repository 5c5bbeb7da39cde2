// load/histogram.h: latency distributions in bounded memory with a known error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace weir::load {

// Counts non-negative values in buckets whose width grows with the value: below 2^precision_bits
// each value has its own bucket, above that every power of two is cut into 2^precision_bits
// buckets. A quantile is therefore off by at most value / 2^(precision_bits + 1). Values above
// kValueMax count in the last bucket; minimum, maximum and mean stay exact.
// One thread at a time.
class Histogram {
 public:
  static constexpr int kValueBits = 44;  // 2^44 ns are 4.9 hours
  static constexpr uint64_t kValueMax = (1ull << kValueBits) - 1;
  static constexpr int kPrecisionBits = 7;

  // REQUIRES: 1 <= precision_bits <= 16. Memory: 8 * (45 - precision_bits) * 2^precision_bits
  // bytes.
  explicit Histogram(int precision_bits = kPrecisionBits);

  // Adds one value; a negative one counts as 0. O(1), no allocation. [hot]
  void Record(int64_t value) noexcept;

  // Adds all values of `other`. REQUIRES: equal precision.
  void Merge(const Histogram& other) noexcept;

  // The value below or at which `quantile` (0..1) of all values lie, or 0 if there are none.
  // Quantile 0 is the exact minimum and 1 the exact maximum.
  uint64_t Quantile(double quantile) const noexcept;

  // Ascending (value, share of all values at or below it), at most points_max of them; the first
  // and the last value are exact. Empty if nothing was recorded. REQUIRES: points_max >= 2.
  std::vector<std::pair<uint64_t, double>> Cumulative(size_t points_max) const;

  uint64_t count() const noexcept { return count_; }
  uint64_t min() const noexcept { return count_ == 0 ? 0 : min_; }
  uint64_t max() const noexcept { return max_; }
  double mean() const noexcept { return count_ == 0 ? 0.0 : sum_ / static_cast<double>(count_); }

 private:
  size_t IndexOf(uint64_t value) const noexcept;
  uint64_t MiddleOf(size_t index) const noexcept;

  int precision_bits_;
  std::vector<uint64_t> buckets_;
  uint64_t count_ = 0;
  uint64_t min_ = std::numeric_limits<uint64_t>::max();
  uint64_t max_ = 0;
  double sum_ = 0;
};

}  // namespace weir::load
