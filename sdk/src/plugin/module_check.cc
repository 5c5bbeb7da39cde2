#include "plugin/module_check.h"

#include <set>
#include <string_view>

#include "absl/strings/ascii.h"
#include "base/text.h"
#include "plugin/registry.h"
#include "weir/limits.h"
#include "wire/config_problems.h"
#include "wire/config_scalar.h"

namespace weir::internal {
namespace {

// Sizes of the structs of ABI 1.0: what any plugin of this major has.
constexpr uint32_t kModuleBytesMin = offsetof(weir_module, plugin_count) + sizeof(uint64_t);
constexpr uint32_t kPluginBytesMin = offsetof(weir_plugin, destroy) + sizeof(void*);
constexpr uint32_t kInterfaceBytesMin = offsetof(weir_interface, table) + sizeof(void*);
constexpr uint32_t kAttributeBytesMin =
    offsetof(weir_attribute, producer_parameter) + sizeof(weir_str);

constexpr uint32_t kAttributeFlags =
    WEIR_ATTRIBUTE_READ | WEIR_ATTRIBUTE_OPTIONAL | WEIR_ATTRIBUTE_WRITE | WEIR_ATTRIBUTE_REQUEST;

std::string_view View(weir_str text) { return {text.data, text.size}; }

// Thrown inside this file only: a table is wrong in one place.
struct TableError {
  std::string text;
};

void Require(bool condition, std::string_view where, std::string_view what) {
  if (!condition) throw TableError{Concat(where, ": ", what)};
}

void RequireText(weir_str text, uint64_t size_max, std::string_view where, std::string_view what) {
  Require(text.data != nullptr || text.size == 0, where, Concat(what, ": null data with a size"));
  Require(text.size <= size_max, where,
          Concat(what, ": ", text.size, " bytes, expected at most ", size_max));
  Require(!FindBadText(View(text)).has_value(), where, Concat(what, ": not printable UTF-8"));
}

void RequireName(weir_str text, std::string_view where, std::string_view what) {
  RequireText(text, kNameBytesMax, where, what);
  Require(text.size > 0, where, Concat(what, ": empty"));
  for (const char c : View(text)) {
    const bool fine = absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' ||
                      c == '.' || c == '/';
    Require(fine, where, Concat(what, ": ", Quote(View(text)), ", expected letters, digits, -_./"));
  }
}

template <class Table>
const Table* RequireTable(const weir_interface& interface, uint32_t bytes_min,
                          std::string_view where) {
  const auto* table = static_cast<const Table*>(interface.table);
  Require(table->struct_size >= bytes_min, where,
          Concat("struct_size ", table->struct_size, ", expected at least ", bytes_min));
  return table;
}

// Checks the tables of the interfaces that this host knows; others are left alone.
void CheckTable(const weir_interface& interface, std::string_view where) {
  const std::string_view id = View(interface.id);
  if (id == WEIR_INTERFACE_FILTER) {
    const auto* table = RequireTable<weir_filter>(interface, sizeof(weir_filter), where);
    Require(table->apply != nullptr, where, "apply is null");
  } else if (id == WEIR_INTERFACE_SCORER) {
    const auto* table = RequireTable<weir_scorer>(interface, sizeof(weir_scorer), where);
    Require(table->score != nullptr, where, "score is null");
  } else if (id == WEIR_INTERFACE_PICKER) {
    const auto* table = RequireTable<weir_picker>(interface, sizeof(weir_picker), where);
    Require(table->pick != nullptr, where, "pick is null");
  } else if (id == WEIR_INTERFACE_PROFILE_HANDLER) {
    const auto* table =
        RequireTable<weir_profile_handler>(interface, sizeof(weir_profile_handler), where);
    Require(table->next != nullptr && table->finish != nullptr, where, "next or finish is null");
    Require(table->profiles_max <= kProfilesMax, where,
            Concat("profiles_max ", table->profiles_max, ", expected at most ", kProfilesMax));
  } else if (id == WEIR_INTERFACE_PRODUCER) {
    const auto* table = RequireTable<weir_producer>(interface, sizeof(weir_producer), where);
    Require(table->produce != nullptr, where, "produce is null");
    Require(table->request_state_bytes <= kArenaBytesMax, where,
            "request_state_bytes is too large");
  } else if (id == WEIR_INTERFACE_OBSERVER) {
    const auto* table = RequireTable<weir_observer>(interface, sizeof(weir_observer), where);
    Require(table->flight_state_bytes <= kFlightStateBytesMax, where,
            Concat("flight_state_bytes ", table->flight_state_bytes, ", expected at most ",
                   kFlightStateBytesMax));
  }
}

void CheckInterfaces(const weir_plugin& plugin, const std::string& where) {
  Require(plugin.interface_count > 0 && plugin.interface_count <= kInterfacesPerTypeMax, where,
          Concat(plugin.interface_count, " interfaces, expected 1..", kInterfacesPerTypeMax));
  Require(plugin.interfaces != nullptr, where, "interfaces is null");
  std::set<std::string_view> seen;
  for (uint64_t i = 0; i < plugin.interface_count; ++i) {
    const weir_interface* interface = plugin.interfaces[i];
    const std::string here = Concat(where, ": interfaces[", i, "]");
    Require(interface != nullptr && interface->struct_size >= kInterfaceBytesMin, here,
            "null or too small");
    RequireName(interface->id, here, "id");
    Require(seen.insert(View(interface->id)).second, here,
            Concat(Quote(View(interface->id)), " occurs twice"));
    Require(interface->table != nullptr, here, "table is null");
    CheckTable(*interface, Concat(where, ": ", View(interface->id)));
  }
}

void CheckAttribute(const weir_plugin& plugin, const weir_attribute* attribute,
                    const std::string& where) {
  Require(attribute != nullptr && attribute->struct_size >= kAttributeBytesMin, where,
          "null or too small");
  RequireName(attribute->name, where, "name");
  RequireName(attribute->type, where, "type");
  RequireText(attribute->default_producer, kNameBytesMax, where, "default_producer");
  RequireText(attribute->producer_parameter, kNameBytesMax, where, "producer_parameter");
  const uint32_t flags = attribute->flags;
  Require((flags & ~kAttributeFlags) == 0, where, Concat("unknown flags ", flags));
  const bool reads = (flags & WEIR_ATTRIBUTE_READ) != 0;
  const bool writes = (flags & WEIR_ATTRIBUTE_WRITE) != 0;
  Require(reads != writes, where, "expected either READ or WRITE");
  Require(reads || (flags & WEIR_ATTRIBUTE_OPTIONAL) == 0, where, "OPTIONAL is for READ");
  const bool of_request = (flags & WEIR_ATTRIBUTE_REQUEST) != 0;
  const uint32_t bytes = attribute->element_bytes;
  Require(
      of_request ? bytes == 0 : bytes >= 1 && bytes <= kAttributeElementBytesMax, where,
      Concat("element_bytes ", bytes, of_request ? ", expected 0 with REQUEST" : ", expected 1..",
             of_request ? "" : Concat(kAttributeElementBytesMax)));
  Require(!writes || FindInterface<weir_producer>(plugin, WEIR_INTERFACE_PRODUCER) != nullptr,
          where, "WRITE needs the interface " WEIR_INTERFACE_PRODUCER);
}

void CheckPlugin(const weir_plugin* plugin, const std::string& where) {
  Require(plugin != nullptr && plugin->struct_size >= kPluginBytesMin, where, "null or too small");
  RequireName(plugin->type, where, "type");
  const std::string here = Concat(where, " ", Quote(View(plugin->type)));
  Require(plugin->stability <= WEIR_STABILITY_STABLE, here,
          Concat("stability ", plugin->stability, ", expected 0..2"));
  RequireText(plugin->replaced_by, kNameBytesMax, here, "replaced_by");
  RequireText(plugin->params_schema, kSchemaBytesMax, here, "params_schema");
  Require(plugin->create != nullptr && plugin->destroy != nullptr, here,
          "create or destroy is null");
  CheckInterfaces(*plugin, here);
  Require(plugin->attribute_count <= kAttributesPerTypeMax, here,
          Concat(plugin->attribute_count, " attributes, expected at most ", kAttributesPerTypeMax));
  Require(plugin->attributes != nullptr || plugin->attribute_count == 0, here,
          "attributes is null");
  for (uint64_t i = 0; i < plugin->attribute_count; ++i) {
    CheckAttribute(*plugin, plugin->attributes[i], Concat(here, ": attributes[", i, "]"));
  }
}

absl::Status CheckAbi(const weir_module& module, const std::string& origin) {
  if (module.abi_major != WEIR_ABI_MAJOR) {
    return absl::FailedPreconditionError(Concat(
        origin, ": built for plugin ABI ", module.abi_major, ".", module.abi_minor,
        ", this weir speaks ", WEIR_ABI_MAJOR, ".", WEIR_ABI_MINOR, "; rebuild it against weir ",
        WEIR_ABI_MAJOR, ".x or use weir ", module.abi_major, ".x"));
  }
  if (module.abi_minor_min > WEIR_ABI_MINOR) {
    return absl::FailedPreconditionError(
        Concat(origin, ": needs plugin ABI ", module.abi_major, ".", module.abi_minor_min,
               " or later, this weir speaks ", WEIR_ABI_MAJOR, ".", WEIR_ABI_MINOR,
               "; rebuild it for ", WEIR_ABI_MAJOR, ".", WEIR_ABI_MINOR, " or use a newer weir"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckModule(const weir_module* module, const std::string& origin) try {
  Require(module != nullptr, origin, "the module is null");
  Require(WEIR_HAS(weir_module, module, abi_minor_min), origin,
          Concat("struct_size ", module->struct_size, ", expected at least ", kModuleBytesMin));
  // Another major may have any shape behind the version numbers.
  if (absl::Status status = CheckAbi(*module, origin); !status.ok()) return status;
  Require(module->struct_size >= kModuleBytesMin, origin,
          Concat("struct_size ", module->struct_size, ", expected at least ", kModuleBytesMin));
  RequireText(module->name, kNameBytesMax, origin, "name");
  RequireText(module->version, kNameBytesMax, origin, "version");
  Require(module->plugin_count > 0 && module->plugin_count <= kPluginTypesMax, origin,
          Concat(module->plugin_count, " plugins, expected 1..", kPluginTypesMax));
  Require(module->plugins != nullptr, origin, "plugins is null");
  for (uint64_t i = 0; i < module->plugin_count; ++i) {
    CheckPlugin(module->plugins[i], Concat(origin, ": plugins[", i, "]"));
  }
  return absl::OkStatus();
} catch (const TableError& error) {
  return absl::InvalidArgumentError(error.text);
}

}  // namespace weir::internal
