#include "weir/io/scrape/scrape_plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "absl/strings/str_cat.h"
#include "weir/io/scrape/exposition.h"

namespace weir::io {
namespace {

uint32_t Saturate(double value) noexcept {
  constexpr double kMax = std::numeric_limits<uint32_t>::max();
  return value >= kMax ? std::numeric_limits<uint32_t>::max() : static_cast<uint32_t>(value);
}

bool SeriesMatches(std::string_view labels, const MetricSpec& spec) noexcept {
  for (const MetricSpec::Label& wanted : spec.labels) {
    bool found = false;
    LabelCursor cursor(labels);
    while (const auto label = cursor.Next()) {
      if (label->name != wanted.name) continue;
      found = LabelValueEquals(label->value, wanted.value);
      break;
    }
    if (!found) return false;
  }
  return true;
}

std::string_view FindLabel(std::string_view labels, std::string_view name) noexcept {
  LabelCursor cursor(labels);
  while (const auto label = cursor.Next()) {
    if (label->name == name) return label->value;
  }
  return {};
}

// Replaces `names` by the entries of a comma list, blanks around entries cut; returns how many did
// not fit. Adapter names with escapes keep them: no engine emits any.
uint32_t AssignAdapters(std::string_view list, std::vector<std::string>& names) {
  uint32_t used = 0;
  uint32_t dropped = 0;
  while (!list.empty()) {
    const size_t comma = list.find(',');
    std::string_view name = list.substr(0, comma);
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
    const size_t first = name.find_first_not_of(" \t");
    if (first == std::string_view::npos) continue;
    name = name.substr(first, name.find_last_not_of(" \t") - first + 1);
    if (used == kLoraAdaptersMax) {
      ++dropped;
      continue;
    }
    if (used == names.size()) names.emplace_back();
    names[used++].assign(name);
  }
  names.resize(used);
  return dropped;
}

}  // namespace

// One pass over one page. Lives on the stack of Extract().
class PageReader {
 public:
  explicit PageReader(const ScrapePlan& plan) noexcept : plan_(plan) {}

  void Read(std::string_view page) noexcept {
    const char* at = page.data();
    const char* const end = at + page.size();
    while (at < end) {
      const auto* feed = static_cast<const char*>(std::memchr(at, '\n', end - at));
      const char* line_end = feed == nullptr ? end : feed;
      ReadLine({at, static_cast<size_t>(line_end - at)}, feed == nullptr);
      at = line_end + 1;
    }
  }

  void Finish(EndpointSample& sample) {
    sample.present = 0;
    sample.custom_present = 0;
    sample.custom_values.resize(plan_.custom_keys_.size());
    for (size_t i = 0; i < plan_.targets_.size(); ++i) Store(plan_.targets_[i], states_[i], sample);
    stats_.updated = sample.present != 0 || sample.custom_present != 0;
  }

  const ExtractStats& stats() const noexcept { return stats_; }

 private:
  using Meaning = ScrapePlan::Meaning;
  using Target = ScrapePlan::Target;

  struct State {
    uint32_t series = 0;
    bool has_timestamp = false;
    int64_t timestamp_ms = 0;
    double first = 0;  // of the first series, or of the newest once one has a timestamp
    double sum = 0;
    double largest = 0;
    std::string_view labels;  // of the chosen series, for metrics that say it in labels
  };

  // The family that the name at the start of `text` is, or -1.
  int FindFamily(std::string_view text) const noexcept {
    const size_t prefix = plan_.prefix_.size();
    if (text.size() <= prefix || !plan_.next_[static_cast<unsigned char>(text[prefix])] ||
        std::memcmp(text.data(), plan_.prefix_.data(), prefix) != 0) {
      return -1;
    }
    for (size_t i = 0; i < plan_.families_.size(); ++i) {
      const std::string& name = plan_.families_[i].name;
      const bool ends = text.size() == name.size() ||
                        (text.size() > name.size() && !IsMetricNameByte(text[name.size()]));
      if (ends && std::memcmp(text.data(), name.data(), name.size()) == 0) {
        return static_cast<int>(i);
      }
    }
    return -1;
  }

