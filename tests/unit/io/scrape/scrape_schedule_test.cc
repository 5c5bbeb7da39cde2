#include "weir/io/scrape/scrape_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <vector>

namespace weir::io {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kStart = 12'345'678'901;  // no multiple of anything

class ScrapeScheduleTest : public testing::Test {
 protected:
  // Serves everything that is due until `end_ns`; returns the times of each slot.
  std::map<uint32_t, std::vector<int64_t>> Serve(ScrapeSchedule& schedule, int64_t end_ns, bool ok,
                                                 int64_t takes_ns) {
    std::map<uint32_t, std::vector<int64_t>> times;
    while (schedule.NextDueNs() <= end_ns) {
      const int64_t now_ns = schedule.NextDueNs();
      std::array<uint32_t, 256> due;
      const uint32_t count = schedule.TakeDue(now_ns, due);
      for (uint32_t i = 0; i < count; ++i) {
        times[due[i]].push_back(now_ns);
        schedule.Done(due[i], ok, now_ns + takes_ns);
      }
    }
    return times;
  }
};

TEST_F(ScrapeScheduleTest, EveryEndpointOncePerInterval) {
  ScrapeSchedule schedule(50 * kMs, 1);
  for (int i = 0; i < 100; ++i) schedule.Add(kStart);
  const auto times = Serve(schedule, kStart + 1000 * kMs, true, 2 * kMs);
  ASSERT_EQ(times.size(), 100u);
  for (const auto& [slot, list] : times) {
    EXPECT_LE(list[0], kStart + 50 * kMs);
    EXPECT_EQ(list.size(), 20u);
    for (size_t i = 1; i < list.size(); ++i) EXPECT_EQ(list[i] - list[i - 1], 50 * kMs);
  }
}

TEST_F(ScrapeScheduleTest, ScrapesSpreadOverTheIntervalInSteps) {
  ScrapeSchedule schedule(50 * kMs, 1);
  EXPECT_EQ(schedule.step_ns(), 5 * kMs);
  for (int i = 0; i < 100; ++i) schedule.Add(kStart);
  std::map<int64_t, int> bunches;
  for (const auto& [slot, list] : Serve(schedule, kStart + 50 * kMs, true, kMs)) ++bunches[list[0]];
  EXPECT_EQ(bunches.size(), 10u);  // ten wake-ups instead of a hundred
  for (const auto& [time, count] : bunches) EXPECT_NEAR(count, 10, 3);
}

TEST_F(ScrapeScheduleTest, ASlowScrapeSkipsTurnsInsteadOfPilingUp) {
  ScrapeSchedule schedule(50 * kMs, 1);
  const uint32_t slot = schedule.Add(kStart);
  const auto times = Serve(schedule, kStart + 1000 * kMs, true, 120 * kMs);
  for (size_t i = 1; i < times.at(slot).size(); ++i) {
    EXPECT_EQ(times.at(slot)[i] - times.at(slot)[i - 1], 150 * kMs);
  }
}

TEST_F(ScrapeScheduleTest, AnEndpointIsNotDueWhileItsScrapeIsOut) {
  ScrapeSchedule schedule(50 * kMs, 1);
  schedule.Add(kStart);
  std::array<uint32_t, 4> due;
  ASSERT_EQ(schedule.TakeDue(kStart + 50 * kMs, due), 1u);
  EXPECT_EQ(schedule.TakeDue(kStart + 5000 * kMs, due), 0u);
  EXPECT_EQ(schedule.NextDueNs(), ScrapeSchedule::kNever);
}

TEST_F(ScrapeScheduleTest, FailuresBackOffToTwoSecondsWithJitter) {
  ScrapeSchedule schedule(50 * kMs, 7);
  const uint32_t slot = schedule.Add(kStart);
  const auto times = Serve(schedule, kStart + 60'000 * kMs, false, 0).at(slot);
  int64_t nominal = 50 * kMs;
  for (size_t i = 1; i < times.size(); ++i) {
    nominal = std::min<int64_t>(nominal * 2, 2000 * kMs);
    EXPECT_GE(times[i] - times[i - 1], nominal / 2);
    EXPECT_LE(times[i] - times[i - 1], nominal);
  }
  EXPECT_NE(times[10] - times[9], times[11] - times[10]);
  EXPECT_EQ(schedule.failures(slot), times.size());

  std::array<uint32_t, 1> due;
  const int64_t now_ns = schedule.NextDueNs();
  ASSERT_EQ(schedule.TakeDue(now_ns, due), 1u);
  schedule.Done(slot, true, now_ns);
  EXPECT_EQ(schedule.failures(slot), 0u);
  EXPECT_LE(schedule.NextDueNs(), now_ns + 50 * kMs);
}

TEST_F(ScrapeScheduleTest, EqualSeedsGiveEqualTimes) {
  ScrapeSchedule a(50 * kMs, 7);
  ScrapeSchedule b(50 * kMs, 7);
  ScrapeSchedule c(50 * kMs, 8);
  for (ScrapeSchedule* schedule : {&a, &b, &c}) schedule->Add(kStart);
  const auto times = Serve(a, kStart + 9000 * kMs, false, 0);
  EXPECT_EQ(times, Serve(b, kStart + 9000 * kMs, false, 0));
  EXPECT_NE(times, Serve(c, kStart + 9000 * kMs, false, 0));
}

TEST_F(ScrapeScheduleTest, RemovedSlotsAreUsedAgain) {
  ScrapeSchedule schedule(50 * kMs, 1);
  const uint32_t first = schedule.Add(kStart);
  const uint32_t second = schedule.Add(kStart);
  schedule.Remove(first);
  std::array<uint32_t, 4> due;
  ASSERT_EQ(schedule.TakeDue(kStart + 50 * kMs, due), 1u);
  EXPECT_EQ(due[0], second);
  EXPECT_EQ(schedule.Add(kStart), first);
}

TEST_F(ScrapeScheduleTest, LimitsOfTheInterval) {
  EXPECT_EQ(ScrapeSchedule(1, 1).interval_ns(), kScrapeIntervalNsMin);
  EXPECT_EQ(ScrapeSchedule(10 * kMs, 1).step_ns(), kMs);
  ScrapeSchedule slow(10'000 * kMs, 1);  // longer than the longest back-off
  slow.Add(kStart);
  const auto times = Serve(slow, kStart + 100'000 * kMs, false, 0).at(0);
  for (size_t i = 1; i < times.size(); ++i) {
    EXPECT_GE(times[i] - times[i - 1], 5'000 * kMs);
    EXPECT_LE(times[i] - times[i - 1], 10'000 * kMs);
  }
}

}  // namespace
}  // namespace weir::io
