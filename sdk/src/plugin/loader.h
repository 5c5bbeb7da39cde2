// plugin/loader.h: shared objects.
#pragma once

#include <string>

#include "weir/plugin/abi.h"
#include "weir/status.h"

namespace weir::internal {

// Maps a plugin library until the process exits and returns its description, unchecked. Errors:
// kNotFound (no such file, or it cannot be linked), kInvalidArgument (no weir plugin); the text
// starts with the path. [control, concurrent]
absl::StatusOr<const weir_module*> LoadPluginLibrary(const std::string& path);

}  // namespace weir::internal
