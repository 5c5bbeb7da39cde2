// PipelineLoader: the sections that name plugins.
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "engine/known_types.h"
#include "engine/pipeline_loader.h"
#include "weir/limits.h"
#include "wire/config_scalar.h"

namespace weir::internal {

// A field of a section that this version reads but does not use.
struct PipelineLoader::FieldRule {
  enum class Kind {
    kBoolean,
    kInteger,
    kQuantity,
    kDuration,
    kFairness,  // the name of a policy
    kOrdering,
    kUsageLimit,
    kDetector,  // a map with the name of one
    kBand,
    kBands
  };
  std::string_view name;
  Kind kind;
};

namespace {

// What a plugin is, for errors about a reference to it.
std::string RoleNames(uint32_t roles) {
  static constexpr std::pair<uint32_t, std::string_view> kNames[] = {
      {kRoleFilter, "a filter"},
      {kRoleScorer, "a scorer"},
      {kRolePicker, "a picker"},
      {kRoleProfileHandler, "a profile handler"},
      {kRoleProducer, "a data producer"},
      {kRoleSource, "a data source"},
      {kRoleExtractor, "an extractor"},
      {kRoleDiscovery, "an endpoint discovery"},
      {kRoleParser, "a parser"},
      {kRoleSaturationDetector, "a saturation detector"},
      {kRoleFairness, "a fairness policy"},
      {kRoleOrdering, "an ordering policy"},
      {kRoleUsageLimit, "a usage limit policy"},
      {kRoleEviction, "an eviction policy"}};
  for (const auto& [role, name] : kNames) {
    if ((roles & role) != 0) return std::string(name);
  }
  return "something else";
}

}  // namespace

std::optional<uint32_t> PipelineLoader::Reference(const ConfigNode& map, std::string_view key,
                                                  const std::string& field, uint32_t roles,
                                                  std::string_view expected) {
  const auto name =
      RequiredText(map, key, field, Concat("the name of ", expected, " of this file"));
  if (!name.has_value()) return std::nullopt;
  const auto found = by_name_.find(*name);
  if (found == by_name_.end()) {
    ReportUnknownReference(*map.Find(key), Concat(field, ".", key));
    return std::nullopt;
  }
  const uint32_t plugin = found->second;
  if (roles != 0 && !HasRole(plugin, roles) && !facts_[plugin].opaque) {
    problems_.Error(
        map.Find(key)->line, Concat(field, ".", key),
        Concat(Quote(*name), " is ", RoleNames(facts_[plugin].roles), ", expected ", expected));
    return std::nullopt;
  }
  return plugin;
}

void PipelineLoader::ReportUnknownReference(const ConfigNode& name, const std::string& field) {
  std::vector<std::string_view> names;
  for (const auto& [known, index] : by_name_) names.push_back(known);
  std::string hint = Suggest(name.string, names);
  if (hint.empty() && registry_.FindEntry(name.string) != nullptr) {
    hint = Concat("; add \"- type: ", name.string, "\" to plugins");
  }
  problems_.Error(name.line, field,
                  Concat(Quote(name.string), " is not a plugin of this file", hint));
}

void PipelineLoader::CheckPolicy(const ConfigNode& name, const std::string& field, uint32_t role,
                                 std::string_view expected) {
  constexpr std::string_view kMadeByDefault[] = {
      "fcfs-ordering-policy", "global-strict-fairness-policy", "static-usage-limit-policy",
      "utilization-detector"};
  if (name.kind != ConfigNode::Kind::kString) {
    problems_.Error(name.line, field, Concat(Show(name), ", expected a string"));
    return;
  }
  if (name.string.empty()) return;
  uint32_t roles = 0;
  if (const auto found = by_name_.find(name.string); found != by_name_.end()) {
    if (facts_[found->second].opaque) return;
    roles = facts_[found->second].roles;
  } else if (std::find(std::begin(kMadeByDefault), std::end(kMadeByDefault), name.string) !=
             std::end(kMadeByDefault)) {
    roles = FindKnownType(name.string)->roles;
  } else {
    ReportUnknownReference(name, field);
    return;
  }
  if ((roles & role) != 0) return;
  problems_.Error(name.line, field,
                  Concat(Quote(name.string), " is ", RoleNames(roles), ", expected ", expected));
}

void PipelineLoader::ReadProfiles(const ConfigNode* profiles) {
  const std::vector<ConfigNode>& items = Items(profiles, "schedulingProfiles");
  profiles_given_ = !items.empty();
  if (items.size() > kProfilesMax) {
    problems_.Error(profiles->line, "schedulingProfiles",
                    Concat(items.size(), " profiles, expected at most ", kProfilesMax));
    return;
  }
  std::map<std::string, int> lines;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string field = Concat("schedulingProfiles[", i, "]");
    if (!IsMap(items[i], field)) continue;
    ReadProfile(items[i], field);
    const std::string& name = spec_.profiles.back().name;
    const auto [first, is_new] = lines.emplace(name, items[i].line);
    if (!is_new && !name.empty()) {
      problems_.Error(items[i].Find("name")->line, field + ".name",
                      Concat(Quote(name), " occurs twice, first in line ", first->second));
    }
  }
}

