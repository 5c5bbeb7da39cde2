// weir/io/http/chunk.h: finds data and end of a chunked body in raw bytes. Start at ChunkScanner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace weir::io {

inline constexpr uint32_t kChunkLineBytesMax =
    256;  // size and extensions of one chunk, without CRLF
inline constexpr uint32_t kTrailerBytesMax = 8 * 1024;
// Bytes that chunk lines may take beyond a fair share: each chunk earns 16 bytes plus twice its
// data. Stops a body of one-byte chunks that carry long extensions.
inline constexpr uint32_t kChunkOverheadBytesMax = 16 * 1024;

enum class ChunkError : uint8_t {
  kNone = 0,
  kBadSize,          // no hex digit, or a number of more than 15 digits
  kBadExtension,     // no ';' before it, a control byte, or a bare CR or LF
  kLineTooLong,      // more than kChunkLineBytesMax
  kBadDataEnd,       // data is not followed by CRLF
  kBadTrailer,       // a control byte, a folded line, a bare CR or LF
  kTrailerTooLarge,  // more than kTrailerBytesMax
  kTooMuchOverhead,  // more than kChunkOverheadBytesMax
};

// One sentence without a full stop; lives forever. [hot, concurrent]
std::string_view ChunkErrorText(ChunkError error) noexcept;

// Walks one chunked body, in pieces that may be split anywhere. Jumps over data, so its cost
// depends on the number of chunks, not of bytes. 24 bytes of state. Serial.
class ChunkScanner {
 public:
  // Consumes the front of `bytes` up to and including the next piece of chunk data, and returns
  // that piece (a view into `bytes`). Returns an empty view once `bytes` is used up, the body has
  // ended or an error was found; after the end, `bytes` holds what follows the body. [hot, serial]
  std::string_view Next(std::string_view& bytes) noexcept;

  // Runs Next() until it returns nothing, for callers that relay the raw bytes. Returns how many of
  // `bytes` belong to the body. [hot, serial]
  size_t Skip(std::string_view bytes) noexcept;

  bool done() const noexcept { return state_ == State::kDone; }
  ChunkError error() const noexcept { return error_; }

 private:
  enum class State : uint8_t {
    kSizeFirst,
    kSize,
    kExtension,
    kSizeFeed,
    kData,
    kDataReturn,
    kDataFeed,
    kTrailerStart,
    kTrailerLine,
    kTrailerFeed,
    kEndFeed,
    kDone,
    kBad,
  };

  void Step(char c) noexcept;
  void StepSize(char c) noexcept;
  void StepTrailer(char c) noexcept;
  void Fail(ChunkError error) noexcept;
  void EndSizeLine() noexcept;

  uint64_t left_bytes_ = 0;  // of the current chunk's data
  uint32_t line_bytes_ = 0;  // of the current size line, later of the trailer
  uint32_t overhead_bytes_ = 0;
  uint8_t digit_count_ = 0;
  State state_ = State::kSizeFirst;
  ChunkError error_ = ChunkError::kNone;
};

}  // namespace weir::io
