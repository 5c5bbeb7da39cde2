// weir/io/loop/timer.h: timers of one thread. EventLoop owns the wheel; users own Timer objects and
// arm them with EventLoop::Arm().
#pragma once

#include <array>
#include <cstdint>

#include "weir/io/loop/intrusive_list.h"

namespace weir::io {

inline constexpr int64_t kTickNs = 1'000'000;  // resolution of timers

// Calls a member function once, when its time has come. Destroying or cancelling it is safe at any
// moment, also inside a callback of the same wheel. Lives in its owner: arming never allocates.
// Belongs to the thread of its loop.
class Timer : private ListNode {
 public:
  // The timer that calls (owner.*kMethod)(). Borrowed: `owner`, as long as the timer is armed.
  // Use: Timer idle_ = Timer::Calling<&Connection::OnIdle>(*this);
  template <auto kMethod, typename Owner>
  static Timer Calling(Owner& owner) noexcept {
    return Timer([](void* self) { (static_cast<Owner*>(self)->*kMethod)(); }, &owner);
  }
  // The timer that calls function(argument).
  Timer(void (*function)(void*), void* argument) noexcept
      : function_(function), argument_(argument) {}

  bool armed() const noexcept { return linked(); }
  // Does nothing if not armed. O(1). [hot, serial]
  void Cancel() noexcept { Unlink(); }

 private:
  friend class TimerWheel;
  friend class IntrusiveList<Timer>;
  void (*function_)(void*);
  void* argument_;
  uint64_t deadline_tick_ = 0;
  uint64_t placed_tick_ = 0;  // when the wheel looks at it next; never after deadline_tick_
};

// Three wheels of 256 slots with steps of 1 ms, 256 ms and 65.5 s. Arm and Cancel are O(1); a timer
// moves at most twice on its way, and one whose deadline only moves later is not touched until its
// old deadline passes, which makes idle time-outs that every read pushes back nearly free.
// One thread at a time.
class TimerWheel {
 public:
  explicit TimerWheel(int64_t now_ns) noexcept;

  // (Re)arms `timer` to fire at the first tick that is not before `deadline_ns`, and never within
  // the current Advance(). Timers beyond 2^24 ms are looked at on the way and fire on time too.
  // [hot, serial]
  void Arm(Timer& timer, int64_t deadline_ns) noexcept;

  // Fires every timer that is due at `now_ns`, in order of their ticks (the order within one tick
  // is unspecified), and returns how many. Callbacks may arm, cancel and destroy timers. [serial]
  uint32_t Advance(int64_t now_ns) noexcept;

  // Nanoseconds from `now_ns` until Advance() has something to do, 0 if it has now, -1 if no timer
  // is armed. May be early, never late. [serial]
  int64_t NextDelay(int64_t now_ns) noexcept;

 private:
  static constexpr uint32_t kSlotBits = 8;
  static constexpr uint32_t kSlots = 1u << kSlotBits;
  static constexpr uint32_t kLevels = 3;
  static constexpr uint64_t kSpanTicks = 1ull << (kSlotBits * kLevels);
  static constexpr uint64_t kNever = ~0ull;

  struct Level {
    std::array<IntrusiveList<Timer>, kSlots> slots;
    std::array<uint64_t, kSlots / 64> used = {};  // a set bit may be stale, a clear one never is
  };

  void Place(Timer& timer) noexcept;
  uint64_t NextTick() noexcept;
  // Smallest d in 1..kSlots for which slot (from + d) of the level holds a timer, or 0.
  uint32_t NextUsed(Level& level, uint64_t from) noexcept;
  void Cascade(uint32_t level) noexcept;
  uint32_t FireSlot() noexcept;

  std::array<Level, kLevels> levels_;
  uint64_t tick_;  // the last one processed
};

}  // namespace weir::io
