#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "plugin_harness.h"

namespace weir::testing {
namespace {

using nlohmann::json;

KitPool PoolOfSize(size_t count) { return KitPool(std::vector<KitEndpoint>(count)); }

TEST(Pickers, Goldens) {
  for (const json& one : Golden("pickers")) {
    SCOPED_TRACE(one["id"].get<std::string>());
    PluginHarness harness(one["type"].get<std::string>(),
                          one.value("parameters", json::object()).dump());
    harness.host().SetDraws(one.value("draws", std::vector<double>()));
    const auto scores = one["scores"].get<std::vector<double>>();
    EXPECT_EQ(json(harness.Pick(PoolOfSize(scores.size()), scores)), one["picked"]);
    EXPECT_EQ(harness.host().draws_used(), one.value("draws", json::array()).size())
        << "draws where there is nothing to choose";
  }
}

// Shares of the first pick over many draws, each within five standard deviations.
void ExpectShares(PluginHarness& harness, const std::vector<double>& scores,
                  const std::vector<double>& shares) {
  constexpr int kRounds = 20000;
  std::vector<int> hits(scores.size(), 0);
  const KitPool pool = PoolOfSize(scores.size());
  for (int i = 0; i < kRounds; ++i) ++hits[harness.Pick(pool, scores).at(0)];
  for (size_t i = 0; i < shares.size(); ++i) {
    const double tolerance = 5 * std::sqrt(shares[i] * (1 - shares[i]) / kRounds);
    EXPECT_NEAR(hits[i] / double{kRounds}, shares[i], tolerance) << "endpoint " << i;
  }
}

TEST(Pickers, SharesFollowTheDistribution) {
  PluginHarness weighted("weighted-random-picker");
  ExpectShares(weighted, {3, 1}, {0.75, 0.25});
  ExpectShares(weighted, {0, 0, 0}, {1.0 / 3, 1.0 / 3, 1.0 / 3});
  PluginHarness max_score("max-score-picker");
  ExpectShares(max_score, {2, 2, 1}, {0.5, 0.5, 0});
  PluginHarness random("random-picker");
  ExpectShares(random, {9, 0, 0, 0}, {0.25, 0.25, 0.25, 0.25});
}

TEST(Pickers, RoundRobinTakesTurns) {
  PluginHarness harness("round-robin-picker", R"({"maxNumOfEndpoints": 2})");
  const std::vector<double> scores = {0, 9, 0};
  EXPECT_EQ(harness.Pick(PoolOfSize(3), scores), (std::vector<uint32_t>{0, 1}));
  EXPECT_EQ(harness.Pick(PoolOfSize(3), scores), (std::vector<uint32_t>{1, 2}));
  EXPECT_EQ(harness.Pick(PoolOfSize(3), scores), (std::vector<uint32_t>{2, 0}));
}

TEST(Pickers, GiveDistinctIndicesUpToTheHostsLimit) {
  for (const char* type :
       {"max-score-picker", "random-picker", "round-robin-picker", "weighted-random-picker"}) {
    for (const uint32_t count : {1u, 2u, 65u, kEndpointsMax}) {
      PluginHarness harness(type, R"({"maxNumOfEndpoints": 100})");
      std::vector<double> scores(count);
      for (uint32_t i = 0; i < count; ++i) scores[i] = i % 7;
      for (const uint32_t index_max : {0u, 1u, 16u}) {
        const auto picked = harness.Pick(PoolOfSize(count), scores, index_max);
        EXPECT_EQ(picked.size(), std::min(count, index_max)) << type;
        EXPECT_EQ(std::set<uint32_t>(picked.begin(), picked.end()).size(), picked.size()) << type;
        for (const uint32_t index : picked) EXPECT_LT(index, count) << type;
      }
    }
  }
}

TEST(Pickers, AreSafeWithNumbersThatTheHostShouldNotPass) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const char* type : {"max-score-picker", "random-picker", "weighted-random-picker"}) {
    PluginHarness harness(type);
    EXPECT_EQ(harness.Pick(PoolOfSize(2), {kNan, kNan}).size(), 1u) << type;
    EXPECT_EQ(harness.Pick(PoolOfSize(2), {-kInfinity, -kInfinity}).size(), 1u) << type;
    EXPECT_EQ(harness.Pick(PoolOfSize(3), {kInfinity, kNan, 1}).size(), 1u) << type;
  }
  PluginHarness max_score("max-score-picker");
  EXPECT_THAT(max_score.Pick(PoolOfSize(3), {kNan, 0.5, kNan}), ::testing::ElementsAre(1));
}

}  // namespace
}  // namespace weir::testing
