#include "weir/io/http/chunk.h"

#include <algorithm>

namespace weir::io {
namespace {

constexpr uint8_t kSizeDigitsMax = 15;  // below 2^60

int HexValue(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool IsText(char c) noexcept {
  const auto byte = static_cast<uint8_t>(c);
  return (byte >= 0x20 && byte != 0x7f) || byte == '\t';
}

}  // namespace

std::string_view ChunkErrorText(ChunkError error) noexcept {
  switch (error) {
    case ChunkError::kNone:
      return "no error";
    case ChunkError::kBadSize:
      return "a chunk size is not a hexadecimal number of 1 to 15 digits";
    case ChunkError::kBadExtension:
      return "a chunk extension is malformed";
    case ChunkError::kLineTooLong:
      return "a chunk size line is longer than 256 bytes";
    case ChunkError::kBadDataEnd:
      return "chunk data is not followed by CRLF";
    case ChunkError::kBadTrailer:
      return "a trailer line is malformed";
    case ChunkError::kTrailerTooLarge:
      return "the trailer is larger than 8192 bytes";
    case ChunkError::kTooMuchOverhead:
      return "chunk extensions outweigh the data";
  }
  return "unknown error";
}

void ChunkScanner::Fail(ChunkError error) noexcept {
  error_ = error;
  state_ = State::kBad;
}

void ChunkScanner::EndSizeLine() noexcept {
  overhead_bytes_ += line_bytes_;
  const uint64_t earned = 16 + 2 * left_bytes_;
  overhead_bytes_ -= static_cast<uint32_t>(std::min<uint64_t>(overhead_bytes_, earned));
  line_bytes_ = 0;
  if (overhead_bytes_ > kChunkOverheadBytesMax) return Fail(ChunkError::kTooMuchOverhead);
  state_ = left_bytes_ == 0 ? State::kTrailerStart : State::kData;
}

void ChunkScanner::StepSize(char c) noexcept {
  if (++line_bytes_ > kChunkLineBytesMax && c != '\r' && c != '\n')
    return Fail(ChunkError::kLineTooLong);
  switch (state_) {
    case State::kSizeFirst:
      left_bytes_ = 0;
      digit_count_ = 0;
      state_ = State::kSize;
      [[fallthrough]];
    case State::kSize: {
      const int digit = HexValue(c);
      if (digit >= 0) {
        if (++digit_count_ > kSizeDigitsMax) return Fail(ChunkError::kBadSize);
        left_bytes_ = left_bytes_ * 16 + static_cast<uint64_t>(digit);
        return;
      }
      if (digit_count_ == 0) return Fail(ChunkError::kBadSize);
      if (c == '\r') {
        state_ = State::kSizeFeed;
      } else if (c == ';') {
        state_ = State::kExtension;
      } else {
        Fail(ChunkError::kBadExtension);
      }
      return;
    }
    case State::kExtension:
      if (c == '\r') {
        state_ = State::kSizeFeed;
      } else if (!IsText(c)) {
        Fail(ChunkError::kBadExtension);
      }
      return;
    default:  // kSizeFeed
      if (c != '\n') return Fail(ChunkError::kBadExtension);
      return EndSizeLine();
  }
}

void ChunkScanner::StepTrailer(char c) noexcept {
  if (++line_bytes_ > kTrailerBytesMax) return Fail(ChunkError::kTrailerTooLarge);
  switch (state_) {
    case State::kTrailerStart:
      if (c == '\r') {
        state_ = State::kEndFeed;
      } else if (!IsText(c) || c == ' ' || c == '\t') {
        Fail(ChunkError::kBadTrailer);
      } else {
        state_ = State::kTrailerLine;
      }
      return;
    case State::kTrailerLine:
      if (c == '\r') {
        state_ = State::kTrailerFeed;
      } else if (!IsText(c)) {
        Fail(ChunkError::kBadTrailer);
      }
      return;
    case State::kTrailerFeed:
      if (c != '\n') return Fail(ChunkError::kBadTrailer);
      state_ = State::kTrailerStart;
      return;
    default:  // kEndFeed
      if (c != '\n') return Fail(ChunkError::kBadTrailer);
      state_ = State::kDone;
      return;
  }
}

void ChunkScanner::Step(char c) noexcept {
  switch (state_) {
    case State::kSizeFirst:
    case State::kSize:
    case State::kExtension:
    case State::kSizeFeed:
      return StepSize(c);
    case State::kDataReturn:
      if (c != '\r') return Fail(ChunkError::kBadDataEnd);
      state_ = State::kDataFeed;
      return;
    case State::kDataFeed:
      if (c != '\n') return Fail(ChunkError::kBadDataEnd);
      state_ = State::kSizeFirst;
      return;
    default:
      return StepTrailer(c);
  }
}

std::string_view ChunkScanner::Next(std::string_view& bytes) noexcept {
  while (!bytes.empty() && state_ < State::kDone) {
    if (state_ == State::kData) {
      const std::string_view data =
          bytes.substr(0, static_cast<size_t>(std::min<uint64_t>(left_bytes_, bytes.size())));
      bytes.remove_prefix(data.size());
      left_bytes_ -= data.size();
      if (left_bytes_ == 0) state_ = State::kDataReturn;
      return data;
    }
    Step(bytes.front());
    bytes.remove_prefix(1);
  }
  return {};
}

size_t ChunkScanner::Skip(std::string_view bytes) noexcept {
  std::string_view rest = bytes;
  while (!Next(rest).empty()) {
  }
  return bytes.size() - rest.size();
}

}  // namespace weir::io
