#include <dlfcn.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "checks.h"
#include "elf_exports.h"

namespace weir::plugin_check {
namespace {

[[noreturn]] void Fail(const std::string& text) { throw CheckFailure(text); }

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) Fail("cannot be read");
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return std::move(bytes).str();
}

std::string CheckExports(const CheckContext& context) {
  const auto exports = ElfExports(ReadFile(context.file));
  if (!exports.ok()) Fail(std::string(exports.status().message()));
  if (*exports == std::vector<std::string>{WEIR_PLUGIN_SYMBOL_NAME}) return "";
  if (std::find(exports->begin(), exports->end(), WEIR_PLUGIN_SYMBOL_NAME) == exports->end()) {
    Fail("does not export " WEIR_PLUGIN_SYMBOL_NAME);
  }
  constexpr size_t kNamedMax = 5;
  std::string others;
  for (size_t i = 0, named = 0; i < exports->size() && named < kNamedMax; ++i) {
    if ((*exports)[i] == WEIR_PLUGIN_SYMBOL_NAME) continue;
    others += (named++ == 0 ? "" : ", ") + (*exports)[i];
  }
  Fail("exports " + std::to_string(exports->size()) + " symbols, expected only " +
       WEIR_PLUGIN_SYMBOL_NAME + "; also " + others + " (weir_add_plugin() hides them)");
}

std::string CheckLoads(const CheckContext& context) {
  const weir_module* module = LoadModule(context.file);
  if (LoadModule(context.file) != module) Fail("a second call returns another description");
  return "";
}

std::string CheckDescriptor(const CheckContext& context) {
  const weir_module& module = *context.module;
  if (!WEIR_HAS(weir_module, &module, plugin_count)) {
    Fail("weir_module.struct_size is " + std::to_string(module.struct_size) + ", too small");
  }
  const std::string versions = "built for plugin ABI " + std::to_string(module.abi_major) + "." +
                               std::to_string(module.abi_minor) + ", this weir speaks " +
                               std::to_string(WEIR_ABI_MAJOR) + "." +
                               std::to_string(WEIR_ABI_MINOR);
  if (module.abi_major != WEIR_ABI_MAJOR || module.abi_minor_min > WEIR_ABI_MINOR) Fail(versions);
  if (module.plugin_count == 0 || module.plugins == nullptr) Fail("describes no plugin");
  return versions;
}

// What an interface must have: the smallest table and its required functions.
struct InterfaceRule {
  size_t table_bytes;
  std::vector<size_t> required_slots;  // offsets
};

const std::map<std::string_view, InterfaceRule>& InterfaceRules() {
  static const auto& rules = *new std::map<std::string_view, InterfaceRule>{
      {WEIR_INTERFACE_FILTER, {sizeof(weir_filter), {offsetof(weir_filter, apply)}}},
      {WEIR_INTERFACE_SCORER, {sizeof(weir_scorer), {offsetof(weir_scorer, score)}}},
      {WEIR_INTERFACE_PICKER, {sizeof(weir_picker), {offsetof(weir_picker, pick)}}},
      {WEIR_INTERFACE_PROFILE_HANDLER,
       {sizeof(weir_profile_handler),
        {offsetof(weir_profile_handler, next), offsetof(weir_profile_handler, finish)}}},
      {WEIR_INTERFACE_PRODUCER, {sizeof(weir_producer), {offsetof(weir_producer, produce)}}},
      {WEIR_INTERFACE_OBSERVER, {sizeof(weir_observer), {}}}};
  return rules;
}

