// PipelineLoader: header, feature gates and the list of plugins.
#include <array>
#include <cstring>

#include "absl/strings/ascii.h"
#include "base/check.h"
#include "base/closest_name.h"
#include "base/text.h"
#include "engine/known_types.h"
#include "engine/pipeline_loader.h"
#include "weir/limits.h"

namespace weir::internal {
namespace {

constexpr std::string_view kApiVersion = "llm-d.ai/v1alpha1";
constexpr std::string_view kOldApiVersion = "inference.networking.x-k8s.io/v1alpha1";
constexpr std::string_view kKind = "EndpointPickerConfig";

constexpr std::string_view kFlowControlGate = "flowControl";
constexpr std::string_view kGates[] = {kFlowControlGate, "haPopulateNonLeaderDatastore"};

// A boolean as Go's strconv.ParseBool reads it from lower case.
std::optional<bool> ParseGateValue(std::string_view text) {
  const std::string value = absl::AsciiStrToLower(std::string(text));
  if (value == "1" || value == "t" || value == "true") return true;
  if (value == "0" || value == "f" || value == "false") return false;
  return std::nullopt;
}

uint32_t RolesOf(const weir_plugin& plugin) {
  static constexpr std::pair<std::string_view, uint32_t> kRoles[] = {
      {WEIR_INTERFACE_FILTER, kRoleFilter},
      {WEIR_INTERFACE_SCORER, kRoleScorer},
      {WEIR_INTERFACE_PICKER, kRolePicker},
      {WEIR_INTERFACE_PROFILE_HANDLER, kRoleProfileHandler},
      {WEIR_INTERFACE_PRODUCER, kRoleProducer}};
  uint32_t roles = 0;
  for (const auto& [interface, role] : kRoles) {
    if (FindInterface<void>(plugin, interface) != nullptr) roles |= role;
  }
  // An observer learns of endpoints that leave without a source that tells it.
  if (FindInterface<void>(plugin, WEIR_INTERFACE_OBSERVER) != nullptr) roles |= kRoleExtractor;
  return roles;
}

uint32_t RolesOf(ConfiguredKind kind) {
  switch (kind) {
    case ConfiguredKind::kSource:
      return kRoleSource;
    case ConfiguredKind::kExtractor:
      return kRoleExtractor;
    case ConfiguredKind::kDiscovery:
      return kRoleDiscovery;
    case ConfiguredKind::kParser:
      return kRoleParser;
    case ConfiguredKind::kResponseHook:
      return kRoleOther;
  }
  return 0;
}

}  // namespace

bool PipelineLoader::IsMap(const ConfigNode& node, const std::string& field) {
  if (node.kind == ConfigNode::Kind::kMap) return true;
  problems_.Error(node.line, field, Concat(Show(node), ", expected a map"));
  return false;
}

const std::vector<ConfigNode>& PipelineLoader::Items(const ConfigNode* node,
                                                     const std::string& field) {
  static const std::vector<ConfigNode> kNone;
  if (node == nullptr || node->kind == ConfigNode::Kind::kNull) return kNone;
  if (node->kind != ConfigNode::Kind::kList) {
    problems_.Error(node->line, field, Concat(Show(*node), ", expected a list"));
    return kNone;
  }
  return node->items;
}

void PipelineLoader::RefuseUnknownFields(const ConfigNode& node, const std::string& field,
                                         std::initializer_list<std::string_view> known) {
  for (const auto& [name, value] : node.members) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    problems_.Error(value.line, Concat(field, field.empty() ? "" : ".", name),
                    Concat("unknown field", Suggest(name, {known.begin(), known.end()})));
  }
}

std::optional<std::string> PipelineLoader::RequiredText(const ConfigNode& map, std::string_view key,
                                                        const std::string& field,
                                                        std::string_view expected) {
  const std::string here = Concat(field, field.empty() ? "" : ".", key);
  const ConfigNode* value = map.Find(key);
  if (value == nullptr || value->kind == ConfigNode::Kind::kNull) {
    problems_.Error(map.line, here, Concat("missing, expected ", expected));
  } else if (value->kind != ConfigNode::Kind::kString) {
    problems_.Error(value->line, here, Concat(Show(*value), ", expected ", expected));
  } else if (value->string.empty()) {
    problems_.Error(value->line, here, Concat("empty, expected ", expected));
  } else if (value->string.size() > kNameBytesMax) {
    problems_.Error(value->line, here,
                    Concat(value->string.size(), " bytes, expected at most ", kNameBytesMax));
  } else {
    return value->string;
  }
  return std::nullopt;
}

