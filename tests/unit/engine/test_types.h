// test_types.h: plugin types for tests of the configuration.
#pragma once

#include "plugin/registry.h"

namespace weir::internal {

// The built-in types and those of test_types.cc, which do nothing.
PluginRegistry TestRegistry();

}  // namespace weir::internal
