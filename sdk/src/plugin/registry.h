// plugin/registry.h: the plugin types this process knows, built in and loaded.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "weir/plugin/abi.h"
#include "weir/status.h"

namespace weir::internal {

// Types by name. Filled at [control] time, then constant and safe for concurrent reads.
class PluginRegistry {
 public:
  // The built-in types.
  static PluginRegistry WithBuiltins();

  // Adds all types of a module after checking its tables. Errors: kFailedPrecondition (ABI numbers,
  // both in the text), kInvalidArgument (malformed table, named), kAlreadyExists (type).
  // `origin` is the file, or "built in".
  absl::Status AddModule(const weir_module* module, const std::string& origin);

  // Loads a shared object, keeps it mapped until exit, and adds its module. Errors also: kNotFound.
  absl::Status LoadFile(const std::string& path);

  // Null if unknown.
  const weir_plugin* Find(std::string_view type) const;
  // All types, sorted.
  std::vector<std::string_view> types() const;

 private:
  struct Entry {
    const weir_plugin* plugin;
    std::string origin;
  };
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
