// weir/io/http/head.h: HTTP/1.x request and response heads as views into the bytes that carried
// them. Start at ParseRequestHead() and ParseResponseHead().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace weir::io {

inline constexpr uint32_t kHeadBytesMax =
    64 * 1024;                                // default limit of one head, final CRLF included
inline constexpr uint32_t kHeadersMax = 128;  // header lines of one head
inline constexpr uint32_t kTargetBytesMax = 8 * 1024;  // request target
inline constexpr uint32_t kMethodBytesMax = 24;
inline constexpr uint32_t kHopNamesMax =
    8;  // names that Connection lists beside close, keep-alive, upgrade

// Why a head was refused. kIncomplete is no refusal: more bytes are needed.
enum class HeadError : uint8_t {
  kNone = 0,
  kIncomplete,
  kHeadTooLarge,
  kTooManyHeaders,
  kNotHttp,  // the first byte starts no HTTP/1 message: a TLS hello, for example
  kHttp2Preface,
  kBareLineFeed,  // a line ended by LF alone
  kBadMethod,
  kMethodNotImplemented,  // CONNECT and TRACE
  kBadTarget,
  kTargetTooLong,
  kBadVersion,
  kVersionNotSupported,
  kBadStatusLine,
  kEmptyHeaderName,
  kBadHeaderName,
  kSpaceBeforeColon,
  kNoColon,
  kFoldedHeader,    // obs-fold: a line that starts with a space or tab
  kBadHeaderValue,  // a control byte, which includes a bare CR
  kBadContentLength,
  kDuplicateContentLength,
  kLengthAndChunked,
  kTransferEncodingNotImplemented,
  kDuplicateTransferEncoding,
  kTransferEncodingInHttp10,
  kMissingHost,
  kDuplicateHost,
  kBadHost,
  kBadConnection,  // lists a framing header, or more than kHopNamesMax names
  kExpectationFailed,
};
inline constexpr uint32_t kHeadErrorCount =
    static_cast<uint32_t>(HeadError::kExpectationFailed) + 1;

// One sentence without a full stop, for example "the head has more than 128 header lines". The text
// lives forever. [hot, concurrent]
std::string_view HeadErrorText(HeadError error) noexcept;
// The status that answers a request refused for `error`: 400, 414, 417, 431, 501 or 505.
// [hot, concurrent]
uint16_t HeadErrorStatus(HeadError error) noexcept;

// Headers that HTTP itself gives a meaning which a proxy must act on; every other one is kOther.
enum class HeaderId : uint8_t {
  kOther = 0,
  kConnection,
  kContentLength,
  kExpect,
  kHost,
  kKeepAlive,
  kProxyConnection,
  kTe,
  kTrailer,
  kTransferEncoding,
  kUpgrade,
};

enum class Method : uint8_t { kOther = 0, kGet, kHead, kPost, kPut, kPatch, kDelete, kOptions };

// How the end of a message's body is found.
enum class BodyFraming : uint8_t { kNone = 0, kLength, kChunked, kUntilClose };

struct HeaderView {
  std::string_view name;   // as sent, any letter case
  std::string_view value;  // without surrounding spaces and tabs
  HeaderId id = HeaderId::kOther;
};

// What requests and responses share. All views point into the bytes given to the parser and are
// valid as long as those stay where they are.
struct Head {
  uint32_t size_bytes = 0;    // of the whole head, final empty line included
  uint32_t header_count = 0;  // <= kHeadersMax
  uint8_t version_minor = 1;  // 0 or 1
  BodyFraming framing = BodyFraming::kNone;
  bool keep_alive = true;  // what the sender is willing to do after this message
  uint8_t hop_name_count = 0;
  uint64_t content_length = 0;                           // meaningful for BodyFraming::kLength
  std::array<std::string_view, kHopNamesMax> hop_names;  // headers that Connection names
  std::array<HeaderView, kHeadersMax> header_lines;

  std::span<const HeaderView> headers() const noexcept {
    return {header_lines.data(), header_count};
  }
  // Value of the first header with that name, letter case ignored; empty view with a null data()
  // when absent. O(headers). [hot, concurrent]
  std::string_view Find(std::string_view name) const noexcept;
  // Whether Connection declares this header to be for one hop only. [hot, concurrent]
  bool IsHopName(std::string_view name) const noexcept;
};

struct RequestHead : Head {
  Method method_id = Method::kOther;
  bool expect_continue = false;  // the client waits for "100 Continue" before its body
  std::string_view method;
  std::string_view target;  // as sent
  // Origin form of the target: path and query, or "*" for OPTIONS. An absolute-form target loses
  // scheme and authority here.
  std::string_view path_and_query;
  // path_and_query up to the first '?'. [hot, concurrent]
  std::string_view path() const noexcept {
    return path_and_query.substr(0, path_and_query.find('?'));
  }
};

struct ResponseHead : Head {
  uint16_t status = 0;  // 100..599
  std::string_view reason;
  bool informational() const noexcept { return status < 200; }
};

// Where the search for the end of a head continues when more bytes arrive. One per message.
struct HeadCursor {
  uint32_t line_start = 0;  // of the first line whose end was not seen yet
};

struct HeadLimits {
  uint32_t head_bytes_max = kHeadBytesMax;
};

// Reads a request head from the front of `bytes`: kNone when `head` is filled, kIncomplete when the
// empty line has not arrived (call again with the same and more bytes, and the same cursor), else
// the reason to refuse. One empty line before the request line is skipped and counted in
// size_bytes. Strict: CRLF line ends only, one Content-Length or exactly "chunked", a Host for 1.1,
// no folding, no control bytes. O(bytes), no allocation; a head that arrives byte by byte costs
// O(bytes) too. [hot, serial]
[[nodiscard]] HeadError ParseRequestHead(std::string_view bytes, HeadCursor& cursor,
                                         RequestHead& head, const HeadLimits& limits = {}) noexcept;

// The same for a response to a request of that method, which decides the framing: HEAD, 1xx, 204
// and 304 have no body whatever their headers say. [hot, serial]
[[nodiscard]] HeadError ParseResponseHead(std::string_view bytes, Method request_method,
                                          HeadCursor& cursor, ResponseHead& head,
                                          const HeadLimits& limits = {}) noexcept;

// Whether two ASCII texts are equal when letter case is ignored. [hot, concurrent]
bool EqualsIgnoreCase(std::string_view a, std::string_view b) noexcept;

}  // namespace weir::io
