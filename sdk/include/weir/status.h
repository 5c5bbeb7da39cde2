// weir/status.h: how weir reports failure. Cold calls return absl::Status or absl::StatusOr<T>; hot
// calls return Code, which never allocates.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace weir {

// Values are those of absl::StatusCode and of weir_code in the plugin ABI.
enum class [[nodiscard]] Code : int32_t{
    kOk = 0,
    kCancelled = 1,
    kUnknown = 2,
    kInvalidArgument = 3,
    kDeadlineExceeded = 4,
    kNotFound = 5,
    kAlreadyExists = 6,
    kPermissionDenied = 7,
    kResourceExhausted = 8,
    kFailedPrecondition = 9,
    kAborted = 10,
    kOutOfRange = 11,
    kUnimplemented = 12,
    kInternal = 13,
    kUnavailable = 14,
    kDataLoss = 15,
    kUnauthenticated = 16,
};

// The code's name in lower_snake_case, for example "resource_exhausted"; "unknown" for a value
// outside the list. The text lives forever. [hot, concurrent]
std::string_view CodeName(Code code) noexcept;

}  // namespace weir
