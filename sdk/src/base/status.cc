#include "weir/status.h"

#include <iterator>

namespace weir {
namespace {

constexpr std::string_view kNames[] = {
    "ok",        "cancelled",      "unknown",           "invalid_argument",   "deadline_exceeded",
    "not_found", "already_exists", "permission_denied", "resource_exhausted", "failed_precondition",
    "aborted",   "out_of_range",   "unimplemented",     "internal",           "unavailable",
    "data_loss", "unauthenticated"};

}  // namespace

std::string_view CodeName(Code code) noexcept {
  const auto index = static_cast<uint32_t>(code);
  return index < std::size(kNames) ? kNames[index] : kNames[2];
}

}  // namespace weir
