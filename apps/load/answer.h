// load/answer.h: what the client reads out of an answer while it arrives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace weir::load {

inline constexpr size_t kEventLineBytesMax = 1 << 20;

// The text that one event or one whole answer carries, as the inside of a JSON string: the first
// non-empty "content", "text" or "reasoning_content" member. Empty if there is none.
std::string_view FindAnswerText(std::string_view json) noexcept;

// Follows an answer whose bytes may be split anywhere. One thread at a time.
class AnswerScanner {
 public:
  // `streaming`: the body is a stream of server-sent events, otherwise one JSON object.
  // `keep_text`: collect the answer's text, up to kAnswerBytesMax bytes (load/source.h).
  void Start(bool streaming, bool keep_text);

  // Returns how many events within `bytes` carried text or a tool call.
  uint32_t Feed(std::string_view bytes);

  // Says that the body is complete.
  void End();

  bool done_seen() const noexcept { return done_seen_; }    // "data: [DONE]", or the object
  bool error_seen() const noexcept { return error_seen_; }  // an "error" member instead of text
  bool too_long() const noexcept { return too_long_; }      // a line over kEventLineBytesMax
  // The text so far, as the inside of a JSON string. Valid until the next Start().
  const std::string& text() const noexcept { return text_; }

 private:
  uint32_t ReadLine(std::string_view line);
  bool ReadPayload(std::string_view json);

  bool streaming_ = true, keep_text_ = false;
  bool done_seen_ = false, error_seen_ = false, too_long_ = false;
  std::string partial_;
  std::string text_;
};

}  // namespace weir::load
