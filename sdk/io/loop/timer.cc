#include "weir/io/loop/timer.h"

#include <algorithm>
#include <bit>

namespace weir::io {

TimerWheel::TimerWheel(int64_t now_ns) noexcept : tick_(static_cast<uint64_t>(now_ns / kTickNs)) {}

void TimerWheel::Arm(Timer& timer, int64_t deadline_ns) noexcept {
  const int64_t rounded_up_ns = std::max<int64_t>(deadline_ns, 0) + (kTickNs - 1);
  timer.deadline_tick_ = static_cast<uint64_t>(rounded_up_ns / kTickNs);
  if (timer.linked() && timer.placed_tick_ > tick_ && timer.deadline_tick_ >= timer.placed_tick_) {
    return;
  }
  Place(timer);
}

void TimerWheel::Place(Timer& timer) noexcept {
  const uint64_t at = std::clamp(timer.deadline_tick_, tick_ + 1, tick_ + kSpanTicks - 1);
  const uint64_t delta = at - tick_;
  const uint32_t level = delta < kSlots ? 0 : delta < (1ull << (2 * kSlotBits)) ? 1 : 2;
  const uint32_t shift = level * kSlotBits;
  const uint32_t slot = static_cast<uint32_t>(at >> shift) & (kSlots - 1);
  timer.placed_tick_ = (at >> shift) << shift;
  levels_[level].slots[slot].PushBack(timer);
  levels_[level].used[slot / 64] |= 1ull << (slot % 64);
}

uint32_t TimerWheel::NextUsed(Level& level, uint64_t from) noexcept {
  for (uint32_t distance = 1; distance <= kSlots;) {
    const uint32_t slot = static_cast<uint32_t>(from + distance) & (kSlots - 1);
    const uint64_t word = level.used[slot / 64] >> (slot % 64);
    if (word == 0) {
      distance += 64 - slot % 64;
      continue;
    }
    distance += static_cast<uint32_t>(std::countr_zero(word));
    if (distance > kSlots) break;
    const uint32_t found = static_cast<uint32_t>(from + distance) & (kSlots - 1);
    if (!level.slots[found].empty()) return distance;
    level.used[found / 64] &= ~(1ull << (found % 64));
    ++distance;
  }
  return 0;
}

uint64_t TimerWheel::NextTick() noexcept {
  uint64_t next = kNever;
  for (uint32_t level = 0; level < kLevels; ++level) {
    const uint32_t shift = level * kSlotBits;
    const uint32_t distance = NextUsed(levels_[level], tick_ >> shift);
    if (distance != 0) next = std::min(next, ((tick_ >> shift) + distance) << shift);
  }
  return next;
}

void TimerWheel::Cascade(uint32_t level) noexcept {
  IntrusiveList<Timer> moving;
  const uint32_t slot = static_cast<uint32_t>(tick_ >> (level * kSlotBits)) & (kSlots - 1);
  moving.TakeAll(levels_[level].slots[slot]);
  while (Timer* timer = moving.PopFront()) {
    if (timer->deadline_tick_ > tick_) {
      Place(*timer);
    } else {
      // Due at this very tick, whose own slot is fired right after the cascade.
      const uint32_t due = static_cast<uint32_t>(tick_) & (kSlots - 1);
      timer->placed_tick_ = tick_;
      levels_[0].slots[due].PushBack(*timer);
    }
  }
}

uint32_t TimerWheel::FireSlot() noexcept {
  IntrusiveList<Timer> due;
  due.TakeAll(levels_[0].slots[tick_ & (kSlots - 1)]);
  uint32_t fired = 0;
  while (Timer* timer = due.PopFront()) {
    if (timer->deadline_tick_ > tick_) {
      Place(*timer);
      continue;
    }
    ++fired;
    timer->function_(timer->argument_);
  }
  return fired;
}

uint32_t TimerWheel::Advance(int64_t now_ns) noexcept {
  const uint64_t now_tick = static_cast<uint64_t>(now_ns / kTickNs);
  uint32_t fired = 0;
  while (tick_ < now_tick) {
    const uint64_t next = NextTick();
    if (next > now_tick) {
      tick_ = now_tick;
      break;
    }
    tick_ = next;
    if (tick_ % (1ull << (2 * kSlotBits)) == 0) Cascade(2);
    if (tick_ % kSlots == 0) Cascade(1);
    fired += FireSlot();
  }
  return fired;
}

int64_t TimerWheel::NextDelay(int64_t now_ns) noexcept {
  const uint64_t next = NextTick();
  if (next == kNever) return -1;
  return std::max<int64_t>(static_cast<int64_t>(next) * kTickNs - now_ns, 0);
}

}  // namespace weir::io
