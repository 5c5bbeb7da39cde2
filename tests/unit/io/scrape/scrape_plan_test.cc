#include "weir/io/scrape/scrape_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "testing/allocation_guard.h"

namespace weir::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ScrapePlan VllmPlan(uint32_t fields = kSampleAllFields) {
  EngineConfig config{.name = "vllm",
                      .waiting_spec = "vllm:num_requests_waiting",
                      .running_spec = "vllm:num_requests_running",
                      .kv_used_spec = "vllm:kv_cache_usage_perc",
                      .lora_spec = "vllm:lora_requests_info",
                      .cache_info_spec = "vllm:cache_config_info"};
  return ScrapePlan::Compile(config, fields).value();
}

TEST(ScrapePlanTest, MissingFamiliesKeepOldValues) {
  const ScrapePlan plan = VllmPlan();
  EndpointSample sample;
  Extract(plan, "vllm:num_requests_waiting 3\nvllm:kv_cache_usage_perc 0.5\n", sample);
  const ExtractStats stats = Extract(plan, "vllm:num_requests_waiting 4\n", sample);
  EXPECT_EQ(sample.waiting_requests, 4u);
  EXPECT_EQ(sample.kv_used_ratio, 0.5f);
  EXPECT_EQ(sample.present, kSampleWaiting);
  EXPECT_EQ(stats.missing, 3u);  // running, KV usage, cache information; not LoRA
}

TEST(ScrapePlanTest, ReadsOnlyTheNeededFields) {
  const ScrapePlan plan = VllmPlan(kSampleRunning);
  EXPECT_EQ(plan.fields(), kSampleRunning);
  EndpointSample sample;
  const ExtractStats stats =
      Extract(plan, "vllm:num_requests_waiting 3\nvllm:num_requests_running 2\n", sample);
  EXPECT_EQ(sample.present, kSampleRunning);
  EXPECT_EQ(stats.missing, 0u);
}

TEST(ScrapePlanTest, CountsSaturateAndRatiosStayAsTheyAre) {
  const ScrapePlan plan = VllmPlan();
  EndpointSample sample;
  Extract(plan,
          "vllm:num_requests_waiting 1e300\nvllm:num_requests_running "
          "4294967294.9\nvllm:kv_cache_usage_perc 1e300\n",
          sample);
  EXPECT_EQ(sample.waiting_requests, std::numeric_limits<uint32_t>::max());
  EXPECT_EQ(sample.running_requests, 4294967294u);
  EXPECT_EQ(sample.kv_used_ratio, std::numeric_limits<float>::max());
}

TEST(ScrapePlanTest, NewestTimestampWinsAndTheFirstOfEqualOnes) {
  const ScrapePlan plan = VllmPlan();
  EndpointSample sample;
  Extract(plan,
          "vllm:num_requests_waiting{e=\"0\"} 1 100\nvllm:num_requests_waiting{e=\"1\"} 2 300\n"
          "vllm:num_requests_waiting{e=\"2\"} 3 300\nvllm:num_requests_waiting{e=\"3\"} 4\n",
          sample);
  EXPECT_EQ(sample.waiting_requests, 2u);
}

TEST(ScrapePlanTest, AggregateDecidesAmongSeriesWithoutTimestamps) {
  const char* page =
      "w{e=\"0\"} 5\nw{e=\"1\"} 9\nw{e=\"2\"} 7\nk{e=\"0\"} 0.2\nk{e=\"1\"} 0.9\nk{e=\"2\"} 0.7\n";
  struct Case {
    Aggregate aggregate;
    uint32_t waiting;
    float kv;
  };
  for (const Case& c : {Case{Aggregate::kAuto, 21, 0.9f}, Case{Aggregate::kSum, 21, 0.9f},
                        Case{Aggregate::kMax, 9, 0.9f}, Case{Aggregate::kFirst, 5, 0.2f}}) {
    const auto plan = ScrapePlan::Compile(
        {.name = "e", .waiting_spec = "w", .kv_used_spec = "k", .aggregate = c.aggregate});
    EndpointSample sample;
    Extract(*plan, page, sample);
    EXPECT_EQ(sample.waiting_requests, c.waiting);
    EXPECT_EQ(sample.kv_used_ratio, c.kv);
  }
}

