// load/files.h: whole files in and out.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace weir::load {

// Errors: kNotFound or kResourceExhausted (larger than bytes_max), naming the file. [io]
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t bytes_max);

// Replaces the file as a whole: it never holds half of `text`. Errors: kUnavailable, naming the
// file and the reason. [io]
absl::Status WriteFile(const std::string& path, std::string_view text);

}  // namespace weir::load
