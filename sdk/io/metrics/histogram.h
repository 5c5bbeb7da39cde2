// weir/io/metrics/histogram.h: histograms with one writer and any number of readers.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "weir/io/loop/counter.h"

namespace weir::io {

// What a page shows of a histogram, whatever its bounds.
struct HistogramView {
  std::span<const double> bounds;   // in shown units
  std::span<const Counter> counts;  // one more than bounds; not cumulative
  const Counter* sum;               // in counted units
  double units_per_shown = 1;       // counted units in one shown unit
};

// Several histograms with the same bounds, added up.
struct HistogramTotals {
  HistogramTotals() = default;
  explicit HistogramTotals(std::span<const HistogramView> views) {
    for (const HistogramView& view : views) Add(view);
  }
  void Add(const HistogramView& view) {
    counts.resize(view.counts.size());
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += view.counts[i].value();
    sum += static_cast<double>(view.sum->value()) / view.units_per_shown;
  }
  void Add(const HistogramTotals& other) {
    counts.resize(other.counts.size());
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += other.counts[i];
    sum += other.sum;
  }
  bool empty() const {
    return std::all_of(counts.begin(), counts.end(), [](uint64_t count) { return count == 0; });
  }

  std::vector<uint64_t> counts;  // not cumulative
  double sum = 0;                // in shown units
};

// Values counted in whole units (nanoseconds, bytes, tokens) and shown in others (seconds). kBounds
// is a std::array<double> of static duration, in shown units, ascending; kUnitsPerShown is
// 1'000'000'000 for nanoseconds shown as seconds.
template <const auto& kBounds, int64_t kUnitsPerShown = 1>
class Histogram {
 public:
  // Negative values count as 0. [hot, serial]
  void Add(int64_t value) noexcept {
    const int64_t counted = std::max<int64_t>(value, 0);
    const double shown = static_cast<double>(counted) / static_cast<double>(kUnitsPerShown);
    const auto bucket = std::lower_bound(kBounds.begin(), kBounds.end(), shown) - kBounds.begin();
    counts_[static_cast<size_t>(bucket)].Add(1);
    sum_.Add(static_cast<uint64_t>(counted));
  }
  // [concurrent]
  HistogramView view() const noexcept {
    return {kBounds, counts_, &sum_, static_cast<double>(kUnitsPerShown)};
  }

 private:
  std::array<Counter, kBounds.size() + 1> counts_ = {};
  Counter sum_;
};

inline constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
template <const auto& kBounds>
using SecondsHistogram = Histogram<kBounds, kNanosecondsPerSecond>;

// Upper bounds in seconds: 1, 2 and 5 per decade from 1 us to 500 s.
inline constexpr std::array<double, 27> kLatencyBoundsSeconds = {
    1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2,
    5e-2, 0.1,  0.2,  0.5,  1,    2,    5,    10,   20,   50,   100,  200,  500};
using LatencyHistogram = SecondsHistogram<kLatencyBoundsSeconds>;

}  // namespace weir::io
