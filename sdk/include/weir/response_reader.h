// weir/response_reader.h: what is learnt from a response while it passes: token counts and events.
// Nothing is changed, kept or delayed.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "weir/response_format.h"

namespace weir {

// Token counts that a model server reports. A count that it did not report is empty.
struct ResponseUsage {
  std::optional<uint64_t> prompt_tokens;
  std::optional<uint64_t> completion_tokens;
  std::optional<uint64_t> total_tokens;  // reported, or the sum of the two above
  std::optional<uint64_t> cached_tokens;

  friend bool operator==(const ResponseUsage&, const ResponseUsage&) = default;
};

// Reads a response body whose bytes may be split anywhere. Constant memory, no allocation; what it
// does not understand reads as "not reported". A value: copy or assign it to start again. Serial.
class ResponseReader {
 public:
  ResponseReader() noexcept = default;
  explicit ResponseReader(ResponseFormat format) noexcept;

  void Feed(std::string_view bytes) noexcept;  // [hot, serial]

  // What was reported so far. Later reports replace the counts that they carry and leave the rest.
  const ResponseUsage& usage() const noexcept;
  // Events that carried data ("[DONE]" is none); for gRPC formats, messages. 0 for plain JSON.
  uint64_t events() const noexcept;
};

}  // namespace weir
