// builtins.h: the list of built-in plugin modules, for the engine's registry.
#pragma once

#include <span>

#include "weir/plugin/abi.h"

namespace weir::internal {

// One function per built-in plugin folder. [control, concurrent]
std::span<const weir_plugin_module_fn> Builtins() noexcept;

}  // namespace weir::internal
