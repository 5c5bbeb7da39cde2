// plugin/module_check.h: whether a library's tables are well formed.
#pragma once

#include <string>

#include "weir/plugin/abi.h"
#include "weir/status.h"

namespace weir::internal {

// Checks the tables of a module down to every pointer that the host will follow. Texts start with
// `origin`. Errors: kFailedPrecondition (ABI numbers), kInvalidArgument. [control]
absl::Status CheckModule(const weir_module* module, const std::string& origin);

}  // namespace weir::internal
