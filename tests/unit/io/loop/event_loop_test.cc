#include "weir/io/loop/event_loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "loop_testing.h"

namespace weir::io {
namespace {

struct Recorder : EventHandler {
  void OnReady(Ready ready) override {
    seen |= ready;
    ++calls;
    if (then) then();
  }
  Ready seen = 0;
  int calls = 0;
  std::function<void()> then;
};

std::unique_ptr<EventLoop> MakeLoop(const Clock& clock = SystemClock(),
                                    const EventLoopOptions& options = {}) {
  return EventLoop::Create(clock, options).value();
}

TEST(EventLoop, ReportsEachChangeOnce) {
  auto loop = MakeLoop();
  FdPair pair = MakePair();
  Recorder recorder;
  ASSERT_EQ(loop->Watch(pair.first.get(), recorder), Code::kOk);
  loop->RunOnce(0);
  EXPECT_EQ(recorder.seen, kWritable);
  recorder.seen = 0;
  EXPECT_EQ(loop->RunOnce(0), 0u);
  ASSERT_EQ(::send(pair.second.get(), "x", 1, 0), 1);
  loop->RunOnce(kTestDeadlineNs);
  EXPECT_TRUE(recorder.seen & kReadable);
  EXPECT_EQ(loop->RunOnce(0), 0u) << "an unread byte is not reported again";
  pair.second.Reset();
  loop->RunOnce(kTestDeadlineNs);
  EXPECT_TRUE(recorder.seen & kPeerClosed);
  loop->Unwatch(pair.first.get(), recorder);
}

TEST(EventLoop, LevelWatchReportsAgain) {
  auto loop = MakeLoop();
  FdPair pair = MakePair();
  Recorder recorder;
  ASSERT_EQ(loop->WatchReadable(pair.first.get(), recorder), Code::kOk);
  EXPECT_EQ(loop->RunOnce(0), 0u);
  ASSERT_EQ(::send(pair.second.get(), "x", 1, 0), 1);
  loop->RunOnce(kTestDeadlineNs);
  loop->RunOnce(kTestDeadlineNs);
  EXPECT_EQ(recorder.calls, 2);
  loop->Unwatch(pair.first.get(), recorder);
}

TEST(EventLoop, WatchingABadDescriptorIsAnError) {
  auto loop = MakeLoop();
  Recorder recorder;
  EXPECT_EQ(loop->Watch(-1, recorder), Code::kResourceExhausted);
}

// Both handlers have an event in the same turn; whoever comes first removes and destroys the other.
TEST(EventLoop, UnwatchDropsEventsOfTheCurrentTurn) {
  auto loop = MakeLoop();
  FdPair pair = MakePair();
  auto one = std::make_unique<Recorder>();
  auto two = std::make_unique<Recorder>();
  int calls = 0;
  one->then = [&] {
    ++calls;
    loop->Unwatch(pair.second.get(), *two);
    two.reset();
  };
  two->then = [&] {
    ++calls;
    loop->Unwatch(pair.first.get(), *one);
    one.reset();
  };
  ASSERT_EQ(loop->Watch(pair.first.get(), *one), Code::kOk);
  ASSERT_EQ(loop->Watch(pair.second.get(), *two), Code::kOk);
  EXPECT_EQ(loop->RunOnce(kTestDeadlineNs), 1u);
  EXPECT_EQ(calls, 1);
}

struct Buried : Retirable {
  explicit Buried(std::function<void()> on_end) : on_end(std::move(on_end)) {}
  ~Buried() override { on_end(); }
  std::function<void()> on_end;
};

TEST(EventLoop, RetiredObjectsLiveUntilTheTurnEnds) {
  auto loop = MakeLoop();
  int destroyed = 0;
  int destroyed_during_turn = -1;
  ASSERT_EQ(loop->PostCall([&] {
    loop->Retire(std::make_unique<Buried>([&] {
      ++destroyed;
      loop->Retire(std::make_unique<Buried>([&] { ++destroyed; }));
    }));
  }),
            Code::kOk);
  ASSERT_EQ(loop->PostCall([&] { destroyed_during_turn = destroyed; }), Code::kOk);
  loop->RunOnce(kTestDeadlineNs);
  EXPECT_EQ(destroyed_during_turn, 0);
  EXPECT_EQ(destroyed, 2);
}

TEST(EventLoop, RetiredObjectsGoWithTheLoop) {
  int destroyed = 0;
  {
    auto loop = MakeLoop();
    loop->Retire(std::make_unique<Buried>([&] { ++destroyed; }));
  }
  EXPECT_EQ(destroyed, 1);
}

TEST(EventLoop, TimersFollowTheInjectedClock) {
  ManualClock clock(5'000 * kTickNs);
  auto loop = MakeLoop(clock);
  int fired = 0;
  Timer timer([](void* count) { ++*static_cast<int*>(count); }, &fired);
  clock.Advance(1'000 * kTickNs);
  loop->Arm(timer, 100 * kTickNs);
  clock.Advance(99 * kTickNs);
  loop->RunOnce(0);
  EXPECT_EQ(fired, 0) << "the delay counts from the clock, not from the last turn";
  clock.Advance(1 * kTickNs);
  loop->RunOnce(0);
  EXPECT_EQ(fired, 1);
}

TEST(EventLoop, WakesUpForATimer) {
  auto loop = MakeLoop();
  int fired = 0;
  Timer timer([](void* count) { ++*static_cast<int*>(count); }, &fired);
  loop->Arm(timer, 3 * kTickNs);
  EXPECT_TRUE(RunUntil(*loop, [&] { return fired == 1; }));
}

TEST(EventLoop, PostKeepsOrderAndRefusesBeyondItsLimit) {
  auto loop = MakeLoop(SystemClock(), {.posted_tasks_max = 3});
  std::vector<int> ran;
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(loop->PostCall([&ran, i] { ran.push_back(i); }), Code::kOk);
  }
  EXPECT_EQ(loop->PostCall([&] { ran.push_back(99); }), Code::kResourceExhausted);
  EXPECT_EQ(loop->RunOnce(kTestDeadlineNs), 3u);
  EXPECT_EQ(ran, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(loop->PostCall([&] { ran.push_back(3); }), Code::kOk);
  loop->RunOnce(kTestDeadlineNs);
  EXPECT_EQ(ran.back(), 3);
}

TEST(EventLoop, ATaskPostedByATaskRunsInTheNextTurn) {
  auto loop = MakeLoop();
  int ran = 0;
  std::function<void()> again = [&] {
    if (++ran == 3) return;
    EXPECT_EQ(loop->PostCall(again), Code::kOk);
  };
  ASSERT_EQ(loop->PostCall(again), Code::kOk);
  EXPECT_EQ(loop->RunOnce(kTestDeadlineNs), 1u);
  EXPECT_EQ(loop->RunOnce(kTestDeadlineNs), 1u);
  EXPECT_EQ(loop->RunOnce(kTestDeadlineNs), 1u);
  EXPECT_EQ(ran, 3);
}

TEST(EventLoop, TasksThatNeverRanAreDestroyed) {
  auto held = std::make_shared<int>(1);
  {
    auto loop = MakeLoop();
    for (int i = 0; i < 60'000; ++i) ASSERT_EQ(loop->PostCall([held] {}), Code::kOk);
  }
  EXPECT_EQ(held.use_count(), 1);
}

TEST(EventLoop, ManyThreadsPostAndStop) {
  constexpr int kThreads = 4;
  constexpr int kTasks = 2'000;
  auto loop = MakeLoop();
  int ran = 0;  // only touched by tasks, so by one thread
  std::atomic<int> left = kThreads;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int task = 0; task < kTasks; ++task) {
        while (loop->PostCall([&ran] { ++ran; }) != Code::kOk) std::this_thread::yield();
      }
      if (left.fetch_sub(1) == 1) loop->Stop();
    });
  }
  loop->Run();
  for (std::thread& thread : threads) thread.join();
  while (loop->RunOnce(0) != 0) {
  }
  EXPECT_EQ(ran, kThreads * kTasks);
}

TEST(EventLoop, StopBeforeRunEndsItAfterOneTurn) {
  auto loop = MakeLoop();
  loop->Stop();
  loop->Run();
  int ran = 0;
  ASSERT_EQ(loop->PostCall([&] {
    ++ran;
    loop->Stop();
  }),
            Code::kOk);
  loop->Run();
  EXPECT_EQ(ran, 1);
}

}  // namespace
}  // namespace weir::io
