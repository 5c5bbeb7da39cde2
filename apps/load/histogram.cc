#include "load/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace weir::load {

Histogram::Histogram(int precision_bits)
    : precision_bits_(precision_bits),
      buckets_(static_cast<size_t>(kValueBits - precision_bits + 1) << precision_bits) {}

size_t Histogram::IndexOf(uint64_t value) const noexcept {
  const int shift = std::max(0, static_cast<int>(std::bit_width(value)) - 1 - precision_bits_);
  return (static_cast<size_t>(shift) << precision_bits_) + static_cast<size_t>(value >> shift);
}

uint64_t Histogram::MiddleOf(size_t index) const noexcept {
  const size_t exact = size_t{1} << precision_bits_;
  if (index < 2 * exact) return index;
  const size_t shift = (index >> precision_bits_) - 1;
  const uint64_t low = static_cast<uint64_t>(index - (shift << precision_bits_)) << shift;
  return low + (uint64_t{1} << shift) / 2;
}

void Histogram::Record(int64_t value) noexcept {
  const uint64_t exact = value < 0 ? 0 : static_cast<uint64_t>(value);
  ++buckets_[IndexOf(std::min(exact, kValueMax))];
  ++count_;
  min_ = std::min(min_, exact);
  max_ = std::max(max_, exact);
  sum_ += static_cast<double>(exact);
}

void Histogram::Merge(const Histogram& other) noexcept {
  for (size_t i = 0; i < buckets_.size() && i < other.buckets_.size(); ++i) {
    buckets_[i] += other.buckets_[i];
  }
  count_ += other.count_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  sum_ += other.sum_;
}

uint64_t Histogram::Quantile(double quantile) const noexcept {
  if (count_ == 0) return 0;
  if (quantile <= 0) return min();
  if (quantile >= 1) return max_;
  const auto rank = std::max<uint64_t>(
      1, static_cast<uint64_t>(std::ceil(quantile * static_cast<double>(count_) - 1e-9)));
  uint64_t seen = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= rank) return std::clamp(MiddleOf(i), min(), max_);
  }
  return max_;
}

std::vector<std::pair<uint64_t, double>> Histogram::Cumulative(size_t points_max) const {
  std::vector<std::pair<uint64_t, double>> points;
  if (count_ == 0) return points;
  const double total = static_cast<double>(count_);
  points.emplace_back(min(), 0.0);
  // A bucket becomes a point once it lifts the curve by one step, so the points spread evenly
  // over the share and not over the value.
  const double step = 1.0 / static_cast<double>(points_max - 1);
  uint64_t seen = 0;
  double last = 0;
  for (size_t i = 0; i < buckets_.size() && seen < count_; ++i) {
    if (buckets_[i] == 0) continue;
    seen += buckets_[i];
    const double share = static_cast<double>(seen) / total;
    if (seen < count_ && share - last < step) continue;
    if (points.size() + 1 >= points_max && seen < count_) continue;
    points.emplace_back(seen == count_ ? max_ : std::clamp(MiddleOf(i), min(), max_), share);
    last = share;
  }
  return points;
}

}  // namespace weir::load
