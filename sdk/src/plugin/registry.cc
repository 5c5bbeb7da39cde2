#include "plugin/registry.h"

#include <set>

#include "base/check.h"
#include "base/text.h"
#include "builtins.h"
#include "plugin/loader.h"
#include "plugin/module_check.h"
#include "wire/config_problems.h"

namespace weir::internal {
namespace {

std::string_view View(weir_str text) { return {text.data, text.size}; }

ConfiguredKind KindOf(std::string_view folder) {
  if (folder == "data_sources") return ConfiguredKind::kSource;
  if (folder == "extractors") return ConfiguredKind::kExtractor;
  if (folder == "discovery") return ConfiguredKind::kDiscovery;
  if (folder == "response_hooks") return ConfiguredKind::kResponseHook;
  WEIR_DCHECK(folder == "parsers");
  return ConfiguredKind::kParser;
}

// Null for an empty text.
absl::StatusOr<std::unique_ptr<const ParameterSchema>> CompileSchema(std::string_view text,
                                                                     std::string_view type,
                                                                     const std::string& origin) {
  if (text.empty()) return std::unique_ptr<const ParameterSchema>();
  absl::StatusOr<ParameterSchema> schema = ParameterSchema::Compile(text);
  if (!schema.ok()) {
    return absl::InvalidArgumentError(Concat(
        origin, ": ", Quote(type), ": params_schema: ", std::string(schema.status().message())));
  }
  return std::make_unique<const ParameterSchema>(*std::move(schema));
}

}  // namespace

PluginRegistry::PluginRegistry() = default;
PluginRegistry::~PluginRegistry() = default;
PluginRegistry::PluginRegistry(PluginRegistry&&) noexcept = default;
PluginRegistry& PluginRegistry::operator=(PluginRegistry&&) noexcept = default;

PluginRegistry PluginRegistry::WithBuiltins() {
  PluginRegistry registry;
  for (const weir_plugin_module_fn module : Builtins()) {
    const absl::Status added = registry.AddModule(module(), "built in");
    (void)WEIR_BUG_IF(!added.ok());
  }
  for (const ConfiguredType& one : ConfiguredTypes()) {
    const absl::Status added =
        registry.AddConfigured(KindOf(one.kind), one.type, one.params_schema, one.stability);
    (void)WEIR_BUG_IF(!added.ok());
  }
  return registry;
}

absl::Status PluginRegistry::Add(std::string type, Entry entry) {
  if (entries_.size() == kPluginTypesMax) {
    return absl::ResourceExhaustedError(
        Concat(entry.origin, ": more than ", kPluginTypesMax, " plugin types"));
  }
  const auto [found, added] = entries_.try_emplace(std::move(type), std::move(entry));
  if (!added) {
    return absl::AlreadyExistsError(Concat(entry.origin, ": type ", Quote(found->first),
                                           " exists already (", found->second.origin, ")"));
  }
  return absl::OkStatus();
}

absl::Status PluginRegistry::AddModule(const weir_module* module, const std::string& origin) {
  if (absl::Status status = CheckModule(module, origin); !status.ok()) return status;
  std::vector<std::string> added;
  absl::Status status;
  for (uint64_t i = 0; i < module->plugin_count && status.ok(); ++i) {
    const weir_plugin& plugin = *module->plugins[i];
    auto schema = CompileSchema(View(plugin.params_schema), View(plugin.type), origin);
    status = schema.status();
    if (!status.ok()) break;
    Entry entry{.plugin = &plugin, .origin = origin, .schema = *std::move(schema)};
    status = Add(std::string(View(plugin.type)), std::move(entry));
    if (status.ok()) added.emplace_back(View(plugin.type));
  }
  if (!status.ok()) {
    for (const std::string& type : added) entries_.erase(type);
  }
  return status;
}

absl::Status PluginRegistry::AddConfigured(ConfiguredKind kind, std::string_view type,
                                           std::string_view params_schema, uint32_t stability) {
  auto schema = CompileSchema(params_schema, type, "built in");
  if (!schema.ok()) return schema.status();
  return Add(std::string(type), {.kind = kind,
                                 .origin = "built in",
                                 .schema = *std::move(schema),
                                 .configured_stability = stability});
}

absl::Status PluginRegistry::LoadFile(const std::string& path) {
  const absl::StatusOr<const weir_module*> module = LoadPluginLibrary(path);
  return module.ok() ? AddModule(*module, path) : module.status();
}

const PluginRegistry::Entry* PluginRegistry::FindEntry(std::string_view type) const {
  const auto found = entries_.find(type);
  return found == entries_.end() ? nullptr : &found->second;
}

const weir_plugin* PluginRegistry::Find(std::string_view type) const {
  const Entry* entry = FindEntry(type);
  return entry == nullptr ? nullptr : entry->plugin;
}

std::vector<std::string_view> PluginRegistry::types() const {
  std::vector<std::string_view> names;
  names.reserve(entries_.size());
  for (const auto& [type, entry] : entries_) names.push_back(type);
  return names;
}

}  // namespace weir::internal
