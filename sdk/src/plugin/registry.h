// plugin/registry.h: the plugin types this process knows, built in and loaded.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "plugin/schema.h"
#include "weir/plugin/abi.h"
#include "weir/status.h"

namespace weir::internal {

inline constexpr uint32_t kPluginTypesMax = 4096;  // of one registry
inline constexpr uint32_t kInterfacesPerTypeMax = 16;
inline constexpr uint32_t kAttributesPerTypeMax = 64;
inline constexpr uint32_t kAttributeElementBytesMax = 256;

// What runs a type that has no descriptor.
enum class ConfiguredKind { kSource, kExtractor, kDiscovery, kParser, kResponseHook };

// Types by name. Filled at [control] time, then constant and safe for concurrent reads.
class PluginRegistry {
 public:
  // The built-in types, and those that weir_io runs.
  static PluginRegistry WithBuiltins();

  PluginRegistry();
  ~PluginRegistry();
  PluginRegistry(PluginRegistry&&) noexcept;
  PluginRegistry& operator=(PluginRegistry&&) noexcept;

  // Adds all types of a module after checking its tables, or none. Errors: kFailedPrecondition (ABI
  // numbers, both in the text), kInvalidArgument (malformed table, named), kAlreadyExists (type),
  // kResourceExhausted (kPluginTypesMax). `origin` is the file, or "built in". `module` lives
  // forever.
  absl::Status AddModule(const weir_module* module, const std::string& origin);

  // Adds a type that the engine does not run. Errors: kInvalidArgument, kAlreadyExists.
  absl::Status AddConfigured(ConfiguredKind kind, std::string_view type,
                             std::string_view params_schema,
                             uint32_t stability = WEIR_STABILITY_BETA);

  // Loads a shared object, keeps it mapped until exit, and adds its module. Errors also: kNotFound.
  absl::Status LoadFile(const std::string& path);

  struct Entry {
    const weir_plugin* plugin = nullptr;            // null for types that the engine does not run
    ConfiguredKind kind = ConfiguredKind::kSource;  // where plugin is null
    std::string origin;
    std::unique_ptr<const ParameterSchema> schema;        // null: any parameter that create reads
    uint32_t configured_stability = WEIR_STABILITY_BETA;  // where plugin is null

    uint32_t stability() const {
      return plugin != nullptr ? plugin->stability : configured_stability;
    }
  };
  // Null if unknown.
  const Entry* FindEntry(std::string_view type) const;
  // Null if unknown, or if the engine does not run it.
  const weir_plugin* Find(std::string_view type) const;
  // All types, sorted.
  std::vector<std::string_view> types() const;

 private:
  absl::Status Add(std::string type, Entry entry);

  std::map<std::string, Entry, std::less<>> entries_;
};

// The table of an interface that a plugin offers, null if it does not.
template <class Table>
const Table* FindInterface(const weir_plugin& plugin, std::string_view id) {
  for (uint64_t i = 0; i < plugin.interface_count; ++i) {
    const weir_interface& one = *plugin.interfaces[i];
    if (std::string_view(one.id.data, one.id.size) == id)
      return static_cast<const Table*>(one.table);
  }
  return nullptr;
}

}  // namespace weir::internal
