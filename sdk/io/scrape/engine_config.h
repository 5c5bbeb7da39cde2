// weir/io/scrape/engine_config.h: which metric of an engine means what. The built-in engines are
// one table entry each; `core-metrics-extractor` parameters replace or add engines.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace weir::io {

// Engines one configuration may name.
inline constexpr uint32_t kEngineConfigsMax = 64;
// Bytes of one metric specification, and label conditions in it.
inline constexpr uint32_t kMetricSpecBytesMax = 1024;
inline constexpr uint32_t kMetricSpecLabelsMax = 8;

// What several matching series of one metric amount to. It decides only if none of them carries a
// timestamp; otherwise the newest series counts, and the first of equally new ones.
enum class Aggregate : uint8_t {
  kAuto,   // counts: sum; KV usage: max (data-parallel ranks behind one address)
  kSum,    // counts: sum; KV usage: max, since a sum of ratios means nothing
  kMax,    // the largest
  kFirst,  // the first on the page
};

// A metric name and the labels a series must carry. "name" or `name{label=value,label="value"}`.
struct MetricSpec {
  struct Label {
    std::string name;
    std::string value;
  };
  std::string name;
  std::vector<Label> labels;
};

// Errors: kInvalidArgument naming the text; commas and quotes inside values are not possible.
// [control]
absl::StatusOr<MetricSpec> ParseMetricSpec(std::string_view text);

// A metric that becomes the endpoint attribute `attribute_key`.
struct CustomMetric {
  std::string attribute_key;
  std::string metric_spec;
  Aggregate aggregate = Aggregate::kFirst;
};

// One engine. An empty specification means: not read.
struct EngineConfig {
  std::string name;
  std::string waiting_spec;                       // queuedRequestsSpec
  std::string running_spec;                       // runningRequestsSpec
  std::string kv_used_spec;                       // kvUsageSpec
  std::string lora_spec;                          // loraSpec
  std::string cache_info_spec;                    // cacheInfoSpec; its labels carry the two sizes
  std::string block_tokens_label = "block_size";  // cacheBlockSizeLabelName
  std::string block_count_label = "num_gpu_blocks";  // cacheNumBlocksLabelName
  std::string block_tokens_spec;                     // cacheBlockSizeSpec; wins over the label
  std::string block_count_spec;                      // cacheNumBlocksSpec; wins over the label
  Aggregate aggregate = Aggregate::kAuto;            // of waiting, running and KV usage
  std::vector<CustomMetric> custom_metrics;
  std::string note;  // not configurable; see ScrapePlan::note()
};

// One row of the built-in table.
struct BuiltinEngine {
  std::string_view name;
  std::string_view waiting, running, kv_used, lora;
  std::string_view cache_info, block_tokens_label, block_count_label;  // sizes in labels, or
  std::string_view block_tokens, block_count;                          // sizes as values
  std::string_view note;  // what a user of this engine must know; empty if nothing
};

// The engines weir knows without configuration. Lives forever. [concurrent]
std::span<const BuiltinEngine> BuiltinEngines() noexcept;

// Parameters of `core-metrics-extractor`.
struct CoreMetricsOptions {
  std::string engine_label_key = "llm-d.ai/engine-type";
  std::string default_engine = "vllm";
  std::vector<EngineConfig> engine_configs;  // replace built-ins of the same name entirely
};

// The label that says an endpoint's engine when `engine_label_key` is absent.
inline constexpr std::string_view kLegacyEngineLabelKey = "inference.networking.k8s.io/engine-type";

}  // namespace weir::io
