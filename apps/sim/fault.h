// Failures that a simulated server can be told to have.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weir/status.h"

namespace weir::sim {

enum class FaultKind : uint8_t {
  kNone,
  kStatus,    // answer with an HTTP error
  kHang,      // never answer
  kReset,     // close the connection after `amount` bytes of the answer's body
  kTruncate,  // the stream ends after `amount` tokens, without its last frame
};

struct Fault {
  FaultKind kind = FaultKind::kNone;
  uint64_t amount = 0;    // bytes, tokens, or the status
  std::string_view text;  // message of a status; lives forever
};

// Failure types that --failure-types and X-Sim-Fault know.
bool IsFailureType(std::string_view name) noexcept;
std::string FailureTypeNames();
// Those that a rate without a list chooses from: all that are an HTTP error.
std::vector<std::string> DefaultFailureTypes();

// Reads "name" or "name:amount", for example "reset:512". Errors: kInvalidArgument.
absl::StatusOr<Fault> ParseFault(std::string_view text);

// The error type that the API gives for a status, for example "NotFoundError" for 404.
std::string_view ErrorType(uint32_t status) noexcept;

// {"error":{"message":...,"type":...,"param":null or name,"code":status}}.
std::string ErrorBody(uint32_t status, std::string_view message, std::string_view param = {});

}  // namespace weir::sim