void PipelineLoader::ReadProfile(const ConfigNode& entry, const std::string& field) {
  RefuseUnknownFields(entry, field, {"name", "plugins"});
  ProfileSpec profile;
  profile.name = RequiredText(entry, "name", field, "a name").value_or("");
  const std::vector<ConfigNode>& items = Items(entry.Find("plugins"), field + ".plugins");
  profile_has_picker_.push_back(false);
  if (items.size() > kPluginsPerProfileMax) {
    problems_.Error(entry.Find("plugins")->line, field + ".plugins",
                    Concat(items.size(), " plugins, expected at most ", kPluginsPerProfileMax));
  } else {
    for (size_t i = 0; i < items.size(); ++i) {
      const std::string plugin_field = Concat(field, ".plugins[", i, "]");
      if (IsMap(items[i], plugin_field)) ReadProfilePlugin(items[i], plugin_field, &profile);
    }
  }
  spec_.profiles.push_back(std::move(profile));
}

void PipelineLoader::ReadProfilePlugin(const ConfigNode& entry, const std::string& field,
                                       ProfileSpec* profile) {
  RefuseUnknownFields(entry, field, {"pluginRef", "weight"});
  const auto plugin = Reference(entry, "pluginRef", field, 0, "a plugin");
  double weight = 1;
  const ConfigNode* weight_node = entry.Find("weight");
  if (weight_node != nullptr && weight_node->kind != ConfigNode::Kind::kNull) {
    const bool is_number = weight_node->kind == ConfigNode::Kind::kInteger ||
                           weight_node->kind == ConfigNode::Kind::kNumber;
    if (!is_number || !std::isfinite(weight_node->number)) {
      problems_.Error(weight_node->line, field + ".weight",
                      Concat(Show(*weight_node), ", expected a finite number"));
    } else {
      weight = weight_node->number;
      if (weight <= 0) {
        problems_.Warning(weight_node->line, field + ".weight",
                          Concat(weight, weight < 0 ? ", endpoints with a high score lose"
                                                    : ", the scorer has no effect"));
      }
    }
  }
  if (!plugin.has_value() || facts_[*plugin].opaque) return;
  if (HasRole(*plugin, kRoleSaturationDetector) && !HasRole(*plugin, kRoleFilter)) {
    NotBuilt(entry.line, field, Concat(Name(*plugin), " as a filter"));
    return;
  }
  if (HasRole(*plugin, kRoleFilter)) profile->filters.push_back(*plugin);
  if (HasRole(*plugin, kRoleScorer)) profile->scorers.push_back({*plugin, weight});
  if (HasRole(*plugin, kRolePicker)) {
    if (profile_has_picker_.back()) {
      problems_.Error(entry.line, field,
                      Concat("a second picker, ", Name(*plugin), ", after ", Name(profile->picker),
                             "; expected one per profile"));
    }
    profile_has_picker_.back() = true;
    profile->picker = *plugin;
  }
  if (!HasRole(*plugin, kRoleFilter | kRoleScorer | kRolePicker)) {
    problems_.Warning(entry.line, field,
                      Concat(Name(*plugin), " is ", RoleNames(facts_[*plugin].roles),
                             ", it has no effect in a profile"));
  } else if (weight_node != nullptr && !HasRole(*plugin, kRoleScorer)) {
    problems_.Warning(
        weight_node->line, field + ".weight",
        Concat("no effect, ", Name(*plugin), " is ", RoleNames(facts_[*plugin].roles)));
  }
}

