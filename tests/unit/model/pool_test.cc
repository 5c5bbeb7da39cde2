#include "model/pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <future>
#include <set>
#include <thread>

namespace weir::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PoolTest : public ::testing::Test {
 protected:
  EndpointId Add(const std::string& name, EndpointMetrics metrics = {}) {
    return pool_.Upsert({.name = name, .address = "10.0.0.1:8000", .metrics = metrics}).value();
  }

  ManualClock clock_{1000};
  std::vector<uint32_t> freed_;
  Pool pool_{clock_, [this](uint32_t slot) { freed_.push_back(slot); }};
};

TEST_F(PoolTest, PublishesColumnsInOrderOfAddition) {
  Add("a", {.waiting_requests = 2, .kv_used_ratio = 0.5});
  clock_.Advance(7);
  Add("b", {.running_requests = 3, .kv_block_tokens = 16, .kv_block_count = 100});
  Add("c");
  const auto snapshot = pool_.snapshot();
  EXPECT_EQ(snapshot->count(), 3u);
  EXPECT_EQ(snapshot->name(0), "default/a");
  EXPECT_THAT(snapshot->waiting_requests(), ElementsAre(2, 0, 0));
  EXPECT_THAT(snapshot->running_requests(), ElementsAre(0, 3, 0));
  EXPECT_THAT(snapshot->kv_used_ratio(), ElementsAre(0.5f, 0, 0));
  EXPECT_THAT(snapshot->kv_block_tokens(), ElementsAre(0, 16, 0));
  EXPECT_THAT(snapshot->sample_time_ns(), ElementsAre(1000, 1007, INT64_MIN));
}

// As one in Python does: it waits for a lock that another thread holds while it asks the pool.
class WaitingClock final : public Clock {
 public:
  int64_t now_ns() const noexcept override {
    asked.push_back(std::async(std::launch::async, [this] { (void)pool->snapshot(); }));
    waited_for_nothing &=
        asked.back().wait_for(std::chrono::seconds(5)) == std::future_status::ready;
    return 0;
  }

  Pool* pool = nullptr;
  mutable std::vector<std::future<void>> asked;
  mutable bool waited_for_nothing = true;
};

TEST(PoolClockTest, IsNotReadUnderTheLock) {
  WaitingClock clock;
  Pool pool(clock, nullptr);
  clock.pool = &pool;
  const Endpoint endpoint{.name = "a", .address = "h:1", .metrics = {.waiting_requests = 1}};
  const EndpointId a = pool.Upsert(endpoint).value();
  EXPECT_TRUE(pool.Replace(std::vector<Endpoint>{endpoint}).ok());
  pool.ApplySamples(std::vector<MetricsUpdate>{{a, {.waiting_requests = 5}}});
  EXPECT_TRUE(clock.waited_for_nothing);
  EXPECT_EQ(clock.asked.size(), 3u);
}

TEST_F(PoolTest, OldSnapshotsStayAsTheyWere) {
  const EndpointId a = Add("a", {.waiting_requests = 1});
  const auto before = pool_.snapshot();
  pool_.ApplySamples(std::vector<MetricsUpdate>{{a, {.waiting_requests = 9}}});
  EXPECT_TRUE(pool_.Remove("a", "default").ok());
  EXPECT_THAT(before->waiting_requests(), ElementsAre(1));
  EXPECT_EQ(before->name(0), "default/a");
  EXPECT_EQ(pool_.snapshot()->count(), 0u);
  EXPECT_LT(before->version(), pool_.snapshot()->version());
}

TEST_F(PoolTest, SamplesKeepWhatTheyDoNotName) {
  const EndpointId a = Add("a", {.waiting_requests = 1, .running_requests = 2});
  pool_.ApplySamples(std::vector<MetricsUpdate>{{a, {.waiting_requests = 5}}, {{9, 9}, {}}});
  EXPECT_THAT(pool_.snapshot()->waiting_requests(), ElementsAre(5));
  EXPECT_THAT(pool_.snapshot()->running_requests(), ElementsAre(2));
}

TEST_F(PoolTest, KeepsRatiosWithinTheirRange) {
  const EndpointId a = Add("a", {.kv_used_ratio = 0.5});
  for (const auto& [given, kept] :
       {std::pair(37.0, 1.0f), {1.0001, 1.0f}, {1e300, 1.0f}, {-3, 0}}) {
    pool_.ApplySamples(std::vector<MetricsUpdate>{{a, {.kv_used_ratio = given}}});
    EXPECT_EQ(pool_.snapshot()->kv_used_ratio()[0], kept) << given;
  }
  clock_.Advance(7);
  pool_.ApplySamples(std::vector<MetricsUpdate>{{a, {.kv_used_ratio = std::nan("")}}});
  EXPECT_EQ(pool_.snapshot()->kv_used_ratio()[0], 0);
  EXPECT_EQ(pool_.snapshot()->sample_time_ns()[0], 1000) << "it sampled nothing";
}

