// weir/io/http/sse.h: what the relay learns from a response body while it passes: events and usage.
// Start at SseScanner and UsageScanner. Neither changes, keeps or delays a byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace weir::io {

// Counts the events of a server-sent event stream whose bytes may be split anywhere. Lines end with
// LF, CRLF or CR. 24 bytes of state. Serial.
class SseScanner {
 public:
  // Returns how many events with data ended within `bytes`. An event without a data line (a comment
  // that keeps the connection alive) does not count, nor does "data: [DONE]". [hot, serial]
  uint32_t Feed(std::string_view bytes) noexcept;

  uint64_t data_events() const noexcept { return data_events_; }
  bool done_seen() const noexcept { return done_seen_; }  // "data: [DONE]" has passed

 private:
  void EndLine() noexcept;

  static constexpr uint32_t kPrefixBytes = 12;  // of "data: [DONE]"
  uint64_t data_events_ = 0;
  char prefix_[kPrefixBytes] = {};  // first bytes of the current line
  uint8_t prefix_size_ = 0;
  bool has_data_ = false;      // the current event has a data line that is not [DONE]
  bool after_return_ = false;  // the last byte was CR, so an LF belongs to the same line end
  bool done_seen_ = false;
};

// Token counts that a model server reports. A count it did not report is empty.
struct Usage {
  std::optional<uint64_t> prompt_tokens;      // or input_tokens
  std::optional<uint64_t> completion_tokens;  // or output_tokens
  std::optional<uint64_t> cached_tokens;      // of prompt_tokens_details or input_tokens_details

  friend bool operator==(const Usage&, const Usage&) = default;
};

// Finds "usage": {...} in the JSON of a body that passes, streamed or not, and keeps the counts of
// the last complete one. Searches for the key as bytes (an escaped quote in a text cannot look like
// it), so it works on event streams, on plain JSON and at any depth. Constant memory, no
// allocation. Anything it does not understand reads as "not reported". Serial.
class UsageScanner {
 public:
  void Feed(std::string_view bytes) noexcept;  // [hot, serial]

  // The last complete usage object; all fields empty if none has passed.
  const Usage& usage() const noexcept { return usage_; }
  bool found() const noexcept { return found_; }

 private:
  enum class State : uint8_t { kSearch, kColon, kOpen, kObject, kString, kEscape, kNumber };
  enum class Key : uint8_t { kOther, kPrompt, kCompletion, kCached, kDetails };

  size_t Search(std::string_view bytes) noexcept;
  void Step(char c) noexcept;
  void StepObject(char c) noexcept;
  void EndString() noexcept;
  void EndNumber(bool valid) noexcept;
  void CloseObject() noexcept;

  static constexpr uint32_t kTextBytesMax = 24;
  static constexpr uint8_t kDepthMax = 16;
  Usage usage_;
  Usage draft_;  // of the object being read
  uint64_t number_ = 0;
  char text_[kTextBytesMax] = {};  // the current string, or the last bytes seen while searching
  uint8_t text_size_ = 0;          // kTextBytesMax + 1 means longer than any name we know
  uint8_t depth_ = 0;
  uint8_t details_depth_ = 0;  // depth of the details object we are in, or 0
  State state_ = State::kSearch;
  Key key_ = Key::kOther;  // of the value that is being read
  bool is_value_ = false;  // a colon was seen: the next string or number is a value
  bool found_ = false;
};

}  // namespace weir::io
