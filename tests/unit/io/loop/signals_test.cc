#include "weir/io/loop/signals.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <vector>

#include "loop_testing.h"

namespace weir::io {
namespace {

TEST(SignalWatcher, TurnsSignalsIntoCallsOnTheLoop) {
  auto loop = EventLoop::Create().value();
  std::vector<int> seen;
  auto watcher = SignalWatcher::Open(*loop, {SIGUSR1, SIGUSR2}, [&](int signal) {
                   seen.push_back(signal);
                 }).value();
  ASSERT_EQ(::pthread_kill(::pthread_self(), SIGUSR1), 0);
  ASSERT_EQ(::pthread_kill(::pthread_self(), SIGUSR2), 0);
  EXPECT_TRUE(RunUntil(*loop, [&] { return seen.size() == 2; }));
  EXPECT_EQ(seen, (std::vector<int>{SIGUSR1, SIGUSR2}));
}

}  // namespace
}  // namespace weir::io
