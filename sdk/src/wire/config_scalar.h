// wire/config_scalar.h: the texts of a configuration that mean something: plain scalars,
// quantities, durations.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "wire/config_node.h"

namespace weir::internal {

// The value of an unquoted scalar by YAML's core schema: null, booleans, integers (decimal, 0o,
// 0x), numbers (with .inf and .nan), else a string. Line and text are left to the caller.
ConfigNode PlainScalar(std::string_view text);

struct BadText {
  int line;
  std::string what;
};
// The first byte that no configuration may hold: broken UTF-8 or a control byte other than tab and
// line ends.
std::optional<BadText> FindBadText(std::string_view text);

// A quantity as Kubernetes writes it: "100", "1k", "1.5Gi", "500M", "2e3". Fractions round up. Null
// if it is none or does not fit.
std::optional<int64_t> ParseQuantity(std::string_view text);

// A duration as Go writes it: "200ms", "1h30m", "-1.5s", "0". Units ns us µs ms s m h. Null if it
// is none or does not fit 64 bits of nanoseconds.
std::optional<int64_t> ParseDurationNs(std::string_view text);

}  // namespace weir::internal