std::string PipelineLoader::Suggest(std::string_view name,
                                    std::span<const std::string_view> candidates) const {
  return problems_.full() ? std::string() : DidYouMean(name, candidates);
}

void PipelineLoader::NotBuilt(int line, const std::string& field, std::string_view what) {
  problems_.Error(line, field, Concat(what, " is not built in this version of weir"),
                  Code::kUnimplemented);
}

void PipelineLoader::ReadHeader(const ConfigNode& root) {
  RefuseUnknownFields(
      root, "",
      {"apiVersion", "kind", "featureGates", "plugins", "schedulingProfiles", "dataLayer",
       "flowControl", "requestHandler", "resources", "saturationDetector", "parser"});
  if (const auto version = RequiredText(root, "apiVersion", "", Quote(kApiVersion))) {
    const int line = root.Find("apiVersion")->line;
    if (*version == kOldApiVersion) {
      problems_.Warning(line, "apiVersion",
                        Concat(Quote(*version), " is deprecated, use ", Quote(kApiVersion)));
    } else if (*version != kApiVersion) {
      problems_.Error(line, "apiVersion",
                      Concat(Quote(*version), ", expected ", Quote(kApiVersion)));
    }
  }
  if (const auto kind = RequiredText(root, "kind", "", Quote(kKind)); kind && *kind != kKind) {
    problems_.Error(root.Find("kind")->line, "kind",
                    Concat(Quote(*kind), ", expected ", Quote(kKind)));
  }
}

void PipelineLoader::ReadFeatureGates(const ConfigNode* gates) {
  const std::vector<ConfigNode>& items = Items(gates, "featureGates");
  size_t flow_control_item = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const ConfigNode& item = items[i];
    const std::string field = Concat("featureGates[", i, "]");
    if (item.kind != ConfigNode::Kind::kString) {
      problems_.Error(item.line, field, Concat(Show(item), ", expected a string"));
      continue;
    }
    const size_t equals = item.string.find('=');
    const std::string name = item.string.substr(0, equals);
    const std::string value = equals == std::string::npos ? "true" : item.string.substr(equals + 1);
    const std::optional<bool> on = ParseGateValue(value);
    if (std::find(std::begin(kGates), std::end(kGates), name) == std::end(kGates)) {
      problems_.Error(item.line, field,
                      Concat(Quote(name), " is not a feature gate", Suggest(name, kGates)));
    } else if (!on.has_value()) {
      problems_.Error(
          item.line, field,
          Concat(name, "=", Quote(value), ", expected ", name, "=true or ", name, "=false"));
    } else if (name == kFlowControlGate) {
      flow_control_ = *on;
      flow_control_item = i;
    }
  }
  if (flow_control_) {
    NotBuilt(items[flow_control_item].line, Concat("featureGates[", flow_control_item, "]"),
             "flow control");
  }
}

void PipelineLoader::ReadPlugins(const ConfigNode* plugins) {
  const std::vector<ConfigNode>& items = Items(plugins, "plugins");
  if (items.size() > kPluginsMax) {
    problems_.Error(plugins->line, "plugins",
                    Concat(items.size(), " plugins, expected at most ", kPluginsMax));
    return;
  }
  for (size_t i = 0; i < items.size(); ++i) ReadPlugin(items[i], Concat("plugins[", i, "]"));
}

void PipelineLoader::ReadPlugin(const ConfigNode& entry, const std::string& field) {
  if (!IsMap(entry, field)) return;
  RefuseUnknownFields(entry, field, {"name", "type", "parameters"});
  PluginSpec plugin;
  Facts facts;
  facts.line = entry.line;
  facts.entry = field;
  plugin.field = field + ".parameters";
  if (const ConfigNode* parameters = entry.Find("parameters")) plugin.parameters = *parameters;
  if (plugin.parameters.kind == ConfigNode::Kind::kNull) {
    plugin.parameters = ConfigNode{.kind = ConfigNode::Kind::kMap, .line = entry.line};
  }
  const auto type = RequiredText(entry, "type", field, "a plugin type");
  plugin.type = type.value_or("");
  plugin.name = plugin.type;
  const ConfigNode* name = entry.Find("name");
  if (name != nullptr && name->kind != ConfigNode::Kind::kNull &&
      !(name->kind == ConfigNode::Kind::kString && name->string.empty())) {
    plugin.name = RequiredText(entry, "name", field, "a name").value_or("");
  }
  if (type.has_value()) {
    ResolveType(*entry.Find("type"), field, &plugin, &facts);
  } else {
    facts.opaque = true;
  }
  if (plugin.name.empty()) return;
  const auto [found, is_new] =
      by_name_.emplace(plugin.name, static_cast<uint32_t>(spec_.plugins.size()));
  if (!is_new) {
    const int line = name == nullptr ? entry.line : name->line;
    problems_.Error(
        line, field + ".name",
        Concat(Quote(plugin.name), " occurs twice, first in line ", facts_[found->second].line));
    return;
  }
  spec_.plugins.push_back(std::move(plugin));
  facts_.push_back(std::move(facts));
}

