#include "weir/io/scrape/scrape_schedule.h"

#include <algorithm>
#include <cassert>

namespace weir::io {
namespace {

// Steps of a tenth of the interval, 1 to 5 ms: the finest that timers resolve, and the longest that
// a sample should wait for its neighbours.
constexpr int64_t kStepNsMin = 1'000'000;
constexpr int64_t kStepNsMax = 5'000'000;
constexpr uint32_t kDoublingsMax = 16;
// Multiples of the golden ratio's fraction fill an interval evenly however many there are.
constexpr uint64_t kGoldenBits = 0x9E3779B97F4A7C15ull;

}  // namespace

ScrapeSchedule::ScrapeSchedule(int64_t interval_ns, uint64_t seed)
    : interval_ns_(std::max(interval_ns, kScrapeIntervalNsMin)),
      step_ns_(std::clamp(interval_ns_ / 10, kStepNsMin, kStepNsMax)),
      random_(seed) {}

uint32_t ScrapeSchedule::Add(int64_t now_ns) {
  uint32_t slot = static_cast<uint32_t>(entries_.size());
  if (free_.empty()) {
    entries_.emplace_back();
    due_ns_.push_back(kNever);
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  const uint64_t steps = static_cast<uint64_t>(interval_ns_ / step_ns_);
  const uint64_t turn = (added_++ * kGoldenBits) >> 32;  // a fraction of 2^32
  const int64_t phase_ns = static_cast<int64_t>((turn * steps) >> 32) * step_ns_;
  entries_[slot] = {.phase_ns = phase_ns, .used = true};
  due_ns_[slot] = NextOfPhase(phase_ns, now_ns);
  return slot;
}

void ScrapeSchedule::Remove(uint32_t slot) {
  assert(entries_[slot].used);
  entries_[slot] = {};
  due_ns_[slot] = kNever;
  free_.push_back(slot);
}

uint32_t ScrapeSchedule::TakeDue(int64_t now_ns, std::span<uint32_t> out) {
  uint32_t count = 0;
  for (uint32_t slot = 0; slot < due_ns_.size() && count < out.size(); ++slot) {
    if (due_ns_[slot] > now_ns || due_ns_[slot] == kNever) continue;
    due_ns_[slot] = kNever;
    out[count++] = slot;
  }
  return count;
}

void ScrapeSchedule::Done(uint32_t slot, bool ok, int64_t now_ns) {
  Entry& entry = entries_[slot];
  assert(entry.used && due_ns_[slot] == kNever);
  if (ok) {
    entry.failures = 0;
    due_ns_[slot] = NextOfPhase(entry.phase_ns, now_ns);
    return;
  }
  ++entry.failures;
  const int64_t longest_ns = std::max(kScrapeBackoffNsMax, interval_ns_);
  const uint32_t doublings = std::min(entry.failures, kDoublingsMax);
  const int64_t delay_ns =
      interval_ns_ > (longest_ns >> doublings) ? longest_ns : interval_ns_ << doublings;
  due_ns_[slot] = now_ns + delay_ns / 2 +
                  static_cast<int64_t>(random_.NextUniform() * static_cast<double>(delay_ns / 2));
}

int64_t ScrapeSchedule::NextDueNs() const noexcept {
  int64_t next = kNever;
  for (const int64_t due : due_ns_) next = std::min(next, due);
  return next;
}

int64_t ScrapeSchedule::NextOfPhase(int64_t phase_ns, int64_t now_ns) const noexcept {
  int64_t past = (now_ns - phase_ns) % interval_ns_;
  if (past < 0) past += interval_ns_;
  return now_ns - past + interval_ns_;
}

}  // namespace weir::io
