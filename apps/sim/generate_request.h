// A request for generation, whatever API it came through.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weir/status.h"

namespace weir::sim {

// Most choices that one request may ask for: prompts times n.
inline constexpr uint32_t kChoicesMax = 1024;

enum class Api : uint8_t {
  kChat,         // POST /v1/chat/completions
  kCompletions,  // POST /v1/completions
  kResponses,    // POST /v1/responses
  kMessages,     // POST /v1/messages
  kTokens,       // POST /inference/v1/generate: token ids in and out
  kSglang,       // POST /generate
};

// One prompt of a request.
struct Prompt {
  std::string text;  // empty if it came as ids
  std::vector<uint32_t> tokens;
  std::string echo;  // what echo mode answers
};

struct GenerateRequest {
  Api api = Api::kChat;
  std::string model;       // empty: the first one served
  std::string request_id;  // the client's, empty if none
  std::vector<Prompt> prompts;
  uint32_t choices = 1;     // per prompt
  uint32_t tokens_max = 0;  // 0: no limit
  uint32_t tokens_min = 0;
  bool ignore_eos = false;
  bool stream = false;
  bool include_usage = false;
  bool return_token_ids = false;
  int32_t priority = 0;
  std::string cache_salt;
  std::optional<int64_t> seed;
};

// Reads a body. Errors: kInvalidArgument with a text for the client; limits are those of
// weir-sim's flags and kChoicesMax.
absl::StatusOr<GenerateRequest> ParseGenerateRequest(Api api, std::string_view body);

// The text that a chat's messages become. Errors: kInvalidArgument.
absl::StatusOr<std::string> RenderChat(std::string_view body);

}  // namespace weir::sim
