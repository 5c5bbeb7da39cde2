// builtins.h: the lists of plugin types that are part of weir, for the engine's registry.
#pragma once

#include <span>
#include <string_view>

#include "weir/plugin/abi.h"

namespace weir::internal {

// One function per built-in plugin folder. [control, concurrent]
std::span<const weir_plugin_module_fn> Builtins() noexcept;

// A type that runs outside the engine, in weir_io: data sources, extractors, discovery, parsers,
// hooks on responses.
// The engine knows its name and its parameters.
struct ConfiguredType {
  std::string_view
      kind;  // the folder above: "data_sources", "extractors", "discovery", "parsers" ...
  std::string_view type;
  uint32_t stability;  // WEIR_STABILITY_...
  std::string_view params_schema;
};

// One entry per weir_configured() folder. [control, concurrent]
std::span<const ConfiguredType> ConfiguredTypes() noexcept;

}  // namespace weir::internal
