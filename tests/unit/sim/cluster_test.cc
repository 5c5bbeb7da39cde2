#include "weir/sim/cluster.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "sim_testing.h"

namespace weir::sim {
namespace {

// Sends each request to the engine whose last sample shows the fewest requests, adding what it sent
// since that sample if `counts_own` is set.
class LeastLoaded final : public ClusterObserver {
 public:
  LeastLoaded(uint32_t engines, bool counts_own)
      : sampled(engines), own(engines), counts_own(counts_own) {}
  void OnScrape(uint32_t engine, const EngineStats& stats, int64_t sampled_ns) override {
    EXPECT_GE(sampled_ns, last_sampled_ns);
    last_sampled_ns = sampled_ns;
    sampled[engine] = stats.running_requests + stats.waiting_requests;
    own[engine] = 0;
    ++scrapes;
  }
  void OnFinished(uint32_t engine, const FinishReport&) override { ++finished[engine]; }

  uint32_t Pick() const {
    uint32_t best = 0;
    for (uint32_t i = 1; i < sampled.size(); ++i) {
      if (sampled[i] + own[i] < sampled[best] + own[best]) best = i;
    }
    return best;
  }

  std::vector<uint32_t> sampled, own;
  std::map<uint32_t, uint32_t> finished;
  int64_t last_sampled_ns = 0;
  uint64_t scrapes = 0;
  bool counts_own;
};

uint32_t LargestShareOfABurst(bool counts_own) {
  ClusterOptions options{.engine = PlainOptions(), .engine_count = 10};
  options.scrape_delay_ns = 5'000'000;
  LeastLoaded router(options.engine_count, counts_own);
  const auto cluster = *Cluster::Create(options, router);
  for (RequestId id = 1; id <= 100; ++id) {
    cluster->AdvanceTo(static_cast<int64_t>(id) * 100'000);  // a burst within 10 ms
    const uint32_t engine = router.Pick();
    if (counts_own) ++router.own[engine];
    EXPECT_TRUE(cluster->Submit(engine, SpecOf(id, 100, 20)).ok());
  }
  while (!cluster->idle()) cluster->AdvanceTo(cluster->NextEventTime());
  uint32_t largest = 0;
  for (const auto& [engine, count] : router.finished) largest = std::max(largest, count);
  return largest;
}

TEST(Cluster, ABurstBetweenScrapesHerdsUnlessTheRouterCountsWhatItSent) {
  EXPECT_GT(LargestShareOfABurst(false), 50u);
  EXPECT_LE(LargestShareOfABurst(true), 15u);
}

TEST(Cluster, ScrapesComeAtTheirIntervalSpreadOverEngines) {
  ClusterOptions options{.engine = PlainOptions(), .engine_count = 4};
  options.scrape_interval_ns = 40'000'000;
  options.scrape_delay_ns = 3'000'000;
  LeastLoaded router(4, false);
  const auto cluster = *Cluster::Create(options, router);
  EXPECT_EQ(cluster->NextEventTime(), 0);
  cluster->AdvanceTo(2'999'999);
  EXPECT_EQ(router.scrapes, 0u);
  cluster->AdvanceTo(3'000'000);
  EXPECT_EQ(router.scrapes, 1u);
  cluster->AdvanceTo(43'000'000);
  EXPECT_EQ(router.scrapes, 5u);
  EXPECT_EQ(router.last_sampled_ns, 40'000'000);
}

TEST(Cluster, RefusesWhatItCannotBuildOrReach) {
  LeastLoaded router(1, false);
  EXPECT_FALSE(Cluster::Create({.engine = PlainOptions(), .engine_count = 0}, router).ok());
  EXPECT_FALSE(
      Cluster::Create({.engine = PlainOptions(), .engine_count = kEnginesMax + 1}, router).ok());
  EXPECT_FALSE(Cluster::Create({.engine = PlainOptions(), .scrape_interval_ns = 0}, router).ok());
  const auto cluster = *Cluster::Create({.engine = PlainOptions()}, router);
  EXPECT_EQ(cluster->Submit(1, SpecOf(1, 10, 1)).code(), absl::StatusCode::kOutOfRange);
  EXPECT_FALSE(cluster->Cancel(1, 1));
}

}  // namespace
}  // namespace weir::sim
