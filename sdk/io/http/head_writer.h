// weir/io/http/head_writer.h: writes HTTP/1.1 heads and whole small answers into a caller's buffer.
// Start at HeadWriter and WriteErrorResponse().
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "weir/io/http/head.h"

namespace weir::io {

// The standard reason phrase, "Unknown" for a status without one. Lives forever. [hot, concurrent]
std::string_view ReasonPhrase(uint16_t status) noexcept;

// A header to add. Borrowed for the call it is given to.
struct HeaderField {
  std::string_view name;
  std::string_view value;
};

// Which headers stay behind when a head is copied, beside those that are for one hop only.
struct CopyRules {
  std::span<const std::string_view> strip;  // names, any letter case
  bool framing = false;                     // Content-Length, Transfer-Encoding and Trailer travel
  bool host = true;                         // Host travels
};

// Appends a head to a buffer of fixed size. Writing beyond the end is remembered, not done, so
// check once at the end. Bytes given must come from a parsed head or from the program itself: names
// and values are refused (as an overflow is) when they contain CR, LF or NUL. Serial.
class HeadWriter {
 public:
  HeadWriter(char* data, size_t capacity_bytes) noexcept : data_(data), capacity_(capacity_bytes) {}

  void RequestLine(std::string_view method, std::string_view target) noexcept;
  // Takes the standard reason phrase when `reason` is empty.
  void StatusLine(uint16_t status, std::string_view reason = {}) noexcept;
  void Header(std::string_view name, std::string_view value) noexcept;
  void Header(std::string_view name, uint64_t value) noexcept;

  // Copies the headers of `head` that may travel on: not Connection, Keep-Alive, Proxy-Connection,
  // TE, Upgrade, Expect, nor what Connection lists or `rules` leave behind. [hot, serial]
  void CopyHeaders(const Head& head, const CopyRules& rules) noexcept;

  void End() noexcept { Raw("\r\n"); }
  // Appends bytes as they are: a body.
  void Raw(std::string_view bytes) noexcept;

  size_t size_bytes() const noexcept { return size_; }
  bool overflow() const noexcept { return overflow_; }

 private:
  void Line(std::string_view name, std::string_view value) noexcept;

  char* data_;
  size_t capacity_;
  size_t size_ = 0;
  bool overflow_ = false;
};

// An error as OpenAI clients expect it. Empty `code` and `param` are written as null.
struct ErrorReply {
  uint16_t status = 500;
  std::string_view message;
  std::string_view type;  // empty: "invalid_request_error" for 4xx, "server_error" for 5xx
  std::string_view code;
  std::string_view param;
};

inline constexpr uint32_t kErrorReplyBytesMax = 2048;  // head and body; longer messages are cut

// Writes {"error":{"message","type","code","param"}} with escaping. Invalid UTF-8 and control bytes
// become '?', a message that does not fit is cut. Returns the bytes written.
// REQUIRES: out.size() >= 512. [hot, concurrent]
size_t WriteErrorBody(std::span<char> out, const ErrorReply& reply) noexcept;

// Writes a whole response: status line, `extra` headers, Content-Type, Content-Length, Connection:
// close if `close`, and the error body unless `head_only`. Returns the bytes written, 0 when `out`
// cannot hold head and a body of at least 512 bytes. [hot, concurrent]
size_t WriteErrorResponse(std::span<char> out, const ErrorReply& reply, bool close,
                          bool head_only = false, std::span<const HeaderField> extra = {}) noexcept;

}  // namespace weir::io