void CheckInterface(const std::string& where, const weir_interface& interface) {
  const std::string id(View(interface.id));
  const auto rule = InterfaceRules().find(id);
  if (rule == InterfaceRules().end()) Fail(where + ": unknown interface \"" + id + "\"");
  if (interface.table == nullptr) Fail(where + ": " + id + " has no table");
  const auto* table = static_cast<const std::byte*>(interface.table);
  const uint32_t struct_size = *reinterpret_cast<const uint32_t*>(table);
  if (struct_size < rule->second.table_bytes) {
    Fail(where + ": " + id + " has struct_size " + std::to_string(struct_size) + ", expected " +
         std::to_string(rule->second.table_bytes));
  }
  for (const size_t slot : rule->second.required_slots) {
    if (*reinterpret_cast<void* const*>(table + slot) == nullptr) {
      Fail(where + ": " + id + " has a null function at offset " + std::to_string(slot));
    }
  }
  if (id == WEIR_INTERFACE_OBSERVER &&
      static_cast<const weir_observer*>(interface.table)->flight_state_bytes >
          kFlightStateBytesMax) {
    Fail(where + ": " + id + " wants more than " + std::to_string(kFlightStateBytesMax) +
         " bytes of flight state");
  }
}

void CheckAttribute(const std::string& where, const weir_attribute& attribute) {
  if (!WEIR_HAS(weir_attribute, &attribute, producer_parameter)) {
    Fail(where + ": attribute with struct_size " + std::to_string(attribute.struct_size));
  }
  const std::string name(View(attribute.name));
  if (name.empty() || attribute.type.size == 0) Fail(where + ": attribute without name or type");
  const bool reads = (attribute.flags & WEIR_ATTRIBUTE_READ) != 0;
  const bool writes = (attribute.flags & WEIR_ATTRIBUTE_WRITE) != 0;
  if (reads == writes) Fail(where + ": attribute " + name + ": expected READ or WRITE");
  const bool of_request = (attribute.flags & WEIR_ATTRIBUTE_REQUEST) != 0;
  if (of_request != (attribute.element_bytes == 0)) {
    Fail(where + ": attribute " + name + ": element_bytes is " +
         std::to_string(attribute.element_bytes));
  }
}

std::string CheckTypes(const CheckContext& context) {
  std::set<std::string> seen;
  for (uint64_t i = 0; i < context.module->plugin_count; ++i) {
    const weir_plugin* plugin = context.module->plugins[i];
    if (plugin == nullptr || !WEIR_HAS(weir_plugin, plugin, destroy)) {
      Fail("plugins[" + std::to_string(i) + "]: null or struct_size too small");
    }
    const std::string type(View(plugin->type));
    const bool word = !type.empty() && std::all_of(type.begin(), type.end(), [](char letter) {
      return std::isalnum(static_cast<unsigned char>(letter)) != 0 ||
             std::string_view("-_./").find(letter) != std::string_view::npos;
    });
    if (!word) {
      Fail("plugins[" + std::to_string(i) + "].type: \"" + type +
           "\", expected letters, digits, -_./");
    }
    if (!seen.insert(type).second) Fail(type + ": described twice");
    if (plugin->create == nullptr || plugin->destroy == nullptr) {
      Fail(type + ": create or destroy is null");
    }
    if (plugin->stability > WEIR_STABILITY_STABLE) Fail(type + ": unknown stability");
    if (plugin->interface_count == 0) Fail(type + ": offers no interface");
    for (uint64_t j = 0; j < plugin->interface_count; ++j) {
      CheckInterface(type, *plugin->interfaces[j]);
    }
    for (uint64_t j = 0; j < plugin->attribute_count; ++j) {
      CheckAttribute(type, *plugin->attributes[j]);
    }
  }
  std::string list;
  for (const std::string& type : seen) list += (list.empty() ? "" : ", ") + type;
  return list;
}

}  // namespace

const weir_module* LoadModule(const std::string& file) {
  // A name without a slash would be searched in the library path.
  const std::string path = file.find('/') == std::string::npos ? "./" + file : file;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) Fail(dlerror());
  const auto function =
      reinterpret_cast<weir_plugin_module_fn>(dlsym(library, WEIR_PLUGIN_SYMBOL_NAME));
  if (function == nullptr) Fail("does not export " WEIR_PLUGIN_SYMBOL_NAME);
  const weir_module* module = function();
  if (module == nullptr) Fail(WEIR_PLUGIN_SYMBOL_NAME " returned null");
  return module;
}

std::vector<Check> ModuleChecks() {
  return {{"exports", CheckExports},
          {"loads", CheckLoads},
          {"descriptor", CheckDescriptor},
          {"types", CheckTypes}};
}

}  // namespace weir::plugin_check
