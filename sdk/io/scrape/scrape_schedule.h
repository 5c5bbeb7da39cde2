// weir/io/scrape/scrape_schedule.h: when each endpoint is scraped next. Pure: time comes in, no
// clock and no loop.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "weir/random.h"

namespace weir::io {

inline constexpr int64_t kScrapeIntervalNsMin = 10'000'000;
inline constexpr int64_t kScrapeIntervalNsDefault = 50'000'000;
inline constexpr int64_t kScrapeBackoffNsMax = 2'000'000'000;

// Gives every endpoint its own phase of the interval, so that scrapes spread over it, and rounds
// phases to a step, so that one wake-up of the loop serves a group of endpoints. A failing endpoint
// waits twice as long after each failure, at most kScrapeBackoffNsMax, with jitter, and returns to
// its phase with the first success. At most one scrape per endpoint is out. One thread.
class ScrapeSchedule {
 public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  // `interval_ns` below kScrapeIntervalNsMin counts as that. `seed`: of the jitter.
  ScrapeSchedule(int64_t interval_ns, uint64_t seed);

  // Adds an endpoint, due within one interval. Returns its slot; slots of removed endpoints are
  // used again.
  uint32_t Add(int64_t now_ns);
  // REQUIRES: `slot` is in use
  void Remove(uint32_t slot);

  // Writes slots that are due to `out` and returns how many; each is then out until Done(). Call
  // again if `out` was filled. O(slots).
  uint32_t TakeDue(int64_t now_ns, std::span<uint32_t> out);
  // The scrape of `slot` has ended. REQUIRES: `slot` was taken and is still in use
  void Done(uint32_t slot, bool ok, int64_t now_ns);

  // When the next slot is due; kNever if none is. May be in the past. O(slots).
  int64_t NextDueNs() const noexcept;
  // When `slot` is due; kNever while its scrape is out.
  int64_t due_ns(uint32_t slot) const noexcept { return due_ns_[slot]; }
  // Whether a scrape of `slot` was taken and has not ended.
  bool is_out(uint32_t slot) const noexcept {
    return entries_[slot].used && due_ns_[slot] == kNever;
  }
  int64_t interval_ns() const noexcept { return interval_ns_; }
  int64_t step_ns() const noexcept { return step_ns_; }
  // Failures since the last success.
  uint32_t failures(uint32_t slot) const noexcept { return entries_[slot].failures; }

 private:
  struct Entry {
    int64_t phase_ns = 0;
    uint32_t failures = 0;
    bool used = false;
  };
  int64_t NextOfPhase(int64_t phase_ns, int64_t now_ns) const noexcept;

  int64_t interval_ns_;
  int64_t step_ns_;
  Random random_;
  uint64_t added_ = 0;
  std::vector<int64_t> due_ns_;  // kNever: out, or not in use
  std::vector<Entry> entries_;
  std::vector<uint32_t> free_;
};

}  // namespace weir::io
