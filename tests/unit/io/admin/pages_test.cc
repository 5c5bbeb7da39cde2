#include "weir/io/admin/pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace weir::io {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class PagesTest : public ::testing::Test {
 protected:
  const Router router_ = Router::Default().value();
  bool ready_ = true;
  const AdminPages pages_{router_, [this] { return ready_; }, [] { return "the metrics\n"; }};
};

TEST_F(PagesTest, HasThePagesAndNoOthers) {
  for (const char* path :
       {"/healthz", "/readyz", "/metrics", "/debug/decisions", "/debug/plugins/state"}) {
    EXPECT_TRUE(pages_.Has(path)) << path;
  }
  for (const char* path : {"/", "/metrics/", "/debug", "/Metrics", ""}) {
    EXPECT_FALSE(pages_.Has(path)) << path;
  }
  const HealthPages health([] { return true; });
  EXPECT_TRUE(health.Has("/readyz"));
  EXPECT_FALSE(health.Has("/metrics"));
}

TEST_F(PagesTest, ReadinessFollows) {
  EXPECT_EQ(pages_.Make("/readyz", "", false).status, 200);
  ready_ = false;
  EXPECT_EQ(pages_.Make("/readyz", "", false).status, 503);
  EXPECT_EQ(pages_.Make("/healthz", "", false).status, 200);
}

TEST_F(PagesTest, DecisionsForMachinesAndForPeople) {
  EXPECT_EQ(pages_.Make("/debug/decisions", "", false).content_type, "application/json");
  EXPECT_EQ(pages_.Make("/debug/decisions", "format=json", true).content_type, "application/json");
  EXPECT_THAT(pages_.Make("/debug/decisions", "", true).body, HasSubstr("<!doctype html>"));
  EXPECT_THAT(pages_.Make("/debug/decisions", "format=html", false).body, HasSubstr("<html"));
}

TEST_F(PagesTest, DecisionsEndWithTheOneThatReachesTheLimit) {
  ASSERT_TRUE(router_.pool().Upsert({.name = "a", .address = "10.0.0.1:8000"}).ok());
  for (int i = 0; i < 3; ++i) {
    absl::StatusOr<Decision> decision = router_.Decide({.model = "m" + std::to_string(i)});
    ASSERT_TRUE(decision.ok()) << decision.status();
    router_.Record(*std::move(decision));
  }
  const auto shown = [&](size_t bytes_max) {
    const AdminPages pages(
        router_, [] { return true; }, [] { return ""; }, bytes_max);
    return nlohmann::json::parse(pages.Make("/debug/decisions", "", false).body);
  };
  EXPECT_EQ(shown(kDecisionsPageBytesMax).size(), 3u);
  ASSERT_EQ(shown(2).size(), 1u);
  EXPECT_EQ(shown(2)[0]["model"], "m2") << "the newest";
}

TEST(DecisionsPage, ATextCannotEndItsElement) {
  EXPECT_THAT(DecisionsPage("[\"</script><b>\"]"), Not(HasSubstr("</script><b>")));
}

TEST(PluginStatePage, NamesEachPluginWithStateOrMessage) {
  const Router router = Router::FromText(
                            "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n"
                            "- {name: q, type: queue-scorer}\n- {type: max-score-picker}\n"
                            "- {name: servers, type: file-discovery, parameters: {path: x}}\n"
                            "- {type: metrics-data-source}\n"
                            "- {type: core-metrics-extractor}\n"
                            "dataLayer:\n  discovery: {pluginRef: servers}\n"
                            "  sources:\n  - pluginRef: metrics-data-source\n"
                            "    extractors: [{pluginRef: core-metrics-extractor}]\n"
                            "schedulingProfiles:\n- {name: default, plugins: [{pluginRef: q}]}\n",
                            "test")
                            .value();
  for (int i = 0; i < 120; ++i) {
    ASSERT_TRUE(router.pool().Upsert({.name = "e" + std::to_string(i), .address = "h:1"}).ok());
  }
  const auto page = nlohmann::json::parse(PluginStatePage(router, 1'700'000'000'120'000'000));
  EXPECT_EQ(page["timestamp"], "2023-11-14T22:13:20.12Z");
  EXPECT_EQ(page["plugins"]["q"],
            nlohmann::json::parse(
                R"({"name":"q","type":"queue-scorer","state":{"failures":0,"invalidResults":0}})"));
  EXPECT_EQ(page["plugins"]["metrics-data-source"]["message"],
            "plugin does not support state collection");
  const auto& servers = page["plugins"]["servers"]["state"];
  EXPECT_EQ(servers["totalEndpoints"], 120);
  EXPECT_EQ(servers["maxEndpoints"], 100);
  ASSERT_EQ(servers["endpoints"].size(), 100u);
  EXPECT_EQ(servers["endpoints"][1], "default/e1");
  EXPECT_EQ(servers["endpoints"][2], "default/e10");
}

TEST(PluginStatePage, WritesTimesAsGoDoes) {
  const Router router = Router::Default().value();
  const auto time = [&](int64_t unix_ns) {
    return std::string(nlohmann::json::parse(PluginStatePage(router, unix_ns))["timestamp"]);
  };
  EXPECT_EQ(time(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(time(1), "1970-01-01T00:00:00.000000001Z");
  EXPECT_EQ(time(-1), "1969-12-31T23:59:59.999999999Z");
}

}  // namespace
}  // namespace weir::io
