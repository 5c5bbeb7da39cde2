#include "load/dispatcher.h"

#include <gtest/gtest.h>

#include <deque>
#include <queue>

namespace weir::load {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kS = 1000 * kMs;

// Runs a dispatcher against a server that answers each request after a fixed time.
struct Played {
  std::vector<Launch> launches;
  std::vector<int64_t> sent_ns;
  uint32_t in_flight_max = 0;
  uint64_t unsent = 0;
};

Played Play(const DispatchPlan& plan, int64_t answer_ns, uint32_t in_flight_stop = 1'000'000) {
  const auto source = CreateFixedSource(Api::kChat, 10, 1);
  Dispatcher dispatcher(plan, *source);
  Played played;
  std::deque<std::pair<int64_t, Launch>> flying;
  int64_t now_ns = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    Launch launch;
    const Step step = dispatcher.Next(now_ns, &launch);
    if (step.kind == Step::Kind::kSend) {
      played.launches.push_back(launch);
      played.sent_ns.push_back(now_ns);
      flying.emplace_back(now_ns + answer_ns, launch);
      played.in_flight_max = std::max(played.in_flight_max, dispatcher.in_flight());
      EXPECT_LE(dispatcher.in_flight(), in_flight_stop);
      continue;
    }
    if (step.kind == Step::Kind::kDone) break;
    int64_t next_ns = step.kind == Step::Kind::kWaitUntil ? step.until_ns : INT64_MAX;
    EXPECT_GT(next_ns, now_ns);
    if (!flying.empty() && flying.front().first <= next_ns) {
      now_ns = std::max(now_ns, flying.front().first);
      dispatcher.Finish(flying.front().second, "a", now_ns);
      flying.pop_front();
    } else {
      EXPECT_NE(next_ns, INT64_MAX);
      if (next_ns == INT64_MAX) break;
      now_ns = next_ns;
    }
  }
  played.unsent = dispatcher.unsent();
  return played;
}

TEST(Dispatcher, ClosedLoopKeepsItsConcurrency) {
  const Played played = Play({.concurrency = 4, .requests_max = 40}, 10 * kMs, 4);
  EXPECT_EQ(played.launches.size(), 40u);
  EXPECT_EQ(played.in_flight_max, 4u);
  EXPECT_EQ(played.sent_ns.back(), 90 * kMs);
}

TEST(Dispatcher, ClosedLoopRampsUp) {
  const Played played = Play({.concurrency = 100, .ramp_ns = kS, .requests_max = 100}, 100 * kS);
  ASSERT_EQ(played.launches.size(), 100u);
  EXPECT_EQ(played.sent_ns.front(), 0);
  EXPECT_NEAR(static_cast<double>(played.sent_ns[50]), 0.5 * kS, 0.02 * kS);
  EXPECT_LE(played.sent_ns.back(), kS);
}

TEST(Dispatcher, FixedRateIgnoresSlowAnswers) {
  const Played played = Play(
      {.arrival = Arrival::kFixed, .rate_per_s = 100, .phase_ns = 3, .duration_ns = kS}, 5 * kS);
  ASSERT_EQ(played.launches.size(), 100u);
  for (size_t i = 0; i < played.launches.size(); ++i) {
    EXPECT_EQ(played.launches[i].due_ns, static_cast<int64_t>(i) * 10 * kMs + 3);
    EXPECT_EQ(played.sent_ns[i], played.launches[i].due_ns);
  }
}

