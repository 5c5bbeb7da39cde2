// PipelineLoader: what the file leaves out, and what must hold with it.
#include <algorithm>

#include "base/text.h"
#include "engine/known_types.h"
#include "engine/pipeline_loader.h"
#include "weir/limits.h"

namespace weir::internal {
namespace {

constexpr std::string_view kProfileHandler = "single-profile-handler";
constexpr std::string_view kPicker = "max-score-picker";
constexpr std::string_view kMetricsSource = "metrics-data-source";
constexpr std::string_view kMetricsExtractor = "core-metrics-extractor";
constexpr std::string_view kParsers[] = {"openai-parser", "anthropic-parser", "vllmhttp-parser",
                                         "passthrough-parser"};

// True if the type says that it reads what only a metrics page tells.
bool ReadsMetrics(const weir_plugin* plugin) {
  constexpr uint64_t kMetrics =
      WEIR_LOAD_WAITING_REQUESTS | WEIR_LOAD_RUNNING_REQUESTS | WEIR_LOAD_KV_USED_RATIO;
  return plugin != nullptr && WEIR_HAS(weir_plugin, plugin, load_columns) &&
         (plugin->load_columns & kMetrics) != 0;
}

}  // namespace

bool PipelineLoader::AnyOpaque() const {
  return std::any_of(facts_.begin(), facts_.end(), [](const Facts& one) { return one.opaque; });
}

std::optional<uint32_t> PipelineLoader::FindByType(std::string_view type) const {
  for (uint32_t i = 0; i < spec_.plugins.size(); ++i) {
    if (spec_.plugins[i].type == type) return i;
  }
  return std::nullopt;
}

std::optional<uint32_t> PipelineLoader::AddPlugin(std::string_view type, std::string_view why) {
  if (const auto taken = by_name_.find(type); taken != by_name_.end()) {
    problems_.Error(
        facts_[taken->second].line, facts_[taken->second].entry,
        Concat("the name ", Quote(type), " is taken by a plugin of type ",
               Quote(spec_.plugins[taken->second].type), ", but one of that type is added for ",
               why, "; give this one another name"));
    return std::nullopt;
  }
  const auto index = static_cast<uint32_t>(spec_.plugins.size());
  PluginSpec plugin;
  plugin.name = type;
  plugin.added = true;
  const ConfigNode node{.kind = ConfigNode::Kind::kString, .string = std::string(type)};
  plugin.type = type;
  plugin.parameters.kind = ConfigNode::Kind::kMap;
  Facts facts;
  facts.entry = type;
  ResolveType(node, Concat(type, " (added for ", why, ")"), &plugin, &facts);
  by_name_.emplace(plugin.name, index);
  spec_.plugins.push_back(std::move(plugin));
  facts_.push_back(std::move(facts));
  return index;
}

void PipelineLoader::AddDefaultProfile() {
  if (profiles_given_) return;
  ProfileSpec profile;
  profile.name = "default";
  bool has_picker = false;
  for (uint32_t i = 0; i < spec_.plugins.size(); ++i) {
    if (facts_[i].opaque) continue;
    if (HasRole(i, kRoleFilter)) profile.filters.push_back(i);
    if (HasRole(i, kRoleScorer)) profile.scorers.push_back({i, 1});
    if (!HasRole(i, kRolePicker)) continue;
    if (has_picker) {
      problems_.Error(facts_[i].line, facts_[i].entry,
                      Concat("a second picker, ", Name(i), ", after ", Name(profile.picker),
                             "; expected one, or schedulingProfiles that choose"));
      continue;
    }
    has_picker = true;
    profile.picker = i;
  }
  spec_.profiles.push_back(std::move(profile));
  profile_has_picker_.push_back(has_picker);
}

void PipelineLoader::CheckProfileHandler() {
  std::optional<uint32_t> handler;
  for (uint32_t i = 0; i < spec_.plugins.size(); ++i) {
    if (!HasRole(i, kRoleProfileHandler)) continue;
    if (handler.has_value()) {
      problems_.Error(facts_[i].line, facts_[i].entry,
                      Concat("a second profile handler, ", Name(i), ", after ", Name(*handler),
                             "; expected one"));
      return;
    }
    handler = i;
  }
  const size_t count = spec_.profiles.size();
  if (count == 0) return;  // none of the file's could be read
  if (!handler.has_value()) {
    if (count == 1) {
      handler = AddPlugin(kProfileHandler, "the only profile");
    } else if (!AnyOpaque()) {
      problems_.Error(0, "plugins",
                      Concat("no profile handler for ", count, " profiles, expected one"));
    }
  }
  if (!handler.has_value() || facts_[*handler].opaque) return;
  spec_.profile_handler = *handler;
  const auto* table = FindInterface<weir_profile_handler>(*spec_.plugins[*handler].descriptor,
                                                          WEIR_INTERFACE_PROFILE_HANDLER);
  if (table->profiles_max != 0 && count > table->profiles_max) {
    problems_.Error(facts_[*handler].line, facts_[*handler].entry,
                    Concat(Name(*handler), " handles ", table->profiles_max, " profile",
                           table->profiles_max == 1 ? "" : "s", ", the file has ", count));
  }
}

void PipelineLoader::AddDefaultPicker() {
  std::optional<uint32_t> picker;
  for (uint32_t i = 0; i < spec_.plugins.size() && !picker.has_value(); ++i) {
    if (HasRole(i, kRolePicker)) picker = i;
  }
  for (size_t i = 0; i < spec_.profiles.size(); ++i) {
    if (profile_has_picker_[i]) continue;
    if (!picker.has_value()) picker = AddPlugin(kPicker, "profiles without a picker");
    if (!picker.has_value()) return;
    spec_.profiles[i].picker = *picker;
  }
}

void PipelineLoader::AddDefaultDataLayer() {
  if (!inject_data_layer_) return;
  for (const uint32_t source : sources_) {
    if (spec_.plugins[source].type == kMetricsSource) return;
  }
  for (const std::string_view type : {kMetricsSource, kMetricsExtractor}) {
    auto plugin = FindByType(type);
    if (!plugin.has_value()) plugin = AddPlugin(type, "the data layer");
    if (!plugin.has_value()) return;
    auto& used = spec_.data_layer;
    if (std::find(used.begin(), used.end(), *plugin) == used.end()) used.push_back(*plugin);
  }
}

void PipelineLoader::AddDefaultParsers() {
  if (parsers_given_) return;
  for (const std::string_view type : kParsers) {
    auto plugin = FindByType(type);
    if (!plugin.has_value()) plugin = AddPlugin(type, "requests");
    if (plugin.has_value()) spec_.parsers.push_back(*plugin);
  }
}

void PipelineLoader::CheckMetricsReaders() {
  if (inject_data_layer_ || FindByType(kMetricsExtractor).has_value()) return;
  for (uint32_t i = 0; i < spec_.plugins.size(); ++i) {
    if (!ReadsMetrics(spec_.plugins[i].descriptor)) continue;
    problems_.Error(facts_[i].line, facts_[i].entry,
                    Concat(Name(i),
                           " reads the engines' metrics, which nothing provides: "
                           "injectDefaults is false and there is no ",
                           Quote(kMetricsExtractor)));
  }
}

void PipelineLoader::CheckExtractors() {
  const auto& used = spec_.data_layer;
  for (uint32_t i = 0; i < spec_.plugins.size(); ++i) {
    for (const int32_t writer : facts_[i].writers) {
      if (writer < 0 || !HasRole(static_cast<uint32_t>(writer), kRoleExtractor) ||
          spec_.plugins[writer].descriptor != nullptr || facts_[writer].opaque ||
          std::find(used.begin(), used.end(), static_cast<uint32_t>(writer)) != used.end()) {
        continue;
      }
      problems_.Error(facts_[writer].line, facts_[writer].entry,
                      Concat(Name(i), " reads what ", Name(static_cast<uint32_t>(writer)),
                             " extracts, expected it among the extractors of dataLayer.sources"));
      return;
    }
  }
}

void PipelineLoader::CheckLimits() {
  if (spec_.plugins.size() > kPluginsMax) {
    problems_.Error(0, "plugins",
                    Concat(spec_.plugins.size(),
                           " plugins with those that were added, expected at most ", kPluginsMax));
  }
  if (spec_.columns.size() > kAttributesMax) {
    problems_.Error(0, "plugins",
                    Concat("attributes of all producers: ", spec_.columns.size(),
                           ", expected at most ", kAttributesMax));
  }
  for (size_t i = 0; i < spec_.profiles.size(); ++i) {
    const ProfileSpec& profile = spec_.profiles[i];
    const size_t count = profile.filters.size() + profile.scorers.size();
    if (count > kPluginsPerProfileMax) {
      problems_.Error(0, profiles_given_ ? Concat("schedulingProfiles[", i, "]") : "plugins",
                      Concat(count, " filters and scorers in profile ", Quote(profile.name),
                             ", expected at most ", kPluginsPerProfileMax));
    }
  }
}

}  // namespace weir::internal