  void ReadLine(std::string_view line, bool cut) noexcept {
    while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
    if (line.empty()) return;
    if (line.front() == '#') return ReadType(line);
    const int family = FindFamily(line);
    if (family < 0 || skipped_[family]) return;
    ExpositionSample sample;
    if (cut || !ParseSampleLine(line, sample)) {
      ++stats_.malformed_lines;
      return;
    }
    const ScrapePlan::Family& wanted = plan_.families_[family];
    for (uint32_t i = wanted.first; i < wanted.first + wanted.count; ++i) {
      if (SeriesMatches(sample.labels, plan_.targets_[i].spec)) {
        Take(sample, plan_.targets_[i], states_[i]);
      }
    }
  }

  // `# TYPE name summary` and `... histogram` put the family out of reach: its bare series are
  // quantiles, not a value.
  void ReadType(std::string_view line) noexcept {
    constexpr std::string_view kType = "# TYPE ";
    if (line.size() <= kType.size() || line.substr(0, kType.size()) != kType) return;
    line.remove_prefix(kType.size());
    const int family = FindFamily(line);
    if (family < 0) return;
    line.remove_prefix(plan_.families_[family].name.size());
    while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
    skipped_[family] = line.starts_with("summary") || line.starts_with("histogram");
  }

  void Take(const ExpositionSample& sample, const Target& target, State& state) noexcept {
    const bool number_needed = target.meaning != Meaning::kCacheInfo;
    const bool sign_needed = target.meaning == Meaning::kCount || target.meaning == Meaning::kRatio;
    if ((number_needed && !std::isfinite(sample.value)) || (sign_needed && sample.value < 0)) {
      ++stats_.bad_values;
      return;
    }
    const bool first = state.series++ == 0;
    const bool newer =
        sample.has_timestamp && (!state.has_timestamp || sample.timestamp_ms > state.timestamp_ms);
    const bool largest = first || sample.value > state.largest;
    if (target.meaning == Meaning::kLora ? largest : (first || newer)) state.labels = sample.labels;
    if (first || newer) state.first = sample.value;
    if (largest) state.largest = sample.value;
    state.sum += sample.value;
    if (newer) {
      state.has_timestamp = true;
      state.timestamp_ms = sample.timestamp_ms;
    }
  }

  static double Amount(const Target& target, const State& state) noexcept {
    if (state.has_timestamp || state.series == 1) return state.first;
    switch (target.aggregate) {
      case Aggregate::kFirst:
        return state.first;
      case Aggregate::kMax:
        return state.largest;
      case Aggregate::kSum:
      case Aggregate::kAuto:
        return target.meaning == Meaning::kRatio ? state.largest : state.sum;
    }
    return state.first;
  }

  void Store(const Target& target, const State& state, EndpointSample& sample) {
    if (target.meaning == Meaning::kLora) {
      if (state.series != 0) StoreLora(state.labels, sample);
      return;
    }
    if (state.series == 0) {
      ++stats_.missing;
      return;
    }
    if (target.meaning == Meaning::kCacheInfo) return StoreCacheInfo(state.labels, sample);
    const double amount = Amount(target, state);
    if (target.meaning == Meaning::kCustom) {
      if (!std::isfinite(amount)) {
        ++stats_.bad_values;  // a sum that overflowed
        return;
      }
      sample.custom_values[target.custom_index] = amount;
      sample.custom_present |= 1u << target.custom_index;
      return;
    }
    sample.present |= target.field;
    switch (target.field) {
      case kSampleWaiting:
        sample.waiting_requests = Saturate(amount);
        break;
      case kSampleRunning:
        sample.running_requests = Saturate(amount);
        break;
      case kSampleBlockTokens:
        sample.block_tokens = Saturate(amount);
        break;
      case kSampleBlockCount:
        sample.block_count = Saturate(amount);
        break;
      case kSampleKvUsed:
        sample.kv_used_ratio =
            static_cast<float>(std::min<double>(amount, std::numeric_limits<float>::max()));
        break;
      case kSampleLora:
        break;
    }
  }