TEST(ScrapePlanTest, AdaptersBeyondTheLimitAreDroppedAndCounted) {
  std::string list;
  for (uint32_t i = 0; i < kLoraAdaptersMax + 3; ++i) absl::StrAppend(&list, "a", i, ",");
  EndpointSample sample;
  const ExtractStats stats = Extract(
      VllmPlan(), absl::StrCat("vllm:lora_requests_info{running_lora_adapters=\"", list, "\"} 1\n"),
      sample);
  EXPECT_EQ(sample.lora_active.size(), kLoraAdaptersMax);
  EXPECT_EQ(stats.adapters_dropped, 3u);
  Extract(VllmPlan(), "vllm:lora_requests_info{running_lora_adapters=\"x\"} 1\n", sample);
  EXPECT_THAT(sample.lora_active, ElementsAre("x"));
}

TEST(ScrapePlanTest, ReadingAnotherPageOfTheSameShapeDoesNotAllocate) {
  const ScrapePlan plan = VllmPlan();
  EndpointSample sample;
  const std::string_view page =
      "vllm:num_requests_waiting{a=\"x\",b=\"y\"} 3\nvllm:num_requests_waiting{a=\"z\"} 4 17\n"
      "vllm:lora_requests_info{running_lora_adapters=\"a, b\",max_lora=\"4\"} 1\n"
      "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"9\"} 1\nvllm:kv_cache_usage_perc "
      "nonsense\n";
  Extract(plan, page, sample);
  {
    weir::testing::AllocationForbidden guard;
    Extract(plan, page, sample);
  }
  EXPECT_EQ(sample.waiting_requests, 4u);
  EXPECT_THAT(sample.lora_active, ElementsAre("a", "b"));
}

TEST(ScrapePlanTest, NamesThatOnlyShareAPrefixDoNotMatch) {
  EndpointSample sample;
  const auto plan = ScrapePlan::Compile({.name = "e", .waiting_spec = "w", .running_spec = "ww"});
  Extract(*plan, "www 9\nw 1\nw_ 9\nw:x 9\nww 2\nv 9\n", sample);
  EXPECT_EQ(sample.waiting_requests, 1u);
  EXPECT_EQ(sample.running_requests, 2u);
}

TEST(ScrapePlanTest, APlanWithoutMetricsReadsNothing) {
  const auto plan = ScrapePlan::Compile({.name = "none"});
  ASSERT_TRUE(plan.ok());
  EndpointSample sample;
  EXPECT_FALSE(Extract(*plan, "w 1\n", sample).updated);
}

TEST(MetricSpecTest, ReadsLabels) {
  const auto spec = ParseMetricSpec(" a:b { x = y , z=\"1 2\" } ");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->name, "a:b");
  ASSERT_EQ(spec->labels.size(), 2u);
  EXPECT_EQ(spec->labels[0].name, "x");
  EXPECT_EQ(spec->labels[0].value, "y");
  EXPECT_EQ(spec->labels[1].value, "1 2");
  EXPECT_TRUE(ParseMetricSpec("a{}")->labels.empty());
}

TEST(MetricSpecTest, RefusesWhatItCannotMatch) {
  for (const char* text : {"", "1a", "a b", "a{", "a}", "a{x}", "a{x!=y}", "a{=y}", "a{x=\"y}",
                           "a{x=y}z", "a{x=y,,z=1}", "a-b", "a{x:y=1}"}) {
    EXPECT_FALSE(ParseMetricSpec(text).ok()) << text;
  }
  std::string labels;
  for (uint32_t i = 0; i < kMetricSpecLabelsMax; ++i)
    absl::StrAppend(&labels, i ? "," : "", "l", i, "=v");
  EXPECT_TRUE(ParseMetricSpec("a{" + labels + "}").ok());
  EXPECT_FALSE(ParseMetricSpec("a{" + labels + ",more=v}").ok());
  EXPECT_TRUE(ParseMetricSpec(std::string(kMetricSpecBytesMax, 'a')).ok());
  EXPECT_FALSE(ParseMetricSpec(std::string(kMetricSpecBytesMax + 1, 'a')).ok());
}

