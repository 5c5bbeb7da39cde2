#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugin_harness.h"

namespace weir::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

TEST(Filters, Goldens) {
  for (const json& one : Golden("filters")) {
    SCOPED_TRACE(one["id"].get<std::string>());
    PluginHarness harness(one["type"].get<std::string>(),
                          one.value("parameters", json::object()).dump());
    KitRequest from;
    const json headers = one.value("headers", json::object());
    for (const auto& [name, value] : headers.items()) {
      from.headers.emplace_back(name, value.get<std::string>());
    }
    KitRequestView request(from);
    EXPECT_EQ(json(harness.Apply(PoolOf(one["endpoints"]), request)), one["kept"]);
  }
}

TEST(Filters, NeverBringBackADroppedEndpoint) {
  PluginHarness harness("decode-filter");
  const KitPool pool({{.name = "a"}, {.name = "b"}});
  KitRequestView request{KitRequest{}};
  uint64_t keep = 0b10;
  const auto& filter = harness.table<weir_filter>(WEIR_INTERFACE_FILTER);
  filter.apply(harness.self(), harness.host().Begin(pool, request), &request.raw(), &pool.batch(),
               &keep);
  EXPECT_EQ(keep, 0b10u);
}

TEST(Filters, WorkAtWordEdgesAndTheLargestPool) {
  for (const uint32_t count : {1u, 63u, 64u, 65u, kEndpointsMax}) {
    std::vector<KitEndpoint> endpoints(count);
    endpoints.back().labels["llm-d.ai/role"] = "encode";
    EXPECT_THAT(PluginHarness("encode-filter").Apply(KitPool(endpoints)),
                ::testing::ElementsAre(count - 1));
  }
}

TEST(LabelSelectorFilter, RefusesWhatKubernetesRefuses) {
  const auto error = [](const std::string& parameters) {
    return PluginHarness::CreateError("label-selector-filter", parameters);
  };
  EXPECT_THAT(error(R"({"matchExpressions": [{"key": "a", "operator": "Has"}]})"),
              HasSubstr("expected In, NotIn, Exists or DoesNotExist"));
  EXPECT_THAT(error(R"({"matchExpressions": [{"key": "a", "operator": "In"}]})"),
              HasSubstr("In needs at least one value"));
  EXPECT_THAT(
      error(R"({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]})"),
      HasSubstr("Exists takes no values"));
  EXPECT_THAT(error(R"({"matchLabels": {"-a": "x"}})"), HasSubstr("\"-a\" is not a label key"));
  EXPECT_THAT(error(R"({"matchLabels": {"a/b/c": "x"}})"), HasSubstr("is not a label key"));
  EXPECT_THAT(error(R"({"matchLabels": {"": "x"}})"), HasSubstr("is not a label key"));
  EXPECT_THAT(error(R"({"matchLabels": {"a": "x y"}})"), HasSubstr("\"x y\" is not a label value"));
  EXPECT_THAT(error(R"({"matchLabels": {"a": ")" + std::string(64, 'x') + R"("}})"),
              HasSubstr("is not a label value"));
  EXPECT_THAT(error(R"({"matchLabels": {"a": 5}})"), HasSubstr("expected a string"));
}

TEST(LabelSelectorFilter, LimitsTermsAndValues) {
  json expression = {{"key", "a"}, {"operator", "In"}, {"values", json::array()}};
  for (int i = 0; i < 64; ++i) expression["values"].push_back("v" + std::to_string(i));
  json parameters = {{"matchExpressions", json::array({expression})}};
  std::vector<KitEndpoint> endpoints = {{.name = "a", .labels = {{"a", "v63"}}}, {.name = "b"}};
  EXPECT_THAT(PluginHarness("label-selector-filter", parameters.dump()).Apply(KitPool(endpoints)),
              ::testing::ElementsAre(0));
  parameters["matchExpressions"][0]["values"].push_back("one-more");
  EXPECT_THAT(PluginHarness::CreateError("label-selector-filter", parameters.dump()),
              HasSubstr("more than 64 values"));
  json terms = {{"matchLabels", {{"a", "b"}}}, {"matchExpressions", json::array()}};
  for (int i = 0; i < 64; ++i) {
    terms["matchExpressions"].push_back({{"key", "k"}, {"operator", "DoesNotExist"}});
  }
  EXPECT_THAT(PluginHarness::CreateError("label-selector-filter", terms.dump()),
              HasSubstr("more than 64 terms"));
}

TEST(ByLabel, RefusesWhatKeepsNothing) {
  EXPECT_THAT(PluginHarness::CreateError("by-label", "{}"), HasSubstr("label: empty"));
  EXPECT_THAT(PluginHarness::CreateError("by-label", R"({"label": "a"})"),
              HasSubstr("validValues: empty"));
}

TEST(Filters, DeprecatedTypesNameTheirReplacement) {
  for (const char* type : {"by-label", "by-label-selector"}) {
    EXPECT_EQ(plugin_check::View(Builtin(type).replaced_by), "label-selector-filter") << type;
  }
}

}  // namespace
}  // namespace weir::testing
