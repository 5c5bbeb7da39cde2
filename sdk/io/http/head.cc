#include "weir/io/http/head.h"

#include <cstring>

namespace weir::io {
namespace {

enum : uint8_t { kTokenChar = 1, kTargetChar = 2, kHostChar = 4 };

constexpr std::array<uint8_t, 256> MakeCharTable() {
  std::array<uint8_t, 256> table{};
  for (uint32_t c = 0x21; c < 0x7f; ++c) table[c] = kTargetChar | kHostChar;
  table['#'] = 0;  // fragments never travel
  for (const char c : std::string_view("/?@\\")) table[static_cast<uint8_t>(c)] &= ~kHostChar;
  for (const char c :
       std::string_view("!#$%&'*+-.^_`|~"
                        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    table[static_cast<uint8_t>(c)] |= kTokenChar;
  return table;
}
constexpr std::array<uint8_t, 256> kChars = MakeCharTable();

bool AllOf(std::string_view text, uint8_t kind) noexcept {
  for (const char c : text)
    if ((kChars[static_cast<uint8_t>(c)] & kind) == 0) return false;
  return true;
}

constexpr bool IsDigit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr char Lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}
constexpr bool IsBlank(char c) noexcept { return c == ' ' || c == '\t'; }

std::string_view Trim(std::string_view text) noexcept {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

// Tab, space, printable ASCII and bytes from 0x80; eight bytes at a time, since values are most of
// a head.
bool IsFieldValue(std::string_view text) noexcept {
  constexpr uint64_t kOnes = 0x0101010101010101ull;
  const char* at = text.data();
  size_t left = text.size();
  const auto bad = [](char c) {
    const auto byte = static_cast<uint8_t>(c);
    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
  };
  while (left >= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    const uint64_t del = word ^ (kOnes * 0x7f);
    const uint64_t suspect =
        ((word - kOnes * 0x20) & ~word & (kOnes * 0x80)) | ((del - kOnes) & ~del & (kOnes * 0x80));
    if (suspect != 0)
      for (size_t i = 0; i < 8; ++i)
        if (bad(at[i])) return false;
    at += 8;
    left -= 8;
  }
  for (; left > 0; --left, ++at)
    if (bad(*at)) return false;
  return true;
}

HeaderId Identify(std::string_view name) noexcept {
  const auto is = [name](std::string_view known, HeaderId id) {
    return EqualsIgnoreCase(name, known) ? id : HeaderId::kOther;
  };
  switch (name.size()) {
    case 2:
      return is("te", HeaderId::kTe);
    case 4:
      return is("host", HeaderId::kHost);
    case 6:
      return is("expect", HeaderId::kExpect);
    case 7:
      return Lower(name[0]) == 't' ? is("trailer", HeaderId::kTrailer)
                                   : is("upgrade", HeaderId::kUpgrade);
    case 10:
      return Lower(name[0]) == 'c' ? is("connection", HeaderId::kConnection)
                                   : is("keep-alive", HeaderId::kKeepAlive);
    case 14:
      return is("content-length", HeaderId::kContentLength);
    case 16:
      return is("proxy-connection", HeaderId::kProxyConnection);
    case 17:
      return is("transfer-encoding", HeaderId::kTransferEncoding);
    default:
      return HeaderId::kOther;
  }
}

Method IdentifyMethod(std::string_view method) noexcept {
  switch (method.size()) {
    case 3:
      return method == "GET" ? Method::kGet : method == "PUT" ? Method::kPut : Method::kOther;
    case 4:
      return method == "POST" ? Method::kPost : method == "HEAD" ? Method::kHead : Method::kOther;
    case 5:
      return method == "PATCH" ? Method::kPatch : Method::kOther;
    case 6:
      return method == "DELETE" ? Method::kDelete : Method::kOther;
    case 7:
      return method == "OPTIONS" ? Method::kOptions : Method::kOther;
    default:
      return Method::kOther;
  }
}

// Facts that single header lines leave behind and that only make sense together.
struct Seen {
  bool content_length = false;
  bool transfer_encoding = false;
  bool host = false;
  bool connection_close = false;
  bool connection_keep_alive = false;
  std::string_view expect;
  std::string_view host_value;
};

HeadError ReadContentLength(std::string_view value, Head& head, Seen& seen) noexcept {
  constexpr size_t kDigitsMax = 18;  // below 2^63 without an overflow check
  if (seen.content_length) return HeadError::kDuplicateContentLength;
  if (value.empty() || value.size() > kDigitsMax) return HeadError::kBadContentLength;
  uint64_t length = 0;
  for (const char c : value) {
    if (!IsDigit(c)) return HeadError::kBadContentLength;
    length = length * 10 + static_cast<uint64_t>(c - '0');
  }
  head.content_length = length;
  seen.content_length = true;
  return HeadError::kNone;
}

HeadError ReadConnection(std::string_view list, Head& head, Seen& seen) noexcept {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    const std::string_view name = Trim(list.substr(0, comma));
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
    if (name.empty()) continue;
    if (EqualsIgnoreCase(name, "close")) {
      seen.connection_close = true;
    } else if (EqualsIgnoreCase(name, "keep-alive")) {
      seen.connection_keep_alive = true;
    } else if (!EqualsIgnoreCase(name, "upgrade")) {
      const HeaderId id = Identify(name);
      // Whoever makes a proxy drop these changes where the next hop sees the message end.
      if (id == HeaderId::kContentLength || id == HeaderId::kTransferEncoding ||
          id == HeaderId::kHost || !AllOf(name, kTokenChar) || head.hop_name_count == kHopNamesMax)
        return HeadError::kBadConnection;
      head.hop_names[head.hop_name_count++] = name;
    }
  }
  return HeadError::kNone;
}

HeadError ReadKnownHeader(const HeaderView& line, Head& head, Seen& seen) noexcept {
  switch (line.id) {
    case HeaderId::kContentLength:
      return ReadContentLength(line.value, head, seen);
    case HeaderId::kTransferEncoding:
      if (seen.transfer_encoding) return HeadError::kDuplicateTransferEncoding;
      if (!EqualsIgnoreCase(line.value, "chunked"))
        return HeadError::kTransferEncodingNotImplemented;
      seen.transfer_encoding = true;
      return HeadError::kNone;
    case HeaderId::kConnection:
      return ReadConnection(line.value, head, seen);
    case HeaderId::kHost:
      if (seen.host) return HeadError::kDuplicateHost;
      if (!AllOf(line.value, kHostChar)) return HeadError::kBadHost;
      seen.host = true;
      seen.host_value = line.value;
      return HeadError::kNone;
    case HeaderId::kExpect:
      seen.expect = line.value;
      return HeadError::kNone;
    default:
      return HeadError::kNone;
  }
}

HeadError ReadHeaderLine(std::string_view line, Head& head, Seen& seen) noexcept {
  if (IsBlank(line.front())) return HeadError::kFoldedHeader;
  if (head.header_count == kHeadersMax) return HeadError::kTooManyHeaders;
  size_t colon = 0;
  while (colon < line.size() && (kChars[static_cast<uint8_t>(line[colon])] & kTokenChar) != 0)
    ++colon;
  if (colon == line.size()) return HeadError::kNoColon;
  if (line[colon] != ':') {
    const size_t next = line.find_first_not_of(" \t", colon);
    const bool spaced = IsBlank(line[colon]) && next != std::string_view::npos && line[next] == ':';
    return spaced ? HeadError::kSpaceBeforeColon : HeadError::kBadHeaderName;
  }
  if (colon == 0) return HeadError::kEmptyHeaderName;
  HeaderView& view = head.header_lines[head.header_count++];
  view.name = line.substr(0, colon);
  view.value = Trim(line.substr(colon + 1));
  if (!IsFieldValue(view.value)) return HeadError::kBadHeaderValue;
  view.id = Identify(view.name);
  return view.id == HeaderId::kOther ? HeadError::kNone : ReadKnownHeader(view, head, seen);
}

// Takes one CRLF-ended line off `bytes`, whose line ends FindHeadEnd has checked.
std::string_view TakeLine(std::string_view& bytes) noexcept {
  const size_t feed = bytes.find('\n');
  const std::string_view line = bytes.substr(0, feed - 1);
  bytes.remove_prefix(feed + 1);
  return line;
}

// Reads all header lines and what they say together. `lines` ends with the empty line.
HeadError ReadHeaders(std::string_view lines, Head& head, Seen& seen) noexcept {
  for (std::string_view line = TakeLine(lines); !line.empty(); line = TakeLine(lines))
    if (const HeadError error = ReadHeaderLine(line, head, seen); error != HeadError::kNone)
      return error;
  if (seen.content_length && seen.transfer_encoding) return HeadError::kLengthAndChunked;
  if (seen.transfer_encoding && head.version_minor == 0)
    return HeadError::kTransferEncodingInHttp10;
  head.keep_alive =
      !seen.connection_close && (head.version_minor == 1 || seen.connection_keep_alive);
  return HeadError::kNone;
}

// Finds the empty line that ends the head. `start` is where its first line begins.
HeadError FindHeadEnd(std::string_view bytes, size_t start, HeadCursor& cursor, uint32_t bytes_max,
                      uint32_t& size_bytes) noexcept {
  size_t line = cursor.line_start > start ? cursor.line_start : start;
  for (;;) {
    const size_t feed = bytes.find('\n', line);
    if (feed == std::string_view::npos) {
      if (bytes.size() >= bytes_max) return HeadError::kHeadTooLarge;
      cursor.line_start = static_cast<uint32_t>(line);
      return HeadError::kIncomplete;
    }
    if (feed >= bytes_max) return HeadError::kHeadTooLarge;
    if (feed == line || bytes[feed - 1] != '\r') return HeadError::kBareLineFeed;
    if (feed == line + 1) {
      size_bytes = static_cast<uint32_t>(feed + 1);
      return HeadError::kNone;
    }
    line = feed + 1;
  }
}

HeadError ReadVersion(std::string_view version, Head& head) noexcept {
  if (version.size() != 8 || version.substr(0, 5) != "HTTP/" || !IsDigit(version[5]) ||
      version[6] != '.' || !IsDigit(version[7]))
    return HeadError::kBadVersion;
  if (version[5] != '1' || version[7] > '1') return HeadError::kVersionNotSupported;
  head.version_minor = static_cast<uint8_t>(version[7] - '0');
  return HeadError::kNone;
}

// Reduces an absolute-form target to its origin form; `authority` receives what stood before it.
bool SplitAbsoluteTarget(RequestHead& head, std::string_view& authority) noexcept {
  const size_t scheme_end = head.target.find("://");
  if (scheme_end == std::string_view::npos) return false;
  const std::string_view scheme = head.target.substr(0, scheme_end);
  if (!EqualsIgnoreCase(scheme, "http") && !EqualsIgnoreCase(scheme, "https")) return false;
  const std::string_view rest = head.target.substr(scheme_end + 3);
  const size_t path = rest.find_first_of("/?");
  authority = rest.substr(0, path);
  if (authority.empty() || !AllOf(authority, kHostChar)) return false;
  if (path == std::string_view::npos) {
    head.path_and_query = "/";
  } else if (rest[path] == '/') {
    head.path_and_query = rest.substr(path);
  } else {
    return false;  // "http://host?query" has no byte range that is an origin form
  }
  return true;
}

HeadError ReadRequestLine(std::string_view line, RequestHead& head,
                          std::string_view& authority) noexcept {
  const size_t method_end = line.find(' ');
  if (method_end == std::string_view::npos || method_end == 0 || method_end > kMethodBytesMax ||
      !AllOf(line.substr(0, method_end), kTokenChar))
    return HeadError::kBadMethod;
  const size_t target_end = line.find(' ', method_end + 1);
  if (target_end == std::string_view::npos) return HeadError::kBadVersion;
  head.method = line.substr(0, method_end);
  head.method_id = IdentifyMethod(head.method);
  head.target = line.substr(method_end + 1, target_end - method_end - 1);
  if (head.target.size() > kTargetBytesMax) return HeadError::kTargetTooLong;
  const std::string_view version = line.substr(target_end + 1);
  if (head.method == "PRI" && head.target == "*" && version == "HTTP/2.0")
    return HeadError::kHttp2Preface;
  if (const HeadError error = ReadVersion(version, head); error != HeadError::kNone) return error;
  if (head.method == "CONNECT" || head.method == "TRACE") return HeadError::kMethodNotImplemented;
  if (head.target.empty() || !AllOf(head.target, kTargetChar)) return HeadError::kBadTarget;
  if (head.target.front() == '/') {
    head.path_and_query = head.target;
  } else if (head.target == "*" && head.method_id == Method::kOptions) {
    head.path_and_query = head.target;
  } else if (!SplitAbsoluteTarget(head, authority)) {
    return HeadError::kBadTarget;
  }
  return HeadError::kNone;
}

void Reset(Head& head, uint32_t size_bytes) noexcept {
  head.size_bytes = size_bytes;
  head.header_count = 0;
  head.hop_name_count = 0;
  head.content_length = 0;
  head.framing = BodyFraming::kNone;
}

struct ErrorRow {
  uint16_t status;
  std::string_view text;
};

constexpr std::array<ErrorRow, kHeadErrorCount> kErrors = {{
    {200, "no error"},
    {400, "the head is incomplete"},
    {431, "the head is larger than the limit"},
    {431, "the head has more than 128 header lines"},
    {400, "the first byte does not start an HTTP/1 message"},
    {505, "HTTP/2 is not spoken on this port, expected HTTP/1.1"},
    {400, "a line ends with LF alone, expected CRLF"},
    {400, "the method is not a token of 1 to 24 bytes"},
    {501, "the method is not implemented"},
    {400, "the request target is not a path, an http URL or * for OPTIONS"},
    {414, "the request target is longer than 8192 bytes"},
    {400, "the HTTP version is malformed, expected HTTP/1.1 or HTTP/1.0"},
    {505, "the HTTP version is not supported, expected HTTP/1.1 or HTTP/1.0"},
    {400, "the status line is malformed"},
    {400, "a header has an empty name"},
    {400, "a header name has a byte that is not allowed"},
    {400, "a header name is followed by a space, expected a colon"},
    {400, "a header line has no colon"},
    {400, "a header line is folded"},
    {400, "a header value has a control byte"},
    {400, "Content-Length is not a decimal number of 1 to 18 digits"},
    {400, "Content-Length is given more than once"},
    {400, "Content-Length and Transfer-Encoding are both given"},
    {501, "Transfer-Encoding is not implemented, expected chunked"},
    {400, "Transfer-Encoding is given more than once"},
    {400, "Transfer-Encoding is given in an HTTP/1.0 message"},
    {400, "Host is missing"},
    {400, "Host is given more than once"},
    {400, "Host is malformed or differs from the authority of the target"},
    {400,
     "Connection lists Content-Length, Transfer-Encoding, Host, a malformed name or more than 8 "
     "names"},
    {417, "Expect is not 100-continue"},
}};
static_assert(!kErrors.back().text.empty());

}  // namespace

std::string_view HeadErrorText(HeadError error) noexcept {
  const auto index = static_cast<size_t>(error);
  return index < kErrors.size() ? kErrors[index].text : std::string_view("unknown error");
}

uint16_t HeadErrorStatus(HeadError error) noexcept {
  const auto index = static_cast<size_t>(error);
  return index < kErrors.size() ? kErrors[index].status : uint16_t{400};
}

bool EqualsIgnoreCase(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (Lower(a[i]) != Lower(b[i])) return false;
  return true;
}

std::string_view Head::Find(std::string_view name) const noexcept {
  for (const HeaderView& line : headers())
    if (EqualsIgnoreCase(line.name, name))
      return line.value.data() != nullptr ? line.value : std::string_view("");
  return {};
}

bool Head::IsHopName(std::string_view name) const noexcept {
  for (uint32_t i = 0; i < hop_name_count; ++i)
    if (EqualsIgnoreCase(hop_names[i], name)) return true;
  return false;
}

HeadError ParseRequestHead(std::string_view bytes, HeadCursor& cursor, RequestHead& head,
                           const HeadLimits& limits) noexcept {
  const size_t start = bytes.size() >= 2 && bytes[0] == '\r' && bytes[1] == '\n' ? 2 : 0;
  if (bytes.empty() || (bytes.size() == 1 && bytes[0] == '\r') || bytes.size() == start)
    return HeadError::kIncomplete;
  if ((kChars[static_cast<uint8_t>(bytes[start])] & kTokenChar) == 0) return HeadError::kNotHttp;
  uint32_t size_bytes = 0;
  HeadError error = FindHeadEnd(bytes, start, cursor, limits.head_bytes_max, size_bytes);
  if (error != HeadError::kNone) return error;
  Reset(head, size_bytes);
  head.expect_continue = false;
  std::string_view lines = bytes.substr(start, size_bytes - start);
  std::string_view authority;
  error = ReadRequestLine(TakeLine(lines), head, authority);
  if (error != HeadError::kNone) return error;
  Seen seen;
  error = ReadHeaders(lines, head, seen);
  if (error != HeadError::kNone) return error;
  if (!seen.host && head.version_minor == 1) return HeadError::kMissingHost;
  if (!authority.empty() && seen.host && !EqualsIgnoreCase(authority, seen.host_value))
    return HeadError::kBadHost;
  if (!seen.expect.empty()) {
    if (!EqualsIgnoreCase(seen.expect, "100-continue")) return HeadError::kExpectationFailed;
    head.expect_continue = head.version_minor == 1;
  }
  if (seen.content_length) head.framing = BodyFraming::kLength;
  if (seen.transfer_encoding) head.framing = BodyFraming::kChunked;
  return HeadError::kNone;
}

HeadError ParseResponseHead(std::string_view bytes, Method request_method, HeadCursor& cursor,
                            ResponseHead& head, const HeadLimits& limits) noexcept {
  if (bytes.empty()) return HeadError::kIncomplete;
  if (bytes[0] != 'H') return HeadError::kNotHttp;
  uint32_t size_bytes = 0;
  HeadError error = FindHeadEnd(bytes, 0, cursor, limits.head_bytes_max, size_bytes);
  if (error != HeadError::kNone) return error;
  Reset(head, size_bytes);
  std::string_view lines = bytes.substr(0, size_bytes);
  const std::string_view line = TakeLine(lines);
  if (error = ReadVersion(line.substr(0, 8), head); error != HeadError::kNone) return error;
  // "HTTP/1.1 200" with or without " reason".
  if (line.size() < 12 || line[8] != ' ' || !IsDigit(line[9]) || !IsDigit(line[10]) ||
      !IsDigit(line[11]) || (line.size() > 12 && line[12] != ' '))
    return HeadError::kBadStatusLine;
  head.status =
      static_cast<uint16_t>((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
  head.reason = line.size() > 13 ? line.substr(13) : std::string_view();
  if (head.status < 100 || head.status > 599 || !IsFieldValue(head.reason))
    return HeadError::kBadStatusLine;
  Seen seen;
  error = ReadHeaders(lines, head, seen);
  if (error != HeadError::kNone) return error;
  if (request_method == Method::kHead || head.status < 200 || head.status == 204 ||
      head.status == 304) {
    head.framing = BodyFraming::kNone;
  } else if (seen.transfer_encoding) {
    head.framing = BodyFraming::kChunked;
  } else if (seen.content_length) {
    head.framing = BodyFraming::kLength;
  } else {
    head.framing = BodyFraming::kUntilClose;
    head.keep_alive = false;
  }
  return HeadError::kNone;
}

}  // namespace weir::io
