#include "weir/io/loop/timer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <vector>

#include "weir/random.h"

namespace weir::io {
namespace {

constexpr int64_t kMs = kTickNs;

struct Probe {
  explicit Probe(std::vector<int>* log = nullptr, int name = 0) : log(log), name(name) {}
  void OnTime() {
    ++fired;
    if (log != nullptr) log->push_back(name);
  }
  std::vector<int>* log;
  int name;
  int fired = 0;
  Timer timer = Timer::Calling<&Probe::OnTime>(*this);
};

TEST(TimerWheel, FiresNeverEarlyAndAtTheFirstTickAfter) {
  TimerWheel wheel(7 * kMs + 300'000);
  Probe probe;
  wheel.Arm(probe.timer, 10 * kMs + 1);
  EXPECT_TRUE(probe.timer.armed());
  wheel.Advance(11 * kMs - 1);
  EXPECT_EQ(probe.fired, 0);
  EXPECT_EQ(wheel.Advance(11 * kMs), 1u);
  EXPECT_EQ(probe.fired, 1);
  EXPECT_FALSE(probe.timer.armed());
  EXPECT_EQ(wheel.Advance(90'000 * kMs), 0u);
}

TEST(TimerWheel, FiresInOrderOfTicksAcrossAllWheels) {
  TimerWheel wheel(0);
  std::vector<int> log;
  const std::vector<int64_t> delays_ms = {
      1,      2,      255,     256,   257,    511,       512,           65'535,  65'536,
      65'537, 70'000, 131'072, 5'000, 16'777, 1'000'000, (1 << 24) - 1, 1 << 24, 40'000'000};
  std::deque<Probe> probes;
  for (const int64_t delay_ms : delays_ms) {
    probes.emplace_back(&log, static_cast<int>(delay_ms));
    wheel.Arm(probes.back().timer, delay_ms * kMs);
  }
  wheel.Advance(50'000'000 * kMs);
  ASSERT_EQ(log.size(), delays_ms.size());
  EXPECT_TRUE(std::is_sorted(log.begin(), log.end()));
}

TEST(TimerWheel, EachTimerFiresAtItsOwnTickWhateverTheStep) {
  for (const int64_t step_ms : {1, 7, 256, 300, 65'536, 100'000}) {
    TimerWheel wheel(123 * kMs);
    Random random(42);
    struct Timed {
      Timed(int64_t deadline_ms, const int64_t* now_ms, int64_t step_ms)
          : deadline_ms(deadline_ms), now_ms(now_ms), step_ms(step_ms) {}
      int64_t deadline_ms;
      const int64_t* now_ms;
      int64_t step_ms;
      bool fired = false;
      Timer timer = Timer::Calling<&Timed::OnTime>(*this);
      void OnTime() {
        fired = true;
        EXPECT_GE(*now_ms, deadline_ms);
        EXPECT_LT(*now_ms - step_ms, deadline_ms);
      }
    };
    int64_t now_ms = 123;
    std::deque<Timed> all;
    for (int i = 0; i < 500; ++i) {
      const int64_t deadline_ms = 124 + random.NextBelow(i % 2 == 0 ? 600 : 200'000);
      all.emplace_back(deadline_ms, &now_ms, step_ms);
      wheel.Arm(all.back().timer, deadline_ms * kMs);
    }
    while (now_ms < 300'000) {
      now_ms += step_ms;
      wheel.Advance(now_ms * kMs);
    }
    for (const Timed& one : all) EXPECT_TRUE(one.fired) << one.deadline_ms;
  }
}

TEST(TimerWheel, CancelledAndDestroyedTimersStaySilent) {
  TimerWheel wheel(0);
  Probe cancelled;
  auto destroyed = std::make_unique<Probe>();
  wheel.Arm(cancelled.timer, 5 * kMs);
  wheel.Arm(destroyed->timer, 5 * kMs);
  cancelled.timer.Cancel();
  cancelled.timer.Cancel();
  destroyed.reset();
  EXPECT_EQ(wheel.Advance(100 * kMs), 0u);
  EXPECT_EQ(wheel.NextDelay(100 * kMs), -1);
}

TEST(TimerWheel, RearmingMovesTheDeadlineBothWays) {
  TimerWheel wheel(0);
  Probe later, sooner;
  wheel.Arm(later.timer, 10 * kMs);
  wheel.Arm(later.timer, 400 * kMs);
  wheel.Arm(sooner.timer, 400 * kMs);
  wheel.Arm(sooner.timer, 10 * kMs);
  wheel.Advance(10 * kMs);
  EXPECT_EQ(later.fired, 0);
  EXPECT_EQ(sooner.fired, 1);
  wheel.Advance(399 * kMs);
  EXPECT_EQ(later.fired, 0);
  wheel.Advance(400 * kMs);
  EXPECT_EQ(later.fired, 1);
}

TEST(TimerWheel, CallbacksMayRearmCancelAndDestroy) {
  struct Actor {
    TimerWheel* wheel = nullptr;
    Timer* victim = nullptr;
    std::unique_ptr<Probe> doomed = std::make_unique<Probe>();
    int fired = 0;
    Timer timer = Timer::Calling<&Actor::OnTime>(*this);
    void OnTime() {
      ++fired;
      victim->Cancel();
      doomed.reset();
      wheel->Arm(timer, 0);  // the past: at the next tick, not in this one
    }
  };
  TimerWheel wheel(0);
  Probe victim;
  Actor actor;
  actor.wheel = &wheel;
  actor.victim = &victim.timer;
  wheel.Arm(actor.timer, 5 * kMs);
  wheel.Arm(victim.timer, 5 * kMs);
  wheel.Arm(actor.doomed->timer, 5 * kMs);
  EXPECT_EQ(wheel.Advance(5 * kMs), 1u);
  EXPECT_EQ(wheel.Advance(6 * kMs), 1u);
  EXPECT_EQ(actor.fired, 2);
  EXPECT_EQ(victim.fired, 0);
}

TEST(TimerWheel, TellsHowLongToWait) {
  TimerWheel wheel(0);
  EXPECT_EQ(wheel.NextDelay(0), -1);
  Probe near, far;
  wheel.Arm(far.timer, 100'000 * kMs);
  const int64_t to_far = wheel.NextDelay(0);
  EXPECT_GT(to_far, 60'000 * kMs);
  EXPECT_LE(to_far, 100'000 * kMs);
  wheel.Arm(near.timer, 42 * kMs);
  EXPECT_EQ(wheel.NextDelay(1), 42 * kMs - 1);
  EXPECT_EQ(wheel.NextDelay(50 * kMs), 0);
}

TEST(TimerWheel, PushingAnIdleTimeOutBackCausesNoEarlyWakeUpsForever) {
  TimerWheel wheel(0);
  Probe idle;
  int64_t now_ms = 0;
  for (; now_ms < 10'000; now_ms += 100) {
    wheel.Arm(idle.timer, (now_ms + 30'000) * kMs);
    wheel.Advance(now_ms * kMs);
  }
  uint32_t wakes = 0;
  for (int64_t now_ns = now_ms * kMs; idle.fired == 0 && wakes < 100; ++wakes) {
    now_ns += std::max<int64_t>(wheel.NextDelay(now_ns), 0);
    wheel.Advance(now_ns);
  }
  EXPECT_EQ(idle.fired, 1);
  EXPECT_LE(wakes, 4u);
}

}  // namespace
}  // namespace weir::io
