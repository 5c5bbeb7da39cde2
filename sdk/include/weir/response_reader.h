// weir/response_reader.h: what is learnt from a response while it passes: token counts and events.
// Nothing is changed, kept or delayed. Start at ResponseReader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "weir/response_format.h"

namespace weir {

// Token counts that a model server reports. A count that it did not report is empty.
struct ResponseUsage {
  std::optional<uint64_t> prompt_tokens;
  std::optional<uint64_t> completion_tokens;
  std::optional<uint64_t> total_tokens;  // reported beside both of these, else their sum
  std::optional<uint64_t> cached_tokens;

  friend bool operator==(const ResponseUsage&, const ResponseUsage&) = default;
};

// Reads a response body whose bytes may be split anywhere. Constant memory, no allocation; what it
// does not understand reads as "not reported". A value: assign a new one to start again. Serial.
class ResponseReader {
 public:
  ResponseReader() noexcept = default;
  explicit ResponseReader(ResponseFormat format) noexcept;

  void Feed(std::string_view bytes) noexcept;  // [hot, serial]

  // What was reported so far. Later reports replace the counts that they carry, unless by zero, and
  // leave the rest.
  const ResponseUsage& usage() const noexcept { return usage_; }
  // Lines with data of an event stream, each counted when its data begins; "[DONE]" is none. For
  // gRPC, messages. 0 for plain JSON.
  uint64_t events() const noexcept { return events_; }

 private:
  // Finds "usage": {...} (or "meta_info") in JSON and keeps its counts. Searches for the key as
  // bytes, at any depth; an escaped quote in a text cannot look like it.
  struct JsonScan {
    enum class State : uint8_t { kSearch, kColon, kOpen, kObject, kString, kEscape, kNumber };
    enum class Key : uint8_t {
      kOther,
      kPrompt,
      kCompletion,
      kTotal,
      kCached,
      kDetails,
      kCacheRead
    };
    static constexpr uint32_t kTextBytesMax = 24;

    uint64_t number = 0;
    char text[kTextBytesMax] = {};  // the current string, or the last bytes seen while searching
    uint8_t text_size = 0;          // kTextBytesMax + 1 means longer than any name we know
    uint8_t depth = 0;
    uint8_t details_depth = 0;  // depth of the details object we are in, or 0
    State state = State::kSearch;
    Key key = Key::kOther;  // of the value that is being read
    bool is_value = false;  // a colon was seen: the next string or number is a value
  };
  // Counts the lines of an event stream that carry data.
  struct LineScan {
    enum class State : uint8_t { kName, kSpace, kData, kRest };
    State state = State::kName;
    uint8_t matched = 0;  // bytes of "data:" or "[DONE]"
  };
  // Walks over gRPC frames and the fields of their messages.
  struct FrameScan {
    enum class State : uint8_t { kHeader, kTag, kVarint, kLength, kSkip, kJson };
    uint64_t value = 0;         // of the number being read
    uint64_t message_left = 0;  // bytes
    uint64_t inner_left = 0;    // of the message inside it, if field_outer is not 0
    uint64_t run_left = 0;      // of kSkip and kJson
    uint32_t field = 0;
    uint8_t field_outer = 0;  // number of the field that the inner message is
    uint8_t value_bytes = 0;  // of `value` that came
    State state = State::kHeader;
    bool compressed = false;
  };

  void FeedJson(std::string_view bytes) noexcept;
  size_t SearchKey(std::string_view bytes) noexcept;
  void StepJson(char c) noexcept;
  void StepObject(char c) noexcept;
  void EndString() noexcept;
  void EndNumber(bool valid) noexcept;
  void CloseObject() noexcept;
  void CountLines(std::string_view bytes) noexcept;
  void FeedFrames(std::string_view bytes) noexcept;
  size_t StepFrame(std::string_view bytes) noexcept;
  bool TakeNumber(char c) noexcept;
  void BeginField() noexcept;
  void BeginRun() noexcept;
  void TakeCount() noexcept;
  void SkipMessage() noexcept;
  void UseBytes(uint64_t bytes) noexcept;
  void Settle() noexcept;
  void Merge() noexcept;
  std::string_view usage_key() const noexcept;

  ResponseFormat format_ = ResponseFormat::kNone;
  LineScan line_;
  JsonScan json_;
  FrameScan frame_;
  ResponseUsage draft_;  // of the report that is being read
  ResponseUsage usage_;
  uint64_t events_ = 0;
};

}  // namespace weir