void PipelineLoader::ReadDataLayer(const ConfigNode* data_layer) {
  if (data_layer == nullptr || data_layer->kind == ConfigNode::Kind::kNull) return;
  const std::string field = "dataLayer";
  if (!IsMap(*data_layer, field)) return;
  RefuseUnknownFields(*data_layer, field,
                      {"injectDefaults", "sources", "discovery", "peerDiscovery",
                       "crossReplicaSyncerPluginRef", "crossReplicaSyncInterval"});
  if (const ConfigNode* inject = data_layer->Find("injectDefaults")) {
    CheckField({"injectDefaults", FieldRule::Kind::kBoolean}, *inject, field + ".injectDefaults");
    inject_data_layer_ = inject->kind != ConfigNode::Kind::kBoolean || inject->boolean;
  }
  const std::vector<ConfigNode>& sources = Items(data_layer->Find("sources"), field + ".sources");
  for (size_t i = 0; i < sources.size(); ++i) {
    const std::string source_field = Concat(field, ".sources[", i, "]");
    if (IsMap(sources[i], source_field)) ReadSource(sources[i], source_field);
  }
  if (const ConfigNode* discovery = data_layer->Find("discovery");
      discovery != nullptr && discovery->kind != ConfigNode::Kind::kNull &&
      IsMap(*discovery, field + ".discovery")) {
    RefuseUnknownFields(*discovery, field + ".discovery", {"pluginRef"});
    const auto plugin = Reference(*discovery, "pluginRef", field + ".discovery", kRoleDiscovery,
                                  "an endpoint discovery");
    if (plugin.has_value()) {
      spec_.discovery_plugin = spec_.plugins[*plugin].name;
      spec_.data_layer.push_back(*plugin);
    }
  }
  if (const ConfigNode* peers = data_layer->Find("peerDiscovery");
      peers != nullptr && peers->kind != ConfigNode::Kind::kNull) {
    NotBuilt(peers->line, field + ".peerDiscovery", "discovery of other replicas");
  }
  if (const ConfigNode* syncer = data_layer->Find("crossReplicaSyncerPluginRef");
      syncer != nullptr && syncer->kind != ConfigNode::Kind::kNull) {
    NotBuilt(syncer->line, field + ".crossReplicaSyncerPluginRef", "state shared between replicas");
  }
  if (const ConfigNode* interval = data_layer->Find("crossReplicaSyncInterval")) {
    CheckField({"crossReplicaSyncInterval", FieldRule::Kind::kDuration}, *interval,
               field + ".crossReplicaSyncInterval");
  }
}

void PipelineLoader::ReadSource(const ConfigNode& entry, const std::string& field) {
  RefuseUnknownFields(entry, field, {"pluginRef", "extractors"});
  const auto use = [this](uint32_t plugin) {
    auto& used = spec_.data_layer;
    if (std::find(used.begin(), used.end(), plugin) == used.end()) used.push_back(plugin);
  };
  if (const auto source = Reference(entry, "pluginRef", field, kRoleSource, "a data source")) {
    use(*source);
    sources_.push_back(*source);
  }
  const std::vector<ConfigNode>& extractors =
      Items(entry.Find("extractors"), field + ".extractors");
  for (size_t i = 0; i < extractors.size(); ++i) {
    const std::string extractor_field = Concat(field, ".extractors[", i, "]");
    if (!IsMap(extractors[i], extractor_field)) continue;
    RefuseUnknownFields(extractors[i], extractor_field, {"pluginRef"});
    const auto extractor =
        Reference(extractors[i], "pluginRef", extractor_field, kRoleExtractor, "an extractor");
    // A plugin of the engine hears of endpoints anyway.
    if (extractor.has_value() && spec_.plugins[*extractor].descriptor == nullptr) use(*extractor);
  }
}

