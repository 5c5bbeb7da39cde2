#include <algorithm>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "weir/io/scrape/scrape_plan.h"

namespace weir::io {
namespace {

EngineConfig FromBuiltin(const BuiltinEngine& engine) {
  return {.name = std::string(engine.name),
          .waiting_spec = std::string(engine.waiting),
          .running_spec = std::string(engine.running),
          .kv_used_spec = std::string(engine.kv_used),
          .lora_spec = std::string(engine.lora),
          .cache_info_spec = std::string(engine.cache_info),
          .block_tokens_label = std::string(engine.block_tokens_label),
          .block_count_label = std::string(engine.block_count_label),
          .block_tokens_spec = std::string(engine.block_tokens),
          .block_count_spec = std::string(engine.block_count),
          .note = std::string(engine.note)};
}

absl::Status CheckNames(const CoreMetricsOptions& options) {
  if (options.engine_configs.size() > kEngineConfigsMax) {
    return absl::InvalidArgumentError(absl::StrCat("engineConfigs: ", options.engine_configs.size(),
                                                   " entries, expected at most ",
                                                   kEngineConfigsMax));
  }
  std::set<std::string_view> names;
  for (size_t i = 0; i < options.engine_configs.size(); ++i) {
    const std::string& name = options.engine_configs[i].name;
    const std::string field = absl::StrCat("engineConfigs[", i, "].name");
    if (name.empty()) {
      return absl::InvalidArgumentError(field + ": engine config name cannot be empty");
    }
    if (name == "default") {
      return absl::InvalidArgumentError(
          field +
          ": \"default\" is reserved, expected an engine's name; the engine for unlabelled "
          "endpoints is chosen by defaultEngine");
    }
    if (!names.insert(name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, ": \"", name, "\" appears twice, expected unique names"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ScrapePlans> ScrapePlans::Create(const CoreMetricsOptions& options,
                                                uint32_t fields) {
  if (auto status = CheckNames(options); !status.ok()) return status;
  ScrapePlans plans;
  plans.engine_label_key_ = options.engine_label_key;
  std::vector<EngineConfig> configs = options.engine_configs;
  for (const BuiltinEngine& engine : BuiltinEngines()) {
    const bool replaced = std::any_of(configs.begin(), configs.end(),
                                      [&](const EngineConfig& c) { return c.name == engine.name; });
    if (!replaced) configs.push_back(FromBuiltin(engine));
  }
  for (const EngineConfig& config : configs) {
    auto plan = ScrapePlan::Compile(config, fields);
    if (!plan.ok()) return plan.status();
    auto owned = std::make_unique<const ScrapePlan>(*std::move(plan));
    const bool is_default = config.name == options.default_engine;
    plans.plans_.insert(is_default ? plans.plans_.begin() : plans.plans_.end(), std::move(owned));
  }
  if (plans.plans_.front()->engine() != options.default_engine) {
    return absl::InvalidArgumentError(
        absl::StrCat("defaultEngine \"", options.default_engine, "\" not found in engineConfigs"));
  }
  return plans;
}

const ScrapePlan& ScrapePlans::ForEngine(std::string_view engine) const noexcept {
  for (const auto& plan : plans_) {
    if (plan->engine() == engine) return *plan;
  }
  return *plans_.front();
}

}  // namespace weir::io