  void StoreCacheInfo(std::string_view labels, EndpointSample& sample) noexcept {
    const auto store = [&](const std::string& label, SampleField field, uint32_t& out) {
      if (label.empty()) return;
      const std::string_view text = FindLabel(labels, label);
      if (const auto number = ParseLabelInteger(text)) {
        out = *number;
        sample.present |= field;
      } else {
        ++(text.empty() ? stats_.missing : stats_.bad_values);
      }
    };
    store(plan_.block_tokens_label_, kSampleBlockTokens, sample.block_tokens);
    store(plan_.block_count_label_, kSampleBlockCount, sample.block_count);
  }

  void StoreLora(std::string_view labels, EndpointSample& sample) {
    stats_.adapters_dropped +=
        AssignAdapters(FindLabel(labels, "running_lora_adapters"), sample.lora_active);
    stats_.adapters_dropped +=
        AssignAdapters(FindLabel(labels, "waiting_lora_adapters"), sample.lora_waiting);
    const std::string_view most = FindLabel(labels, "max_lora");
    if (const auto number = ParseLabelInteger(most)) {
      sample.lora_adapters_max = *number;
    } else if (!most.empty()) {
      ++stats_.bad_values;
    }
    sample.present |= kSampleLora;
  }

  const ScrapePlan& plan_;
  ExtractStats stats_;
  std::array<State, kScrapeTargetsMax> states_{};
  std::array<bool, kScrapeTargetsMax> skipped_{};  // by family
};

ExtractStats Extract(const ScrapePlan& plan, std::string_view page, EndpointSample& sample) {
  PageReader reader(plan);
  if (!plan.targets_.empty()) reader.Read(page);
  reader.Finish(sample);
  return reader.stats();
}

absl::Status ScrapePlan::Add(std::string_view field_name, std::string_view spec, Target target) {
  if (spec.empty()) return absl::OkStatus();
  absl::StatusOr<MetricSpec> parsed = ParseMetricSpec(spec);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "engine \"", engine_, "\": ", std::string(field_name), ": ", parsed.status().message()));
  }
  target.spec = *std::move(parsed);
  targets_.push_back(std::move(target));
  return absl::OkStatus();
}

absl::Status ScrapePlan::AddCacheSizes(const EngineConfig& config, uint32_t fields) {
  struct Size {
    SampleField field;
    std::string_view spec_name;
    const std::string& spec;
    const std::string& label;
    std::string& plan_label;
  };
  const Size sizes[] = {{kSampleBlockTokens, "cacheBlockSizeSpec", config.block_tokens_spec,
                         config.block_tokens_label, block_tokens_label_},
                        {kSampleBlockCount, "cacheNumBlocksSpec", config.block_count_spec,
                         config.block_count_label, block_count_label_}};
  bool label_wanted = false;
  for (const Size& size : sizes) {
    if ((fields & size.field) == 0) continue;
    if (!size.spec.empty()) {
      Target target{
          .meaning = Meaning::kCount, .aggregate = Aggregate::kFirst, .field = size.field};
      if (auto status = Add(size.spec_name, size.spec, std::move(target)); !status.ok()) {
        return status;
      }
      fields_ |= size.field;
    } else if (!config.cache_info_spec.empty() && !size.label.empty()) {
      size.plan_label = size.label;
      fields_ |= size.field;
      label_wanted = true;
    }
  }
  if (!label_wanted) return absl::OkStatus();
  return Add("cacheInfoSpec", config.cache_info_spec, {.meaning = Meaning::kCacheInfo});
}

