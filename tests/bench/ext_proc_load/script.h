// ext_proc_load/script.h: what Envoy says in each request, made once: headers, prompts, events.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace weir::bench {

inline constexpr size_t kPromptBytesMax = 64u << 20;       // of one body
inline constexpr size_t kPromptsHeldBytesMax = 64u << 20;  // of all conversations together
inline constexpr uint32_t kEventsMax = 100'000;
inline constexpr size_t kUniqueBytes = 16;  // hexadecimal digits that differ in each request

struct ScriptOptions {
  size_t body_bytes = 1024;  // of the JSON, exactly
  // Conversations that the prompts belong to: each has its own text behind a system prompt that all
  // share, and each request ends it with something new. Fewer if they do not fit in memory.
  uint32_t conversations = 64;
  bool distinct = false;  // the new part comes first: no two prompts share a block
  uint32_t events = 8;    // pieces of the response; the last has the usage and ends the stream
  std::string model = "m";
};

// Framed bytes to send, of which `unique_offset` on kUniqueBytes are written anew in each request.
struct Wire {
  static constexpr size_t kNone = ~size_t{0};
  std::string bytes;
  size_t unique_offset = kNone;

  // Copies bytes [from, from + size) to `out`, with the digits of `unique` in their place. [hot]
  void Copy(size_t from, size_t size, uint64_t unique, char* out) const noexcept;
};

struct Conversation {
  Wire body;  // the JSON alone
  Wire wire;  // in messages of kBodyChunkBytes
};

// Read only once made.
struct Script {
  // Errors: kInvalidArgument if the body is too small for a request or too large.
  static absl::StatusOr<Script> Make(const ScriptOptions& options);

  size_t body_bytes = 0;
  Wire request_headers;
  std::vector<Conversation> conversations;
  Wire response_headers;
  std::vector<Wire> events;
  std::vector<size_t> event_bytes;  // of the bodies
};

}  // namespace weir::bench