TEST(Dispatcher, PoissonKeepsItsRateAndSeed) {
  DispatchPlan plan{.arrival = Arrival::kPoisson, .rate_per_s = 1000, .requests_max = 20'000};
  const Played played = Play(plan, kMs);
  const double mean_ns = static_cast<double>(played.launches.back().due_ns) / 20'000;
  EXPECT_NEAR(mean_ns, 1e6, 3e4);
  double squares = 0;
  for (size_t i = 1; i < played.launches.size(); ++i) {
    const double gap =
        static_cast<double>(played.launches[i].due_ns - played.launches[i - 1].due_ns) - mean_ns;
    squares += gap * gap;
  }
  EXPECT_NEAR(std::sqrt(squares / 20'000) / mean_ns, 1.0, 0.05);
  EXPECT_EQ(Play(plan, kMs).launches.back().due_ns, played.launches.back().due_ns);
  plan.seed = 2;
  EXPECT_NE(Play(plan, kMs).launches.back().due_ns, played.launches.back().due_ns);
}

TEST(Dispatcher, ABlockedOpenLoopKeepsTheTimesThatWereDue) {
  // One in flight, 50 ms each, 100 arrivals a second: the tenth is sent 400 ms late and says so.
  const Played played =
      Play({.arrival = Arrival::kFixed, .rate_per_s = 100, .in_flight_max = 1, .requests_max = 11},
           50 * kMs);
  ASSERT_EQ(played.launches.size(), 11u);
  EXPECT_EQ(played.launches[10].due_ns, 100 * kMs);
  EXPECT_EQ(played.sent_ns[10], 500 * kMs);
}

// Two conversations of two turns. The user thinks for a second before the second turn, the answer
// takes 100 ms, and ten requests a second arrive.
TEST(Dispatcher, ATurnIsNotDueBeforeItsUserAsks) {
  ConversationPlan conversations;
  conversations.conversations = 2;
  conversations.turns = Distribution::Fixed(2);
  conversations.think_ms = Distribution::Fixed(1000);
  const auto source = CreateConversationSource(conversations, {});
  Dispatcher dispatcher({.arrival = Arrival::kFixed, .rate_per_s = 10, .requests_max = 4}, *source);
  std::vector<Launch> launches;
  std::deque<std::pair<int64_t, Launch>> flying;
  for (int64_t now_ns = 0; now_ns < 3 * kS; now_ns += kMs) {
    for (; !flying.empty() && flying.front().first <= now_ns; flying.pop_front()) {
      dispatcher.Finish(flying.front().second, "a", now_ns);
    }
    Launch launch;
    while (dispatcher.Next(now_ns, &launch).kind == Step::Kind::kSend) {
      launches.push_back(launch);
      flying.emplace_back(now_ns + 100 * kMs, launch);
    }
  }
  ASSERT_EQ(launches.size(), 4u);
  EXPECT_EQ(launches[0].due_ns, 0);
  EXPECT_EQ(launches[1].due_ns, 100 * kMs);
  EXPECT_EQ(launches[2].due_ns, 1100 * kMs) << "not 200 ms, when it arrived";
  EXPECT_EQ(launches[3].due_ns, 1200 * kMs);
  EXPECT_EQ(dispatcher.waited_for_turn(), 2u);
}

TEST(Dispatcher, CountsArrivalsThatWereNeverSent) {
  const Played played =
      Play({.arrival = Arrival::kFixed, .rate_per_s = 100, .in_flight_max = 1, .duration_ns = kS},
           500 * kMs);
  EXPECT_EQ(played.launches.size() + played.unsent, 100u);
  EXPECT_EQ(played.launches.size(), 4u);  // sent at 0, 0.5, 1.0 and 1.5 s
}

TEST(Dispatcher, RecordedTimesAreKept) {
  const Played played =
      Play({.arrival = Arrival::kRecorded, .due_ns = {0, 0, 7 * kMs, 9 * kMs}}, kMs);
  ASSERT_EQ(played.launches.size(), 4u);
  EXPECT_EQ(played.sent_ns[1], 0);
  EXPECT_EQ(played.sent_ns[3], 9 * kMs);
  EXPECT_EQ(Play({.arrival = Arrival::kRecorded}, kMs).launches.size(), 0u);
}

TEST(Dispatcher, WarmUpIsNotMeasured) {
  const Played by_time = Play(
      {.arrival = Arrival::kFixed, .rate_per_s = 10, .duration_ns = kS, .warmup_ns = 300 * kMs},
      kMs);
  ASSERT_EQ(by_time.launches.size(), 10u);
  for (const Launch& launch : by_time.launches) {
    EXPECT_EQ(launch.measured, launch.due_ns >= 300 * kMs);
  }
  const Played by_count = Play({.concurrency = 1, .requests_max = 10, .warmup_requests = 4}, kMs);
  EXPECT_FALSE(by_count.launches[3].measured);
  EXPECT_TRUE(by_count.launches[4].measured);
}

TEST(Dispatcher, ClosedLoopStopsAfterItsDuration) {
  const Played played = Play({.concurrency = 2, .duration_ns = kS}, 100 * kMs);
  EXPECT_EQ(played.launches.size(), 20u);
}

TEST(Dispatcher, SharesAddUpToTheWhole) {
  const DispatchPlan plan{.rate_per_s = 100,
                          .concurrency = 10,
                          .due_ns = {0, 1, 2, 3, 4},
                          .in_flight_max = 7,
                          .requests_max = 11,
                          .warmup_requests = 5};
  uint32_t concurrency = 0, in_flight_max = 0;
  uint64_t requests = 0, warmup = 0;
  size_t due = 0;
  double rate = 0;
  for (uint32_t i = 0; i < 3; ++i) {
    const DispatchPlan share = ShareOf(plan, {i, 3});
    concurrency += share.concurrency;
    in_flight_max += share.in_flight_max;
    requests += share.requests_max;
    warmup += share.warmup_requests;
    rate += share.rate_per_s;
    due += share.due_ns.size();
    EXPECT_EQ(share.phase_ns, i * 10 * kMs);
    EXPECT_EQ(share.due_ns[0], static_cast<int64_t>(i));
  }
  EXPECT_EQ(concurrency, 10u);
  EXPECT_EQ(in_flight_max, 7u);
  EXPECT_EQ(requests, 11u);
  EXPECT_EQ(warmup, 5u);
  EXPECT_EQ(due, 5u);
  EXPECT_DOUBLE_EQ(rate, 100);
  // A share of 0 would mean "no limit", so there are never more shards than pieces.
  EXPECT_EQ(MaxShards({.concurrency = 10, .requests_max = 3}), 3u);
  EXPECT_EQ(MaxShards({.concurrency = 2}), 2u);
  EXPECT_EQ(MaxShards({.arrival = Arrival::kFixed, .in_flight_max = 5}), 5u);
}

}  // namespace
}  // namespace weir::load
