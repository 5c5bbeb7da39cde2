#include "weir/io/decision_log/record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "weir/random.h"
#include "weir/router.h"

namespace weir::io {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

void ExpectSame(const LoggedPool& pool, const PoolSnapshot& snapshot) {
  ASSERT_EQ(pool.endpoints.size(), snapshot.count());
  EXPECT_EQ(pool.version, snapshot.version());
  EXPECT_EQ(pool.pool_epoch, snapshot.pool_epoch());
  for (uint32_t i = 0; i < snapshot.count(); ++i) {
    const LoggedEndpoint& endpoint = pool.endpoints[i];
    EXPECT_EQ(endpoint.id, snapshot.ids()[i]);
    EXPECT_EQ(endpoint.name, snapshot.name(i));
    EXPECT_EQ(endpoint.address, snapshot.address(i));
    EXPECT_EQ(endpoint.labels, snapshot.labels(i));
    EXPECT_EQ(endpoint.waiting_requests, snapshot.waiting_requests()[i]);
    EXPECT_EQ(endpoint.running_requests, snapshot.running_requests()[i]);
    EXPECT_EQ(endpoint.kv_used_ratio, snapshot.kv_used_ratio()[i]);
    EXPECT_EQ(endpoint.kv_block_tokens, snapshot.kv_block_tokens()[i]);
    EXPECT_EQ(endpoint.kv_block_count, snapshot.kv_block_count()[i]);
    EXPECT_EQ(endpoint.sample_time_ns, snapshot.sample_time_ns()[i]);
    EXPECT_EQ(endpoint.adapters, snapshot.adapters(i));
  }
}

class LoggedPoolTest : public ::testing::Test {
 protected:
  void Add(const std::string& name, const EndpointMetrics& metrics = {},
           const std::map<std::string, std::string>& labels = {}) {
    ASSERT_TRUE(router_.pool()
                    .Upsert({.name = name, .address = "h:1", .labels = labels, .metrics = metrics})
                    .ok());
  }
  PoolDelta Follow() {
    const auto snapshot = router_.pool().snapshot();
    const PoolDelta delta = pool_.Diff(*snapshot, 0);
    pool_.Apply(delta);
    ExpectSame(pool_, *snapshot);
    return delta;
  }

  ManualClock clock_{1'000};
  Router router_ = Router::Default({.clock = &clock_}).value();
  LoggedPool pool_;
};

TEST_F(LoggedPoolTest, SaysOnlyWhatChanged) {
  Add("a", {.waiting_requests = 1});
  Add("b");
  Add("c", {}, {{"zone", "z"}});
  EXPECT_THAT(Follow().added, SizeIs(3));
  const PoolDelta nothing = Follow();
  EXPECT_TRUE(nothing.added.empty() && nothing.changed.empty() && nothing.removed.empty());

  clock_.Advance(50);
  const MetricsUpdate update{router_.pool().snapshot()->ids()[0], {.waiting_requests = 1}};
  router_.pool().ApplySamples({&update, 1});
  const PoolDelta sampled = Follow();
  ASSERT_THAT(sampled.changed, SizeIs(1));
  EXPECT_EQ(sampled.changed[0].row, 0u);
  EXPECT_EQ(sampled.changed[0].fields, PoolDelta::kSampleTime) << "the value is the same";

  ASSERT_TRUE(router_.pool().Remove("b").ok());
  Add("c", {}, {{"zone", "y"}});
  Add("b");
  const PoolDelta moved = Follow();
  EXPECT_THAT(moved.removed, ElementsAre(1));
  ASSERT_THAT(moved.changed, SizeIs(1));
  EXPECT_EQ(moved.changed[0].fields, PoolDelta::kLabels);
  EXPECT_THAT(moved.added, SizeIs(1));
}

TEST_F(LoggedPoolTest, FollowsBackwardsToo) {
  Add("a");
  Add("b");
  const auto before = router_.pool().snapshot();
  ASSERT_TRUE(router_.pool().Remove("a").ok());
  Add("c");
  Follow();
  // A thread may have decided on the snapshot before.
  const PoolDelta delta = pool_.Diff(*before, 0);
  pool_.Apply(delta);
  ExpectSame(pool_, *before);
}

TEST_F(LoggedPoolTest, FollowsRandomChanges) {
  Random random(5);
  for (uint32_t step = 0; step < 400; ++step) {
    const std::string name = "server-" + std::to_string(random.NextBelow(12));
    switch (random.NextBelow(4)) {
      case 0:
        (void)router_.pool().Remove(name);
        break;
      case 1:
        Add(name, {.kv_block_tokens = random.NextBelow(3)},
            {{"zone", std::to_string(random.NextBelow(2))}});
        break;
      default: {
        clock_.Advance(random.NextBelow(3));
        std::vector<MetricsUpdate> updates;
        for (const EndpointId id : router_.pool().snapshot()->ids()) {
          if (random.NextBelow(2) == 0) continue;
          MetricsUpdate& update = updates.emplace_back();
          update.id = id;
          update.metrics.waiting_requests = random.NextBelow(3);
          update.metrics.kv_used_ratio = random.NextBelow(4) / 4.0;
          if (random.NextBelow(3) != 0) continue;
          update.metrics.adapters = {{"lora-" + std::to_string(random.NextBelow(2))}, {}, 4};
        }
        router_.pool().ApplySamples(updates);
      }
    }
    if (random.NextBelow(3) == 0) Follow();
  }
}

TEST(LoggedDecisionTest, NamesItsTargets) {
  LoggedDecision decision{
      .primary_profile = 2,
      .profiles = {{.index = 0, .failed = false, .picks = {{1, 0.5}}},
                   {.index = 2, .failed = false, .picks = {{3, 0.5}, {4, 0.25}}}}};
  EXPECT_THAT(decision.targets(), SizeIs(2));
  EXPECT_EQ(decision.targets()[1].row, 4u);
  decision.code = Code::kResourceExhausted;
  EXPECT_THAT(decision.targets(), IsEmpty());
}

}  // namespace
}  // namespace weir::io