void PipelineLoader::ResolveType(const ConfigNode& type, const std::string& field,
                                 PluginSpec* plugin, Facts* facts) {
  const std::string type_field = field + ".type";
  const ConfigNode& parameters = plugin->parameters;
  const bool checkable = IsMap(parameters, plugin->field);
  if (const PluginRegistry::Entry* entry = registry_.FindEntry(type.string)) {
    plugin->descriptor = entry->plugin;
    facts->roles = entry->plugin != nullptr ? RolesOf(*entry->plugin) : RolesOf(entry->kind);
    if (entry->schema != nullptr && checkable) {
      entry->schema->Check(parameters, plugin->field, &problems_);
    }
    // That a filter also tells saturation is no interface of the engine.
    const KnownType* known = FindKnownType(type.string);
    if (known != nullptr) facts->roles |= known->roles & kRoleSaturationDetector;
    CheckStability(*entry, type.string, plugin->name, type.line, field);
    return;
  }
  facts->opaque = true;
  if (const KnownType* known = FindKnownType(type.string)) {
    facts->roles = known->roles;
    if (known->flow_control_schema.empty() || flow_control_) {
      NotBuilt(type.line, type_field, Quote(type.string));
    } else {
      facts->opaque = false;
      facts->roles &= ~uint32_t{kRoleFilter};  // as a filter it would change decisions
      CheckFlowControlType(*known, *plugin, type.line, field);
    }
    return;
  }
  std::string hint;
  if (const std::string_view renamed = RenamedType(type.string); !renamed.empty()) {
    hint = Concat("; did you mean ", Quote(renamed), "?");
  } else {
    std::vector<std::string_view> candidates = registry_.types();
    for (const KnownType& known : KnownTypes()) candidates.push_back(known.type);
    hint = Suggest(type.string, candidates);
  }
  problems_.Error(type.line, type_field, Concat(Quote(type.string), " is not a plugin type", hint));
}

void PipelineLoader::CheckFlowControlType(const KnownType& type, const PluginSpec& plugin, int line,
                                          const std::string& field) {
  const auto schema = ParameterSchema::Compile(type.flow_control_schema);
  if (WEIR_BUG_IF(!schema.ok())) return;
  if (plugin.parameters.kind == ConfigNode::Kind::kMap) {
    schema->Check(plugin.parameters, plugin.field, &problems_);
  }
  if (type.is_alpha) RefuseExperimental(plugin.type, plugin.name, line, field);
  problems_.Warning(line, field + ".type",
                    Concat(Quote(plugin.type),
                           " has no effect, flow control is not built in this version of weir"));
}

void PipelineLoader::RefuseExperimental(const std::string& type, const std::string& name, int line,
                                        const std::string& field) {
  if (options_.allow_experimental_plugins) return;
  problems_.Error(line, field,
                  Concat(Quote(name), " has the experimental type ", Quote(type),
                         "; allow it with --allow-experimental-plugins"));
}

void PipelineLoader::CheckStability(const PluginRegistry::Entry& entry, const std::string& type,
                                    const std::string& name, int line, const std::string& field) {
  if (entry.stability() == WEIR_STABILITY_ALPHA) RefuseExperimental(type, name, line, field);
  if (entry.plugin != nullptr && entry.plugin->replaced_by.size > 0) {
    const std::string_view replaced_by(entry.plugin->replaced_by.data,
                                       entry.plugin->replaced_by.size);
    problems_.Warning(line, field + ".type",
                      Concat(Quote(type), " is deprecated, use ", Quote(replaced_by)));
  }
}

}  // namespace weir::internal
