// checks.h: what weir-plugin-check demands of a plugin library.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "driver.h"
#include "weir/plugin/abi.h"

namespace weir::plugin_check {

// The check does not apply; the text says why.
class CheckSkipped : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct CheckContext {
  std::string file;
  const weir_module* module = nullptr;
  uint64_t seed = 1;
  Progress progress;
};

// One line of the report. Returns a detail for it, may be empty; throws CheckFailure or
// CheckSkipped.
struct Check {
  std::string name;  // "exports", "zone-scorer/sizes"
  std::function<std::string(const CheckContext&)> run;
};

// Of the file and its description: exports, descriptor, types.
std::vector<Check> ModuleChecks();
// Of one plugin type. Names start with the type and '/'.
std::vector<Check> TypeChecks(const std::string& type);

// The description that the library returns. Throws CheckFailure: cannot be loaded, no symbol, null.
// The library stays loaded.
const weir_module* LoadModule(const std::string& file);

}  // namespace weir::plugin_check
