// elf_exports.h: what a shared object exports, without running any of its code.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "weir/status.h"

namespace weir::plugin_check {

inline constexpr uint64_t kLibraryBytesMax = 1ull << 30;
inline constexpr uint64_t kExportsMax = 1u << 20;

// Names of the defined symbols that other objects can bind to, in the order of the table.
// `image` is the whole file. Errors: kInvalidArgument (no 64-bit little-endian ELF shared object,
// no dynamic symbol table, offsets outside the file).
absl::StatusOr<std::vector<std::string>> ElfExports(std::string_view image);

}  // namespace weir::plugin_check
