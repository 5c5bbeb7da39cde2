// weir/io/ext_proc/header_rules.h: the headers that steer requests between clients, pickers and
// servers, and who may set them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace weir::io {

inline constexpr std::string_view kDestinationHeader = "x-gateway-destination-endpoint";
inline constexpr std::string_view kServedHeader = "x-gateway-destination-endpoint-served";
inline constexpr std::string_view kScoresHeader = "x-gateway-destination-endpoint-scores";
inline constexpr std::string_view kSubsetKey = "x-gateway-destination-endpoint-subset";
inline constexpr std::string_view kDropReasonHeader = "x-llm-d-request-dropped-reason";
inline constexpr std::string_view kRequestIdHeader = "x-request-id";

enum class HeaderRule : uint8_t {
  kFree,     // anybody's
  kControl,  // a client tells the picker something; not for the server
  kOutput,   // the picker or the proxy says it
  kRouting,  // the picker tells the server's sidecar where else to go: never the client's word
};

// The rule of a header by its lower-case name. [hot, concurrent]
HeaderRule RuleOf(std::string_view name) noexcept;

// Lower case, in place. [hot, concurrent]
void LowerCase(char* text, size_t size) noexcept;

}  // namespace weir::io
