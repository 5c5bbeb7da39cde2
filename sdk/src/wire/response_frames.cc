// ResponseReader: gRPC frames, whose messages are walked over as they pass. Field numbers are those
// of the .proto files.
#include <algorithm>

#include "weir/response_reader.h"

namespace weir {
namespace {

constexpr uint8_t kHeaderBytes = 5;  // compressed flag, big-endian length
constexpr uint8_t kVarintBytesMax = 10;

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

// vllm.grpc.engine.GenerateResponse: chunk and complete, whose counts follow each other.
constexpr uint32_t kChunk = 1;
constexpr uint32_t kComplete = 2;
constexpr uint32_t kChunkPromptTokens = 2;
constexpr uint32_t kCompletePromptTokens = 3;
constexpr uint32_t kEmbedPromptTokens = 2;  // of EmbedResponse
constexpr uint32_t kHttpBodyData = 2;       // of google.api.HttpBody

}  // namespace

void ResponseReader::FeedFrames(std::string_view bytes) noexcept {
  while (!bytes.empty()) bytes.remove_prefix(StepFrame(bytes));
}

// Returns how many bytes were used.
size_t ResponseReader::StepFrame(std::string_view bytes) noexcept {
  using State = FrameScan::State;
  if (frame_.state == State::kHeader) {
    if (frame_.value_bytes == 0) frame_.compressed = bytes[0] != 0;
    frame_.value = (frame_.value << 8 | static_cast<unsigned char>(bytes[0])) & 0xffffffff;
    if (++frame_.value_bytes < kHeaderBytes) return 1;
    const uint64_t size = frame_.value;
    const bool skipped = frame_.compressed;
    frame_ = {.message_left = size, .state = size == 0 ? State::kHeader : State::kTag};
    ++events_;
    if (skipped && size > 0) SkipMessage();
    return 1;
  }
  if (frame_.state == State::kSkip || frame_.state == State::kJson) {
    const size_t run = std::min<uint64_t>(frame_.run_left, bytes.size());
    if (frame_.state == State::kJson) FeedJson(bytes.substr(0, run));
    frame_.run_left -= run;
    if (frame_.run_left == 0) frame_.state = State::kTag;
    UseBytes(run);
    Settle();
    return run;
  }
  UseBytes(1);
  if (TakeNumber(bytes[0])) {
    if (frame_.state == State::kTag) {
      BeginField();
    } else if (frame_.state == State::kLength) {
      BeginRun();
    } else {
      TakeCount();
      frame_.state = State::kTag;
    }
  }
  Settle();
  return 1;
}

// Adds a byte to the varint that is being read; true if it is the last one.
bool ResponseReader::TakeNumber(char c) noexcept {
  const auto byte = static_cast<unsigned char>(c);
  if (frame_.value_bytes == 0) frame_.value = 0;
  frame_.value |= uint64_t{byte & 0x7fu} << (7 * frame_.value_bytes);
  if ((byte & 0x80) == 0) {
    frame_.value_bytes = 0;
    return true;
  }
  if (++frame_.value_bytes == kVarintBytesMax) SkipMessage();
  return false;
}

void ResponseReader::BeginField() noexcept {
  using State = FrameScan::State;
  frame_.field = static_cast<uint32_t>(std::min<uint64_t>(frame_.value >> 3, UINT32_MAX));
  switch (frame_.value & 7) {
    case kVarint:
      frame_.state = State::kVarint;
      return;
    case kLengthDelimited:
      frame_.state = State::kLength;
      return;
    case kFixed32:
    case kFixed64:
      frame_.value = (frame_.value & 7) == kFixed32 ? 4 : 8;
      frame_.field = 0;  // nothing that is read has this type
      return BeginRun();
    default:
      return SkipMessage();
  }
}

// A field of frame_.value bytes follows.
void ResponseReader::BeginRun() noexcept {
  using State = FrameScan::State;
  const bool inside = frame_.field_outer != 0;
  const uint64_t left = inside ? frame_.inner_left : frame_.message_left;
  if (frame_.value > left) return SkipMessage();
  frame_.state = State::kTag;
  if (frame_.value == 0) return;
  const bool is_inner = format_ == ResponseFormat::kVllmGenerate && !inside &&
                        (frame_.field == kChunk || frame_.field == kComplete);
  if (is_inner) {
    frame_.field_outer = static_cast<uint8_t>(frame_.field);
    frame_.inner_left = frame_.value;
    return;
  }
  const bool is_json = format_ == ResponseFormat::kVertex && frame_.field == kHttpBodyData;
  frame_.state = is_json ? State::kJson : State::kSkip;
  frame_.run_left = frame_.value;
}

void ResponseReader::TakeCount() noexcept {
  if (format_ == ResponseFormat::kVllmEmbed) {
    if (frame_.field == kEmbedPromptTokens) draft_.prompt_tokens = frame_.value;
    return;
  }
  if (format_ != ResponseFormat::kVllmGenerate || frame_.field_outer == 0) return;
  const uint32_t first = frame_.field_outer == kChunk ? kChunkPromptTokens : kCompletePromptTokens;
  if (frame_.field == first) draft_.prompt_tokens = frame_.value;
  if (frame_.field == first + 1) draft_.completion_tokens = frame_.value;
  if (frame_.field == first + 2) draft_.cached_tokens = frame_.value;
}

// What is left of the message makes no sense, or is compressed.
void ResponseReader::SkipMessage() noexcept {
  frame_.state = FrameScan::State::kSkip;
  frame_.run_left = frame_.message_left;
  frame_.field_outer = 0;
  frame_.value_bytes = 0;
  draft_ = {};
}

void ResponseReader::UseBytes(uint64_t bytes) noexcept {
  frame_.message_left -= bytes;
  if (frame_.field_outer != 0) frame_.inner_left -= bytes;
}

// Leaves messages that are at their end.
void ResponseReader::Settle() noexcept {
  if (frame_.message_left == 0) {
    if (format_ != ResponseFormat::kVertex) Merge();
    frame_ = {};
    return;
  }
  if (frame_.field_outer == 0 || frame_.inner_left > 0) return;
  const bool between_fields = frame_.state == FrameScan::State::kTag && frame_.value_bytes == 0;
  frame_.field_outer = 0;
  if (!between_fields) SkipMessage();  // a field reaches beyond its message
}

}  // namespace weir
