// The symbol table reader of weir-plugin-check: any file is an answer or an error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "elf_exports.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto exports = weir::plugin_check::ElfExports({reinterpret_cast<const char*>(data), size});
  return exports.ok() || !exports.status().message().empty() ? 0 : 1;
}
