#include "fault.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "json_text.h"

namespace weir::sim {
namespace {

struct FailureType {
  std::string_view name;
  FaultKind kind;
  uint64_t amount;  // the default where the kind has one
  std::string_view text;
};

constexpr FailureType kTypes[] = {
    {"rate_limit", FaultKind::kStatus, 429, "Rate limit reached"},
    {"invalid_api_key", FaultKind::kStatus, 401, "Incorrect API key provided"},
    {"context_length", FaultKind::kStatus, 400, "This model's maximum context length is exceeded"},
    {"server_error", FaultKind::kStatus, 503, "The server is overloaded or not ready yet"},
    {"invalid_request", FaultKind::kStatus, 400, "Invalid request"},
    {"model_not_found", FaultKind::kStatus, 404, "The model does not exist"},
    {"hang", FaultKind::kHang, 0, ""},
    {"reset", FaultKind::kReset, 0, ""},
    {"truncate", FaultKind::kTruncate, 1, ""},
};

const FailureType* Find(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTypes), std::end(kTypes),
                                   [&](const FailureType& type) { return type.name == name; });
  return found == std::end(kTypes) ? nullptr : found;
}

}  // namespace

bool IsFailureType(std::string_view name) noexcept { return Find(name) != nullptr; }

std::string FailureTypeNames() {
  std::string names = "one of";
  for (const FailureType& type : kTypes) {
    absl::StrAppend(&names, &type == kTypes ? " " : ", ", std::string(type.name));
  }
  return names;
}

std::vector<std::string> DefaultFailureTypes() {
  std::vector<std::string> names;
  for (const FailureType& type : kTypes) {
    if (type.kind == FaultKind::kStatus) names.emplace_back(type.name);
  }
  return names;
}

absl::StatusOr<Fault> ParseFault(std::string_view text) {
  const size_t colon = text.find(':');
  const FailureType* type = Find(text.substr(0, colon));
  if (type == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("fault \"", std::string(text), "\": expected ", FailureTypeNames()));
  }
  Fault fault{.kind = type->kind, .amount = type->amount, .text = type->text};
  if (colon != std::string_view::npos) {
    const std::string amount(text.substr(colon + 1));
    if (type->kind == FaultKind::kStatus || !absl::SimpleAtoi(amount, &fault.amount)) {
      return absl::InvalidArgumentError(
          absl::StrCat("fault \"", std::string(text),
                       "\": expected a count of bytes after reset: or of tokens after truncate:"));
    }
  }
  return fault;
}

std::string_view ErrorType(uint32_t status) noexcept {
  switch (status) {
    case 400:
      return "BadRequestError";
    case 401:
      return "AuthenticationError";
    case 403:
      return "PermissionDeniedError";
    case 404:
      return "NotFoundError";
    case 422:
      return "UnprocessableEntityError";
    case 429:
      return "RateLimitError";
    default:
      return status >= 500 ? "InternalServerError" : "APIConnectionError";
  }
}

std::string ErrorBody(uint32_t status, std::string_view message, std::string_view param) {
  std::string body = R"({"error":{"message":)";
  AppendJsonString(body, message);
  body += R"(,"type":)";
  AppendJsonString(body, ErrorType(status));
  body += R"(,"param":)";
  if (param.empty()) {
    body += "null";
  } else {
    AppendJsonString(body, param);
  }
  absl::StrAppend(&body, ",\"code\":", status, "}}");
  return body;
}

}  // namespace weir::sim
