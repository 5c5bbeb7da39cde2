// weir/response_format.h: the formats of model servers' responses.
#pragma once

#include <cstdint>

namespace weir {

// How the responses to a request tell token counts.
enum class ResponseFormat : uint32_t {
  kNone = 0,          // not known, nothing is read
  kOpenAi = 1,        // JSON or events with "usage"
  kAnthropic = 2,     // JSON or events with "usage", whose parts come one after the other
  kSglang = 3,        // JSON or events with "meta_info"
  kVllmGenerate = 4,  // gRPC frames with vllm.grpc.engine.GenerateResponse
  kVllmEmbed = 5,     // gRPC frames with vllm.grpc.engine.EmbedResponse
  kVertex = 6,        // gRPC frames with google.api.HttpBody that holds kOpenAi
};

}  // namespace weir