absl::Status ScrapePlan::AddCustom(const EngineConfig& config) {
  if (config.custom_metrics.size() > kCustomMetricsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("engine \"", engine_, "\": customMetrics: ", config.custom_metrics.size(),
                     " entries, expected at most ", kCustomMetricsMax));
  }
  std::set<std::string_view> keys;
  for (size_t i = 0; i < config.custom_metrics.size(); ++i) {
    const CustomMetric& metric = config.custom_metrics[i];
    const std::string field = absl::StrCat("customMetrics[", i, "]");
    if (metric.attribute_key.empty() || !keys.insert(metric.attribute_key).second) {
      return absl::InvalidArgumentError(absl::StrCat("engine \"", engine_, "\": ", field,
                                                     ".attributeKey: \"", metric.attribute_key,
                                                     "\", expected a unique, non-empty key"));
    }
    if (metric.metric_spec.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("engine \"", engine_, "\": ", field,
                                                     ".metricSpec: \"\", expected a metric name"));
    }
    Target target{.meaning = Meaning::kCustom,
                  .aggregate = metric.aggregate,
                  .custom_index = static_cast<uint32_t>(i)};
    if (auto status = Add(field + ".metricSpec", metric.metric_spec, std::move(target));
        !status.ok()) {
      return status;
    }
    custom_keys_.push_back(metric.attribute_key);
  }
  return absl::OkStatus();
}

void ScrapePlan::BuildFamilies() {
  std::stable_sort(targets_.begin(), targets_.end(),
                   [](const Target& a, const Target& b) { return a.spec.name < b.spec.name; });
  for (uint32_t i = 0; i < targets_.size(); ++i) {
    if (families_.empty() || families_.back().name != targets_[i].spec.name) {
      families_.push_back({targets_[i].spec.name, i, 0});
    }
    ++families_.back().count;
  }
  if (families_.empty()) return;
  // Sorted names share what the first and the last share. The prefix stays shorter than every
  // name, so that each has a next byte.
  const std::string& first = families_.front().name;
  const std::string& last = families_.back().name;
  size_t shared = 0;
  size_t shortest = first.size();
  for (const Family& family : families_) shortest = std::min(shortest, family.name.size());
  while (shared + 1 < shortest && first[shared] == last[shared]) ++shared;
  prefix_ = first.substr(0, shared);
  for (const Family& family : families_) {
    next_[static_cast<unsigned char>(family.name[shared])] = true;
  }
}

absl::StatusOr<ScrapePlan> ScrapePlan::Compile(const EngineConfig& config, uint32_t fields) {
  struct Row {
    std::string_view field_name;
    const std::string& spec;
    Meaning meaning;
    SampleField field;
  };
  const Row rows[] = {{"queuedRequestsSpec", config.waiting_spec, Meaning::kCount, kSampleWaiting},
                      {"runningRequestsSpec", config.running_spec, Meaning::kCount, kSampleRunning},
                      {"kvUsageSpec", config.kv_used_spec, Meaning::kRatio, kSampleKvUsed},
                      {"loraSpec", config.lora_spec, Meaning::kLora, kSampleLora}};
  ScrapePlan plan;
  plan.engine_ = config.name;
  plan.note_ = config.note;
  for (const Row& row : rows) {
    if ((fields & row.field) == 0 || row.spec.empty()) continue;
    Target target{.meaning = row.meaning, .aggregate = config.aggregate, .field = row.field};
    if (auto status = plan.Add(row.field_name, row.spec, std::move(target)); !status.ok()) {
      return status;
    }
    plan.fields_ |= row.field;
  }
  if (auto status = plan.AddCacheSizes(config, fields); !status.ok()) return status;
  if (auto status = plan.AddCustom(config); !status.ok()) return status;
  plan.BuildFamilies();
  return plan;
}

}  // namespace weir::io
