#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "plugin_harness.h"

namespace weir::testing {
namespace {

using nlohmann::json;

// The in-flight columns of a case, in the order the scorers declare them.
struct LoadColumns {
  explicit LoadColumns(const json& one) {
    const size_t count = one["endpoints"].size();
    load.resize(count);
    uncached_tokens.resize(count);
    for (size_t i = 0; i < count; ++i) {
      if (one.contains("requests")) load[i].requests = one["requests"][i];
      if (one.contains("tokens")) load[i].tokens = one["tokens"][i];
      if (one.contains("uncached_tokens")) uncached_tokens[i] = one["uncached_tokens"][i];
    }
  }
  std::vector<weir_in_flight_load> load;
  std::vector<int64_t> uncached_tokens;
};

TEST(Scorers, Goldens) {
  for (const json& one : Golden("scorers")) {
    SCOPED_TRACE(one["id"].get<std::string>());
    PluginHarness harness(one["type"].get<std::string>(),
                          one.value("parameters", json::object()).dump());
    KitPool pool = PoolOf(one["endpoints"]);
    const LoadColumns columns(one);
    std::vector<double> attribute;
    for (const json& value : one.value("attribute", json::array())) {
      attribute.push_back(value.is_null() ? std::nan("") : value.get<double>());
    }
    if (attribute.empty()) {
      pool.SetColumns({columns.load.data(), columns.uncached_tokens.data()});
    } else {
      pool.SetColumns({attribute.data()});
    }
    KitRequest from;
    from.model = one.value("model", "m");
    KitRequestView request(from);
    const std::vector<double> scores = harness.Score(pool, request);
    ASSERT_EQ(scores.size(), one["scores"].size());
    for (size_t i = 0; i < scores.size(); ++i) {
      EXPECT_NEAR(scores[i], one["scores"][i].get<double>(), 1e-6) << "endpoint " << i;
    }
  }
}

TEST(Scorers, ExtremeColumnsGiveNumbers) {
  constexpr uint32_t kMost = std::numeric_limits<uint32_t>::max();
  KitPool pool(
      {{.name = "a"}, {.name = "b", .waiting_requests = kMost, .running_requests = kMost}});
  for (const char* type : {"queue-scorer", "running-requests-size-scorer"}) {
    EXPECT_THAT(PluginHarness(type).Score(pool), ::testing::ElementsAre(1.0, 0.0)) << type;
  }
  EXPECT_THAT(PluginHarness("load-aware-scorer").Score(pool), ::testing::ElementsAre(0.5, 0.0));
}

TEST(Scorers, ScoreNothingWithoutTheirColumn) {
  for (const char* type :
       {"multicluster-queue-scorer", "multicluster-kv-cache-utilization-scorer"}) {
    KitPool pool(std::vector<KitEndpoint>(2));
    pool.SetColumns({nullptr});
    EXPECT_THAT(PluginHarness(type).Score(pool), ::testing::ElementsAre(0.0, 0.0)) << type;
  }
  PluginHarness lora("lora-affinity-scorer");
  lora.host().SetArenaBytesMax(16);
  const KitPool pool({{.name = "a", .active_adapters = {"m"}}, {.name = "b"}});
  EXPECT_THAT(lora.Score(pool), ::testing::ElementsAre(0.0, 0.0)) << "no memory, no opinion";
}

TEST(Scorers, WarnOfParametersTheyReplace) {
  EXPECT_THAT(PluginHarness("load-aware-scorer", R"({"threshold": 0})").host().log(),
              ::testing::ElementsAre(::testing::HasSubstr("threshold")));
  EXPECT_THAT(PluginHarness("active-request-scorer", R"({"maxBusyScore": -1})").host().log(),
              ::testing::ElementsAre(::testing::HasSubstr("maxBusyScore")));
  EXPECT_THAT(PluginHarness("token-load-scorer", R"({"queueThresholdTokens": 0})").host().log(),
              ::testing::ElementsAre(::testing::HasSubstr("queueThresholdTokens")));
}

TEST(Scorers, RefuseParametersOfAnotherType) {
  EXPECT_EQ(PluginHarness::CreateError("load-aware-scorer", R"({"threshold": "x"})"),
            "threshold: \"x\", expected an integer");
  EXPECT_EQ(PluginHarness::CreateError("active-request-scorer", R"({"maxBusyScore": true})"),
            "maxBusyScore: true, expected a number");
}

}  // namespace
}  // namespace weir::testing