TEST_F(PoolTest, RefusesBadEndpointsAndSaysWhy) {
  const auto message = [&](const Endpoint& endpoint) {
    return std::string(pool_.Upsert(endpoint).status().message());
  };
  EXPECT_EQ(
      message({.name = "a", .address = "10.0.0.1:70000"}),
      "endpoint \"a\": address \"10.0.0.1:70000\": port \"70000\", expected 1..65535; expected "
      "\"ip:port\", \"[ipv6]:port\" or \"host:port\"");
  EXPECT_THAT(message({.name = "a", .address = "10.0.0.1"}), HasSubstr("no port"));
  EXPECT_THAT(message({.name = "a", .address = "fd00::1:80"}), HasSubstr("without brackets"));
  EXPECT_THAT(message({.name = "a", .address = "h:+80"}), HasSubstr("expected 1..65535"));
  EXPECT_THAT(message({.name = "a", .address = "h,x:80"}), HasSubstr("no host name"));
  EXPECT_THAT(message({.name = "", .address = "h:80"}), HasSubstr("name \"\": empty"));
  EXPECT_THAT(message({.name = "a\r\nb", .address = "h:80"}), HasSubstr("control byte"));
  EXPECT_EQ(message({.name = "a", .address = "[fd00::1]:80"}), "");
}

TEST_F(PoolTest, ReplaceKeepsTheGoodOnesAndListsTheBad) {
  const EndpointId a = Add("a", {.waiting_requests = 4});
  Add("gone");
  const absl::Status status = pool_.Replace(std::vector<Endpoint>{{.name = "a", .address = "h:1"},
                                                                  {.name = "b", .address = "h"},
                                                                  {.name = "c", .address = "h:2"}});
  EXPECT_THAT(std::string(status.message()), HasSubstr("endpoint \"b\""));
  EXPECT_THAT(std::string(status.message()), HasSubstr("the other 2 endpoints are in use"));
  const auto snapshot = pool_.snapshot();
  ASSERT_EQ(snapshot->count(), 2u);
  EXPECT_EQ(snapshot->ids()[0], a);
  EXPECT_THAT(snapshot->waiting_requests(), ElementsAre(4, 0));
}

TEST_F(PoolTest, ABadEntryTakesNoGoodOneOfItsNameAlong) {
  const Endpoint good{.name = "a", .address = "h:1"}, bad{.name = "a", .address = "h"};
  for (const auto& entries : {std::vector<Endpoint>{good, bad}, std::vector<Endpoint>{bad, good}}) {
    EXPECT_FALSE(pool_.Replace(entries).ok());
    EXPECT_EQ(pool_.snapshot()->count(), 1u);
  }
  EXPECT_FALSE(pool_.Replace(std::vector<Endpoint>{bad}).ok());
  EXPECT_EQ(pool_.snapshot()->count(), 0u);
}

