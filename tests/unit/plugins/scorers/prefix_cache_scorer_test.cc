#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugin_harness.h"

namespace weir::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

TEST(PrefixCacheScorer, Goldens) {
  for (const json& one : Golden("prefix_cache_scorer")) {
    SCOPED_TRACE(one["id"].get<std::string>());
    PluginHarness harness("prefix-cache-scorer", one.value("parameters", json::object()).dump());
    std::vector<weir_prefix_match> matches;
    for (const json& match : one["matches"]) {
      matches.push_back({match["matched"], match["total"], match["block"], 0});
    }
    KitPool pool(std::vector<KitEndpoint>(one["scores"].size()));
    pool.SetColumns({matches.data()});
    const std::vector<double> scores = harness.Score(pool);
    for (size_t i = 0; i < scores.size(); ++i) {
      EXPECT_NEAR(scores[i], one["scores"][i].get<double>(), 1e-9) << "endpoint " << i;
    }
  }
}

TEST(PrefixCacheScorer, CountsEndpointsWithoutData) {
  PluginHarness harness("prefix-cache-scorer");
  KitPool pool(std::vector<KitEndpoint>(3));
  const weir_prefix_match matches[3] = {{0, 0, 64, 0}, {1, 1, 64, 0}, {0, 0, 64, 0}};
  pool.SetColumns({matches});
  harness.Score(pool);
  EXPECT_EQ(harness.host().counter(0), 2u);
}

TEST(PrefixCacheScorer, RefusesParametersOutOfRange) {
  const auto Error = [](const std::string& parameters) {
    return PluginHarness::CreateError("prefix-cache-scorer", parameters);
  };
  EXPECT_THAT(Error(R"({"matchLengthWeight": -0.1})"), HasSubstr("expected 0..1"));
  EXPECT_THAT(Error(R"({"matchLengthWeight": 1.5})"), HasSubstr("matchLengthWeight: 1.5"));
  EXPECT_THAT(Error(R"({"matchLengthWeight": 0.5, "matchLengthScaleTokens": 0})"),
              HasSubstr("matchLengthScaleTokens: 0, expected > 0"));
  EXPECT_THAT(Error(R"({"matchLengthWeight": "much"})"), HasSubstr("matchLengthWeight"));
  PluginHarness("prefix-cache-scorer", R"({"matchLengthScaleTokens": 0})");  // unused, so accepted
}

}  // namespace
}  // namespace weir::testing