TEST(ScrapePlansTest, LabelsChooseTheEngine) {
  const auto plans = ScrapePlans::Create({});
  ASSERT_TRUE(plans.ok()) << plans.status();
  using Labels = std::map<std::string, std::string>;
  const std::string legacy(kLegacyEngineLabelKey);
  EXPECT_EQ(plans->ForLabels(Labels{}).engine(), "vllm");
  EXPECT_EQ(plans->ForLabels(Labels{{"llm-d.ai/engine-type", "sglang"}}).engine(), "sglang");
  EXPECT_EQ(plans->ForLabels(Labels{{legacy, "sglang"}}).engine(), "sglang");
  EXPECT_EQ(
      plans->ForLabels(Labels{{legacy, "sglang"}, {"llm-d.ai/engine-type", "triton"}}).engine(),
      "triton");
  EXPECT_EQ(plans->ForLabels(Labels{{"llm-d.ai/engine-type", "mystery"}}).engine(), "vllm");
  EXPECT_THAT(plans->ForEngine("triton").note(), HasSubstr("nv_inference_exec_count"));
}

TEST(ScrapePlansTest, AUserConfigReplacesTheBuiltinEntirely) {
  const auto plans = ScrapePlans::Create(
      {.default_engine = "sglang", .engine_configs = {{.name = "vllm", .waiting_spec = "w"}}});
  ASSERT_TRUE(plans.ok()) << plans.status();
  EXPECT_EQ(plans->ForEngine("vllm").fields(), kSampleWaiting);
  EXPECT_EQ(plans->ForEngine("").engine(), "sglang");
}

std::string CreateError(const CoreMetricsOptions& options) {
  return std::string(ScrapePlans::Create(options).status().message());
}

TEST(ScrapePlansTest, ErrorsNameTheField) {
  EXPECT_EQ(CreateError({.engine_configs = {{}}}),
            "engineConfigs[0].name: engine config name cannot be empty");
  EXPECT_THAT(CreateError({.engine_configs = {{.name = "default"}}}), HasSubstr("reserved"));
  EXPECT_EQ(CreateError({.engine_configs = {{.name = "a"}, {.name = "a"}}}),
            "engineConfigs[1].name: \"a\" appears twice, expected unique names");
  EXPECT_EQ(CreateError({.default_engine = "x"}), "defaultEngine \"x\" not found in engineConfigs");
  EXPECT_EQ(
      CreateError({.engine_configs = {{.name = "a", .kv_used_spec = "b{"}}}),
      "engine \"a\": kvUsageSpec: \"b{\", expected name or name{label=value,label=\"value\"}");
  EXPECT_EQ(
      CreateError({.engine_configs = {{.name = "a", .custom_metrics = {{"k", "m"}, {"k", "m"}}}}}),
      "engine \"a\": customMetrics[1].attributeKey: \"k\", expected a unique, non-empty key");
  EXPECT_EQ(CreateError({.engine_configs = {{.name = "a", .custom_metrics = {{"k", ""}}}}}),
            "engine \"a\": customMetrics[0].metricSpec: \"\", expected a metric name");
}

TEST(ScrapePlansTest, LimitsHold) {
  CoreMetricsOptions options;
  EngineConfig full{.name = "full"};
  for (uint32_t i = 0; i < kCustomMetricsMax; ++i) {
    full.custom_metrics.push_back({absl::StrCat("k", i), absl::StrCat("m", i)});
  }
  full.waiting_spec = full.running_spec = full.kv_used_spec = full.lora_spec =
      full.cache_info_spec = "x";
  options.engine_configs.push_back(full);
  ASSERT_EQ(CreateError(options), "");
  EndpointSample sample;
  const auto plan = ScrapePlan::Compile(full);
  Extract(*plan, "m31 5\n", sample);
  EXPECT_EQ(sample.custom_present, 1u << 31);
  EXPECT_EQ(sample.custom_values[31], 5);

  options.engine_configs[0].custom_metrics.push_back({"one more", "m"});
  EXPECT_THAT(CreateError(options), HasSubstr("expected at most 32"));
  options.engine_configs.clear();
  for (uint32_t i = 0; i <= kEngineConfigsMax; ++i)
    options.engine_configs.push_back({.name = absl::StrCat(i)});
  EXPECT_THAT(CreateError(options), HasSubstr("expected at most 64"));
  options.engine_configs.pop_back();
  EXPECT_EQ(CreateError(options), "");
}

}  // namespace
}  // namespace weir::io