TEST_F(PoolTest, NamesOfTwoNamespacesStayApart) {
  const Endpoint one{.name = "b/c", .namespace_name = "a", .address = "h:1"};
  const Endpoint other{.name = "c", .namespace_name = "a/b", .address = "h:2"};
  ASSERT_TRUE(pool_.Upsert(one).ok());
  EXPECT_EQ(pool_.Upsert(other).status().message(),
            "endpoint \"c\": namespace \"a/b\": holds a slash, which only a name may");
  EXPECT_EQ(pool_.Remove("c", "a/b").code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(pool_.Replace(std::vector<Endpoint>{one, other}).ok());
  EXPECT_EQ(pool_.snapshot()->count(), 1u);
  EXPECT_FALSE(pool_.Replace(std::vector<Endpoint>{other}).ok());
  EXPECT_EQ(pool_.snapshot()->count(), 0u);
}

TEST_F(PoolTest, FindsEachOfManyWhileTheyComeAndGo) {
  std::vector<Endpoint> endpoints;
  for (uint32_t i = 0; i < 1000; ++i) {
    endpoints.push_back({.name = std::to_string(i), .address = "h:1"});
  }
  ASSERT_TRUE(pool_.Replace(endpoints).ok());
  for (uint32_t i = 0; i < 1000; i += 3) {
    ASSERT_TRUE(pool_.Remove(std::to_string(i), "default").ok()) << i;
    EXPECT_EQ(pool_.Remove(std::to_string(i), "default").code(), absl::StatusCode::kNotFound) << i;
  }
  // What goes leaves the others' columns where they belong.
  std::vector<Endpoint> odd;
  for (uint32_t i = 1; i < 1000; i += 2) {
    endpoints[i].metrics.waiting_requests = i;
    odd.push_back(endpoints[i]);
  }
  ASSERT_TRUE(pool_.Replace(odd).ok());
  const auto fewer = pool_.snapshot();
  ASSERT_EQ(fewer->count(), 500u);
  for (uint32_t i = 0; i < 500; ++i) {
    EXPECT_EQ(std::to_string(fewer->waiting_requests()[i]), fewer->name(i).substr(8));
  }
  for (Endpoint& endpoint : endpoints)
    endpoint.address = "h:" + std::to_string(1 + endpoint.name[0]);
  ASSERT_TRUE(pool_.Replace(endpoints).ok());
  const auto snapshot = pool_.snapshot();
  ASSERT_EQ(snapshot->count(), 1000u);
  std::set<std::string> names;
  for (uint32_t i = 0; i < 1000; ++i) {
    const std::string name(snapshot->name(i).substr(8));  // after "default/"
    names.insert(name);
    EXPECT_EQ(snapshot->address(i), "h:" + std::to_string(1 + name[0]));
  }
  EXPECT_EQ(names.size(), 1000u);
}

TEST_F(PoolTest, HoldsAtMostEndpointsMax) {
  std::vector<Endpoint> endpoints;
  for (uint32_t i = 0; i <= kEndpointsMax; ++i) {
    endpoints.push_back({.name = std::to_string(i), .address = "h:1"});
  }
  const absl::Status status = pool_.Replace(endpoints);
  EXPECT_THAT(std::string(status.message()), HasSubstr("maximum of 4096"));
  EXPECT_EQ(pool_.snapshot()->count(), kEndpointsMax);
}

TEST_F(PoolTest, HoldsAtMostLabelKeysMax) {
  const auto upsert = [&](const std::string& name, uint32_t first, uint32_t count) {
    Endpoint endpoint{.name = name, .address = "h:1"};
    for (uint32_t i = 0; i < count; ++i) endpoint.labels["key" + std::to_string(first + i)] = "";
    return pool_.Upsert(endpoint).status();
  };
  static_assert(kLabelKeysMax % kLabelsPerEndpointMax == 0);
  for (uint32_t first = 0; first < kLabelKeysMax; first += kLabelsPerEndpointMax) {
    ASSERT_TRUE(upsert("e" + std::to_string(first), first, kLabelsPerEndpointMax).ok());
  }
  EXPECT_TRUE(upsert("old keys", 7, 3).ok());
  const absl::Status status = upsert("new key", kLabelKeysMax, 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("more than 1024 label keys"));
  // Keys go with the last endpoint that has them, by removal or by relabelling.
  EXPECT_TRUE(pool_.Remove("e64", "default").ok());
  EXPECT_TRUE(upsert("new key", kLabelKeysMax, kLabelsPerEndpointMax).ok());
  EXPECT_FALSE(upsert("newer key", 5000, 1).ok());
  EXPECT_TRUE(upsert("new key", 0, 1).ok());
  EXPECT_TRUE(upsert("newer key", 5000, kLabelsPerEndpointMax).ok());
}

TEST_F(PoolTest, LabelsAreInternedColumns) {
  ASSERT_TRUE(pool_.Upsert({.name = "a", .address = "h:1", .labels = {{"zone", "z1"}}}).ok());
  ASSERT_TRUE(pool_.Upsert({.name = "b", .address = "h:2", .labels = {{"tier", "z1"}}}).ok());
  const auto snapshot = pool_.Current();
  const uint32_t z1 = snapshot->LabelValue("z1");
  EXPECT_EQ(snapshot->LabelColumn("zone")[0], z1);
  EXPECT_EQ(snapshot->LabelColumn("zone")[1], WEIR_LABEL_ABSENT);
  EXPECT_EQ(snapshot->LabelColumn("tier")[1], z1);
  EXPECT_EQ(snapshot->LabelColumn("none")[0], WEIR_LABEL_ABSENT);
  EXPECT_EQ(snapshot->LabelValue("z9"), WEIR_LABEL_UNKNOWN);
  EXPECT_EQ(snapshot->label(0, "zone"), "z1");
  EXPECT_EQ(snapshot->label(1, "zone"), std::nullopt);
}

TEST_F(PoolTest, ASlotIsReusedOnlyWhenNoRequestOnItIsLeft) {
  const EndpointId a = Add("a");
  const SlotShare share = pool_.live_load().Begin(a, 10);
  EXPECT_EQ(pool_.in_flight(a), 1u);
  ASSERT_TRUE(pool_.Remove("a", "default").ok());
  EXPECT_THAT(freed_, ElementsAre());
  EXPECT_NE(Add("b").slot, a.slot);
  EXPECT_EQ(pool_.in_flight(a), 0u);
  EXPECT_FALSE(pool_.live_load().Begin(a, 10).counted) << "the endpoint is gone";
  pool_.live_load().End(share);
  const EndpointId c = Add("c");
  EXPECT_THAT(freed_, ElementsAre(a.slot));
  EXPECT_EQ(c.slot, a.slot);
  EXPECT_NE(c.generation, a.generation);
  EXPECT_EQ(pool_.live_load()[c.slot].unseen_requests(), 0u);
}

TEST_F(PoolTest, CountsWhatTheLastSampleCannotKnow) {
  const EndpointId a = Add("a");
  LiveLoad& live = pool_.live_load();
  const auto sample = [&] {
    pool_.ApplySamples(std::vector<MetricsUpdate>{{a, {.waiting_requests = 0}}});
  };
  const SlotShare first = live.Begin(a, 100);
  EXPECT_EQ(live[a.slot].unseen_requests(), 1u);
  pool_.SampleStarted(a);
  const SlotShare second = live.Begin(a, 50);
  EXPECT_EQ(live[a.slot].unseen_requests(), 2u) << "the sample under way has not arrived";
  sample();
  EXPECT_EQ(live[a.slot].unseen_requests(), 1u) << "the first is in the sample, the second not";
  EXPECT_EQ(live[a.slot].unseen_tokens(), 50u);
  live.End(first);
  EXPECT_EQ(live[a.slot].unseen_requests(), 1u);
  live.End(second);
  EXPECT_EQ(live[a.slot].unseen_requests(), 0u);
  live.Begin(a, 1);
  sample();
  EXPECT_EQ(live[a.slot].unseen_requests(), 0u) << "a sample without a start knows all before it";
}

TEST_F(PoolTest, UnseenTokensOfBothEpochsAddUp) {
  const EndpointId a = Add("a");
  LiveLoad& live = pool_.live_load();
  constexpr int32_t kTokens = 1 << 24;
  for (int i = 0; i < 127; ++i) live.Begin(a, kTokens);
  pool_.SampleStarted(a);
  for (int i = 0; i < 127; ++i) live.Begin(a, kTokens);
  EXPECT_EQ(live[a.slot].unseen_tokens(), 254u << 24) << "more than a signed integer holds";
}

TEST_F(PoolTest, AFailedSampleLosesNothing) {
  const EndpointId a = Add("a");
  LiveLoad& live = pool_.live_load();
  pool_.SampleStarted(a);
  live.Begin(a, 1);
  pool_.SampleStarted(a);  // the first one failed
  live.Begin(a, 1);
  EXPECT_EQ(live[a.slot].unseen_requests(), 2u);
  pool_.ApplySamples(std::vector<MetricsUpdate>{{a, {.waiting_requests = 0}}});
  EXPECT_EQ(live[a.slot].unseen_requests(), 2u);
  pool_.SampleStarted(a);
  pool_.ApplySamples(std::vector<MetricsUpdate>{{a, {.waiting_requests = 2}}});
  EXPECT_EQ(live[a.slot].unseen_requests(), 0u);
}

TEST_F(PoolTest, WritersAndReadersRunSideBySide) {
  const EndpointId a = Add("a");
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (uint32_t i = 0; i < 500; ++i) {
      pool_.SampleStarted(a);
      pool_.ApplySamples(std::vector<MetricsUpdate>{{a, {.waiting_requests = i}}});
      if (i % 50 == 0) (void)pool_.Upsert({.name = std::to_string(i), .address = "h:1"});
    }
    stop = true;
  });
  uint64_t seen = 0;
  while (!stop) {
    const SlotShare share = pool_.live_load().Begin(a, 1);
    const auto snapshot = pool_.Current();
    EXPECT_GE(snapshot->version(), seen);
    seen = snapshot->version();
    pool_.live_load().End(share);
  }
  writer.join();
  EXPECT_EQ(pool_.in_flight(a), 0u);
}

}  // namespace
}  // namespace weir::internal