void PipelineLoader::ReadParsers(const ConfigNode& root) {
  const ConfigNode* handler = root.Find("requestHandler");
  if (handler != nullptr && handler->kind != ConfigNode::Kind::kNull &&
      IsMap(*handler, "requestHandler")) {
    RefuseUnknownFields(*handler, "requestHandler", {"parsers"});
    const std::vector<ConfigNode>& parsers =
        Items(handler->Find("parsers"), "requestHandler.parsers");
    parsers_given_ = !parsers.empty();
    for (size_t i = 0; i < parsers.size(); ++i) {
      ReadParser(parsers[i], Concat("requestHandler.parsers[", i, "]"));
    }
  }
  const ConfigNode* parser = root.Find("parser");
  if (parser == nullptr || parser->kind == ConfigNode::Kind::kNull) return;
  problems_.Warning(parser->line, "parser",
                    Concat("deprecated, use requestHandler.parsers",
                           parsers_given_ ? "; ignored, as that is given" : ""));
  if (parsers_given_) return;
  parsers_given_ = true;
  ReadParser(*parser, "parser");
}

void PipelineLoader::ReadParser(const ConfigNode& entry, const std::string& field) {
  if (!IsMap(entry, field)) return;
  RefuseUnknownFields(entry, field, {"pluginRef"});
  const ConfigNode* name = entry.Find("pluginRef");
  const bool is_text = name != nullptr && name->kind == ConfigNode::Kind::kString;
  // A parser needs no entry under plugins: its type is its name.
  if (is_text && !by_name_.contains(name->string)) {
    const PluginRegistry::Entry* type = registry_.FindEntry(name->string);
    if (type != nullptr && type->plugin == nullptr && type->kind == ConfiguredKind::kParser) {
      if (const auto added = AddPlugin(name->string, field)) spec_.parsers.push_back(*added);
      return;
    }
  }
  if (const auto parser = Reference(entry, "pluginRef", field, kRoleParser, "a parser")) {
    spec_.parsers.push_back(*parser);
  }
}

void PipelineLoader::CheckField(const FieldRule& rule, const ConfigNode& value,
                                const std::string& field) {
  if (value.kind == ConfigNode::Kind::kNull) return;
  const auto expect = [&](bool fine, std::string_view expected) {
    if (!fine) problems_.Error(value.line, field, Concat(Show(value), ", expected ", expected));
  };
  const bool is_text = value.kind == ConfigNode::Kind::kString;
  switch (rule.kind) {
    case FieldRule::Kind::kBoolean:
      expect(value.kind == ConfigNode::Kind::kBoolean, "true or false");
      break;
    case FieldRule::Kind::kInteger:
      expect(value.kind == ConfigNode::Kind::kInteger, "an integer");
      break;
    case FieldRule::Kind::kQuantity: {
      const auto quantity = ParseQuantity(value.string);
      const bool scalar = is_text || value.kind == ConfigNode::Kind::kInteger ||
                          value.kind == ConfigNode::Kind::kNumber;
      expect(scalar && quantity.value_or(-1) >= 0, "a quantity >= 0 like 500, \"2k\" or \"1Gi\"");
      break;
    }
    case FieldRule::Kind::kDuration:
      expect(is_text && ParseDurationNs(value.string).value_or(-1) >= 0,
             "a duration >= 0 like \"200ms\"");
      break;
    case FieldRule::Kind::kFairness:
      CheckPolicy(value, field, kRoleFairness, "a fairness policy");
      break;
    case FieldRule::Kind::kOrdering:
      CheckPolicy(value, field, kRoleOrdering, "an ordering policy");
      break;
    case FieldRule::Kind::kUsageLimit:
      CheckPolicy(value, field, kRoleUsageLimit, "a usage limit policy");
      break;
    case FieldRule::Kind::kDetector:
      if (IsMap(value, field)) {
        RefuseUnknownFields(value, field, {"pluginRef"});
        if (RequiredText(value, "pluginRef", field, "the name of a saturation detector")) {
          CheckPolicy(*value.Find("pluginRef"), field + ".pluginRef", kRoleSaturationDetector,
                      "a saturation detector");
        }
      }
      break;
    case FieldRule::Kind::kBand:
      CheckFields(value, field,
                  {{"priority", FieldRule::Kind::kInteger},
                   {"maxBytes", FieldRule::Kind::kQuantity},
                   {"maxRequests", FieldRule::Kind::kQuantity},
                   {"fairnessPolicyRef", FieldRule::Kind::kFairness},
                   {"orderingPolicyRef", FieldRule::Kind::kOrdering}});
      break;
    case FieldRule::Kind::kBands: {
      const std::vector<ConfigNode>& bands = Items(&value, field);
      for (size_t i = 0; i < bands.size(); ++i) {
        CheckField({"", FieldRule::Kind::kBand}, bands[i], Concat(field, "[", i, "]"));
      }
      break;
    }
  }
}

