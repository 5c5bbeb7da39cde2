// Adapters and scraped attributes, from samples to columns.
#include "model/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/pool.h"

namespace weir::internal {
namespace {

using ::testing::ElementsAre;

EndpointAdapters Adapters(std::vector<std::string> active, std::vector<std::string> waiting,
                          uint32_t adapters_max) {
  return {std::move(active), std::move(waiting), adapters_max};
}

std::vector<uint32_t> States(const Snapshot& snapshot, std::string_view name,
                             const std::vector<uint32_t>& rows) {
  std::vector<weir_adapter> column(rows.size());
  snapshot.AdapterColumn(name, rows.data(), static_cast<uint32_t>(rows.size()), column.data());
  std::vector<uint32_t> states;
  for (const weir_adapter& one : column) states.push_back(one.state);
  return states;
}

TEST(PoolAdapters, BecomeAColumnPerName) {
  ManualClock clock;
  Pool pool(clock, nullptr);
  const auto add = [&](const char* name, EndpointAdapters adapters) {
    return *pool.Upsert(
        {.name = name, .address = "10.0.0.1:80", .metrics = {.adapters = std::move(adapters)}});
  };
  const EndpointId a = add("a", Adapters({"x", "y"}, {}, 4));
  add("b", Adapters({}, {"x"}, 1));
  add("c", Adapters({"x"}, {"x"}, 1));
  ASSERT_TRUE(pool.Upsert({.name = "d", .address = "10.0.0.1:80"}).ok());
  const auto first = pool.Current();
  weir_adapter column[4];
  first->AdapterColumn("x", nullptr, 4, column);
  EXPECT_EQ(column[0].state, WEIR_ADAPTER_ACTIVE);
  EXPECT_EQ(column[0].used, 2u);
  EXPECT_EQ(column[0].adapters_max, 4u);
  EXPECT_EQ(column[1].state, WEIR_ADAPTER_WAITING);
  EXPECT_EQ(column[2].state, WEIR_ADAPTER_ACTIVE);
  EXPECT_EQ(column[2].used, 2u);
  EXPECT_EQ(column[3].state, WEIR_ADAPTER_ABSENT);
  EXPECT_EQ(column[3].adapters_max, 0u);
  EXPECT_THAT(States(*first, "x", {1, 3}), ElementsAre(WEIR_ADAPTER_WAITING, WEIR_ADAPTER_ABSENT));
  EXPECT_THAT(States(*first, "y", {0, 2}), ElementsAre(WEIR_ADAPTER_ACTIVE, WEIR_ADAPTER_ABSENT));
  EXPECT_THAT(States(*first, "z", {0, 1}), ElementsAre(WEIR_ADAPTER_ABSENT, WEIR_ADAPTER_ABSENT));

  // A sample without adapters keeps them, one with others replaces them, and snapshots stay.
  const auto sample = [&](EndpointMetrics metrics) {
    const MetricsUpdate update{a, std::move(metrics)};
    pool.ApplySamples({&update, 1});
  };
  sample({.waiting_requests = 3});
  EXPECT_EQ(pool.Current()->adapter_table, first->adapter_table) << "shared while none changes";
  sample({.adapters = Adapters({"z"}, {}, 4)});
  EXPECT_THAT(States(*pool.Current(), "x", {0}), ElementsAre(WEIR_ADAPTER_ABSENT));
  EXPECT_THAT(States(*pool.Current(), "z", {0}), ElementsAre(WEIR_ADAPTER_ACTIVE));
  EXPECT_THAT(States(*first, "x", {0}), ElementsAre(WEIR_ADAPTER_ACTIVE));
  ASSERT_TRUE(pool.Remove("a", "default").ok());
  EXPECT_THAT(States(*pool.Current(), "x", {0, 1, 2}),
              ElementsAre(WEIR_ADAPTER_WAITING, WEIR_ADAPTER_ACTIVE, WEIR_ADAPTER_ABSENT));
}

TEST(PoolAdapters, AreBounded) {
  ManualClock clock;
  Pool pool(clock, nullptr);
  EndpointAdapters many;
  for (uint32_t i = 0; i < kAdaptersPerEndpointMax + 5; ++i) {
    many.active.push_back("a" + std::to_string(i));
  }
  many.waiting = {"", std::string(kNameBytesMax + 1, 'x'), "fine"};
  ASSERT_TRUE(
      pool.Upsert({.name = "a", .address = "10.0.0.1:80", .metrics = {.adapters = many}}).ok());
  const auto snapshot = pool.Current();
  EXPECT_EQ(snapshot->adapters(0).active.size(), kAdaptersPerEndpointMax);
  EXPECT_THAT(snapshot->adapters(0).waiting, ElementsAre("fine"));
}

TEST(PoolAttributes, AreColumnsOfNumbers) {
  ManualClock clock;
  Pool pool(clock, nullptr);
  pool.DeclareAttributes(2);
  const EndpointId a = *pool.Upsert({.name = "a", .address = "10.0.0.1:80"});
  ASSERT_TRUE(pool.Upsert({.name = "b", .address = "10.0.0.2:80"}).ok());
  const MetricsUpdate update{
      a, {.attributes = {{1, 2.5}, {0, std::nan("")}, {2, 7}, {UINT32_MAX, 1}}}};
  pool.ApplySamples({&update, 1});
  const auto snapshot = pool.Current();
  EXPECT_TRUE(std::isnan(snapshot->attribute(0)[0])) << "a value that is none changes nothing";
  EXPECT_EQ(snapshot->attribute(1)[0], 2.5);
  EXPECT_TRUE(std::isnan(snapshot->attribute(1)[1]));
  EXPECT_EQ(snapshot->sample_time[0], INT64_MIN) << "attributes are no load";
  ASSERT_TRUE(pool.Remove("a", "default").ok());
  EXPECT_EQ(pool.Current()->attribute(1).size(), 1u);
}

}  // namespace
}  // namespace weir::internal
