// What scraping brings besides load: LoRA adapters and attributes of clusters, through a router;
// and the objectives and rewrites of a pipeline file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "testing/allocation_guard.h"
#include "weir/resources.h"
#include "weir/router.h"

namespace weir {
namespace {

constexpr char kHeader[] = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";

Router Make(const std::string& yaml) {
  auto router = Router::FromText(kHeader + yaml, "test.yaml",
                                 {.allow_experimental_plugins = true, .seed = 1});
  EXPECT_TRUE(router.ok()) << router.status();
  return *std::move(router);
}

// Total score and pick of each endpoint; nothing is allocated once memory is warm.
std::vector<double> Scores(const Router& router, const Request& request) {
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(router.Decide(request).ok());
  {
    testing::AllocationForbidden guard;
    const auto decision = router.Decide(request);
    EXPECT_TRUE(decision.ok());
  }
  std::vector<double> totals;
  const Explanation explanation = router.Decide(request)->explanation();
  for (const auto& row : explanation.profiles[0].endpoints) {
    totals.push_back(row.dropped_by.empty() ? row.total : -1);
  }
  return totals;
}

TEST(ScrapedColumns, LoraAffinityThroughFilters) {
  const Router router = Make(
      "plugins:\n- type: lora-affinity-scorer\n- {type: label-selector-filter, parameters: "
      "{matchLabels: {keep: 'yes'}}}\n");
  EXPECT_TRUE(router.needs().adapters);
  EXPECT_FALSE(router.needs().waiting_requests);
  const auto add = [&](const char* name, const char* keep, EndpointAdapters adapters) {
    ASSERT_TRUE(router.pool()
                    .Upsert({.name = name,
                             .address = "10.0.0.1:80",
                             .labels = {{"keep", keep}},
                             .metrics = {.adapters = std::move(adapters)}})
                    .ok());
  };
  add("gone", "no", {{"sql"}, {}, 4});
  add("full", "yes", {{"a", "b"}, {}, 2});
  add("room", "yes", {{"a"}, {}, 2});
  add("gone too", "no", {});
  add("active", "yes", {{"a", "sql"}, {}, 2});
  add("waiting", "yes", {{"a", "b"}, {"sql"}, 2});
  Request request;
  request.model = "sql";
  EXPECT_THAT(Scores(router, request), ::testing::ElementsAre(-1, 0, 0.8, -1, 1, 0.6));
  request.model = "base";
  EXPECT_THAT(Scores(router, request), ::testing::ElementsAre(-1, 0, 0.8, -1, 0, 0));
}

// The worked scores of the scheduler: queue, KV cache, prefix and adapters, all weights 1.
TEST(ScrapedColumns, LoraAffinityDecides) {
  const Router router = Make(
      "plugins:\n- type: queue-scorer\n- type: kv-cache-utilization-scorer\n"
      "- type: prefix-cache-scorer\n- type: lora-affinity-scorer\n");
  const auto add = [&](const char* name, uint32_t queue, double kv,
                       std::vector<std::string> active) {
    EndpointMetrics metrics;
    metrics.waiting_requests = queue;
    metrics.kv_used_ratio = kv;
    metrics.adapters = EndpointAdapters{std::move(active), {}, 0};
    ASSERT_TRUE(
        router.pool().Upsert({.name = name, .address = "10.0.0.1:80", .metrics = metrics}).ok());
  };
  Request request;
  request.model = "sql-lora-1fdg2";
  using ::testing::DoubleNear;
  add("p0", 10, 0.2, {"foo", "bar"});
  add("p1", 10, 0.4, {"foo", "sql-lora-1fdg2"});
  add("p2", 10, 0.3, {"foo"});
  EXPECT_THAT(
      Scores(router, request),
      ::testing::ElementsAre(DoubleNear(1.8, 1e-6), DoubleNear(2.6, 1e-6), DoubleNear(1.7, 1e-6)));
  EXPECT_EQ(router.Decide(request)->primary().name, "default/p1");
  add("p0", 6, 0.2, {"foo", "bar", "sql-lora-1fdg2"});
  add("p1", 0, 0.85, {"foo"});
  add("p2", 10, 0.9, {"foo"});
  EXPECT_THAT(
      Scores(router, request),
      ::testing::ElementsAre(DoubleNear(2.2, 1e-6), DoubleNear(1.15, 1e-6), DoubleNear(0.1, 1e-6)));
  EXPECT_EQ(router.Decide(request)->primary().name, "default/p0");
}

TEST(ScrapedColumns, ClustersAreScoredByTheirAttributes) {
  const Router router = Make(
      "plugins:\n- type: multicluster-metrics-data-source\n- type: multicluster-metrics-extractor\n"
      "- type: multicluster-queue-scorer\n- type: multicluster-kv-cache-utilization-scorer\n"
      "- {type: label-selector-filter, parameters: {matchExpressions: [{key: drained, operator: "
      "DoesNotExist}]}}\n"
      "dataLayer:\n  injectDefaults: false\n  sources:\n"
      "  - {pluginRef: multicluster-metrics-data-source, extractors: [{pluginRef: "
      "multicluster-metrics-extractor}]}\n");
  const auto& attributes = router.needs().attributes;
  ASSERT_EQ(attributes.size(), 2u);
  EXPECT_EQ(attributes[0].extractor, "multicluster-metrics-extractor");
  uint32_t queue = 0;
  if (attributes[0].name != "llm-d.ai/multicluster-queue-size") queue = 1;
  EXPECT_EQ(attributes[queue].name, "llm-d.ai/multicluster-queue-size");
  EXPECT_EQ(attributes[1 - queue].name, "llm-d.ai/multicluster-kv-cache-utilization");
  const auto add = [&](const char* name, std::vector<AttributeValue> values,
                       std::map<std::string, std::string> labels = {}) {
    EndpointMetrics metrics;
    metrics.attributes = std::move(values);
    ASSERT_TRUE(router.pool()
                    .Upsert({.name = name,
                             .address = "10.0.0.1:80",
                             .labels = std::move(labels),
                             .metrics = metrics})
                    .ok());
  };
  add("east", {{queue, 0.0}, {1 - queue, 0.5}});
  add("drained", {{queue, 500.0}}, {{"drained", ""}});
  add("silent", {});
  add("west", {{queue, 10.0}, {1 - queue, 0.25}});
  EXPECT_THAT(Scores(router, Request()), ::testing::ElementsAre(1.5, -1, 0, 0.75));
}

TEST(ResponseHooks, AreNeedsOfTheRouter) {
  EXPECT_FALSE(Make("plugins: [{type: queue-scorer}]\n").needs().report_served_endpoint);
  EXPECT_TRUE(Make("plugins: [{type: destination-endpoint-served-verifier}]\n")
                  .needs()
                  .report_served_endpoint);
}

TEST(Resources, OfThePipelineFileAreInTheStore) {
  const Router router = Make(
      "plugins: [{type: queue-scorer}]\nresources:\n  objectives: [{name: chat, priority: 4}]\n"
      "  modelRewrites: [{name: r, rules: [{targets: [{modelRewrite: base}]}]}]\n"
      "  file: {path: r.yaml}\n");
  EXPECT_EQ(router.resources().table()->Priority("chat"), 4);
  EXPECT_EQ(router.resources().table()->Rewrite("x", 0.5), "base");
  ASSERT_TRUE(router.needs().resources_file.has_value());
  EXPECT_EQ(router.needs().resources_file->path, "r.yaml");
  EXPECT_FALSE(router.needs().resources_file->watch_file);

  EXPECT_THAT(router.Describe(), ::testing::HasSubstr("  objectives 1, model rewrites 1\n"
                                                      "  resources file r.yaml\n"));

  ResourceReader reader(router.resources());
  reader.table();
  testing::AllocationForbidden guard;
  EXPECT_EQ(reader.table().Priority("chat"), 4);
  EXPECT_EQ(reader.table().Priority("nobody"), std::nullopt);
  EXPECT_EQ(reader.table().Rewrite("some model with a name longer than 16 bytes", 0.1), "base");
}

}  // namespace
}  // namespace weir