void PipelineLoader::CheckFields(const ConfigNode& node, const std::string& field,
                                 std::initializer_list<FieldRule> rules) {
  if (!IsMap(node, field)) return;
  std::vector<std::string_view> names;
  for (const FieldRule& rule : rules) names.push_back(rule.name);
  for (const ConfigNode::Member& member : node.members) {
    const std::string value_field = Concat(field, ".", member.name);
    const auto rule = std::find_if(rules.begin(), rules.end(),
                                   [&](const FieldRule& one) { return one.name == member.name; });
    if (rule == rules.end()) {
      problems_.Error(member.value.line, value_field,
                      Concat("unknown field", Suggest(member.name, names)));
    } else {
      CheckField(*rule, member.value, value_field);
    }
  }
}

void PipelineLoader::ReadFlowControl(const ConfigNode& root) {
  const ConfigNode* flow_control = root.Find("flowControl");
  const bool given = flow_control != nullptr && flow_control->kind != ConfigNode::Kind::kNull;
  const ConfigNode* detector = given ? flow_control->Find("saturationDetector") : nullptr;
  const ConfigNode* old_detector = root.Find("saturationDetector");
  if (old_detector != nullptr && old_detector->kind != ConfigNode::Kind::kNull) {
    problems_.Warning(old_detector->line, "saturationDetector",
                      Concat("deprecated, use flowControl.saturationDetector",
                             detector != nullptr ? "; ignored, as that is given" : ""));
    CheckField({"", FieldRule::Kind::kDetector}, *old_detector, "saturationDetector");
    if (detector == nullptr) detector = old_detector;
  }
  if (detector != nullptr && detector->kind != ConfigNode::Kind::kNull) {
    problems_.Warning(detector->line, "flowControl.saturationDetector",
                      "no effect, this version of weir sheds no requests");
  }
  if (!given) return;
  using Kind = FieldRule::Kind;
  CheckFields(*flow_control, "flowControl",
              {{"maxBytes", Kind::kQuantity},
               {"maxRequests", Kind::kQuantity},
               {"defaultRequestTTL", Kind::kDuration},
               {"noEndpointRequestTTL", Kind::kDuration},
               {"defaultPriorityBand", Kind::kBand},
               {"defaultNegativePriorityBand", Kind::kBand},
               {"priorityBands", Kind::kBands},
               {"usageLimitPolicyPluginRef", Kind::kUsageLimit},
               {"saturationDetector", Kind::kDetector},
               {"enableEviction", Kind::kBoolean}});
  if (!flow_control_) {
    problems_.Warning(flow_control->line, "flowControl",
                      "ignored without the feature gate flowControl");
  }
}

}  // namespace weir::internal
