// weir/io/scrape/scrape_plan.h: an engine's metrics compiled for one pass over a page. Start at
// ScrapePlans::Create(), which holds one plan per engine.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "weir/io/scrape/endpoint_sample.h"
#include "weir/io/scrape/engine_config.h"

namespace weir::io {

// Metrics of one plan: the six built-in meanings (the two block sizes have one each) and the custom
// ones.
inline constexpr uint32_t kScrapeTargetsMax = 8 + kCustomMetricsMax;
static_assert(kCustomMetricsMax <= 32, "EndpointSample::custom_present has 32 bits");

// An immutable compiled plan. Const methods are safe to call concurrently.
class ScrapePlan {
 public:
  // Compiles the metrics of `config` that `fields` (SampleField bits) name; custom metrics always.
  // Errors: kInvalidArgument naming the engine, the field and the value. [control]
  static absl::StatusOr<ScrapePlan> Compile(const EngineConfig& config,
                                            uint32_t fields = kSampleAllFields);

  // The engine's name in the configuration.
  const std::string& engine() const noexcept { return engine_; }
  // What the owner of such an endpoint should be told once, for example a metric that weir does
  // not read on purpose; empty if nothing.
  const std::string& note() const noexcept { return note_; }
  // The SampleField bits that pages are searched for.
  uint32_t fields() const noexcept { return fields_; }
  // Attribute keys of custom_values, in order.
  const std::vector<std::string>& custom_keys() const noexcept { return custom_keys_; }

 private:
  friend ExtractStats Extract(const ScrapePlan&, std::string_view, EndpointSample&);
  friend class PageReader;

  enum class Meaning : uint8_t { kCount, kRatio, kCustom, kCacheInfo, kLora };
  struct Target {
    MetricSpec spec;
    Meaning meaning = Meaning::kCount;
    Aggregate aggregate = Aggregate::kAuto;
    SampleField field = kSampleWaiting;  // for counts and ratios
    uint32_t custom_index = 0;           // for custom metrics
  };
  // Targets [first, first + count) share one metric name.
  struct Family {
    std::string name;
    uint32_t first = 0;
    uint32_t count = 0;
  };

  absl::Status Add(std::string_view field_name, std::string_view spec, Target target);
  absl::Status AddCacheSizes(const EngineConfig& config, uint32_t fields);
  absl::Status AddCustom(const EngineConfig& config);
  void BuildFamilies();

  std::string engine_;
  std::string note_;
  uint32_t fields_ = 0;
  std::vector<std::string> custom_keys_;
  std::string block_tokens_label_;  // empty: the size does not come from a label
  std::string block_count_label_;
  std::vector<Target> targets_;  // sorted by name
  std::vector<Family> families_;
  // Every wanted name starts with prefix_ and goes on with a byte of next_: most other lines are
  // told apart by that one byte.
  std::string prefix_;
  std::array<bool, 256> next_{};
};

// Reads `page` in one pass and updates `sample` with what it holds. A wanted metric without a
// usable series keeps its old value in `sample` and counts as missing.
//
// - Counts are truncated to integers and saturate at 2^32 - 1; NaN, infinite and negative values
//   are refused.
// - Several series of one metric: see Aggregate. LoRA: the series with the largest value (it is a
//   time), the first of equal ones. Cache sizes in labels: newest, else first series.
// - Histograms and summaries never match. Garbage lines are skipped; a last line without a line
// feed
//   is taken as cut off.
// Linear in the page; allocates only where a list of `sample` outgrows what it ever held.
// [io thread, serial per sample]
ExtractStats Extract(const ScrapePlan& plan, std::string_view page, EndpointSample& sample);

// The plans of all configured engines. Immutable; const methods are safe to call concurrently.
class ScrapePlans {
 public:
  // Compiles built-in engines and `options`. `fields` names the signals that configured plugins
  // need. Errors: kInvalidArgument (empty, reserved or doubled engine name, unknown default engine,
  // bad specification). [control]
  static absl::StatusOr<ScrapePlans> Create(const CoreMetricsOptions& options,
                                            uint32_t fields = kSampleAllFields);

  // The plan of an engine; that of the default engine if the name is empty or unknown. The
  // reference lives as long as this object. O(engines), no allocation. [concurrent]
  const ScrapePlan& ForEngine(std::string_view engine) const noexcept;

  // The plan for an endpoint with these labels, by engine_label_key, then the legacy key.
  // `Labels` is any map-like range of string pairs. [concurrent]
  template <typename Labels>
  const ScrapePlan& ForLabels(const Labels& labels) const {
    std::string_view engine;
    for (const auto& [key, value] : labels) {
      if (key == engine_label_key_) return ForEngine(value);
      if (key == kLegacyEngineLabelKey) engine = value;
    }
    return ForEngine(engine);
  }

 private:
  std::string engine_label_key_;
  std::vector<std::unique_ptr<const ScrapePlan>> plans_;  // the default engine first
};

}  // namespace weir::io
