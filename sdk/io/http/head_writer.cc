#include "weir/io/http/head_writer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace weir::io {
namespace {

bool HasLineBreak(std::string_view text) noexcept {
  for (const char c : text)
    if (c == '\r' || c == '\n' || c == '\0') return true;
  return false;
}

bool MayTravel(const HeaderView& line, const Head& head, const CopyRules& rules) noexcept {
  switch (line.id) {
    case HeaderId::kConnection:
    case HeaderId::kKeepAlive:
    case HeaderId::kProxyConnection:
    case HeaderId::kTe:
    case HeaderId::kUpgrade:
    case HeaderId::kExpect:
      return false;
    case HeaderId::kContentLength:
    case HeaderId::kTransferEncoding:
    case HeaderId::kTrailer:
      if (!rules.framing) return false;
      break;
    case HeaderId::kHost:
      if (!rules.host) return false;
      break;
    case HeaderId::kOther:
      break;
  }
  if (head.hop_name_count > 0 && head.IsHopName(line.name)) return false;
  for (const std::string_view name : rules.strip)
    if (EqualsIgnoreCase(name, line.name)) return false;
  return true;
}

// Appends JSON string content; stops before `limit` bytes so that the text stays valid UTF-8.
class JsonText {
 public:
  explicit JsonText(std::span<char> out) noexcept : out_(out) {}

  void Raw(std::string_view text) noexcept {
    const size_t take = std::min(text.size(), out_.size() - size_);
    std::memcpy(out_.data() + size_, text.data(), take);
    size_ += take;
  }

  // Writes a quoted string of at most `bytes_max` bytes, quotes included, or null when empty.
  void StringOrNull(std::string_view text, size_t bytes_max) noexcept {
    if (text.empty()) return Raw("null");
    String(text, bytes_max);
  }

  void String(std::string_view text, size_t bytes_max) noexcept {
    const size_t end = size_ + bytes_max - 1;
    Raw("\"");
    while (!text.empty()) {
      const size_t width = Utf8Width(text);
      const auto byte = static_cast<uint8_t>(text.front());
      std::string_view piece = text.substr(0, std::max<size_t>(width, 1));
      char escaped[2] = {'\\', text.front()};
      if (text.front() == '"' || text.front() == '\\') {
        piece = std::string_view(escaped, 2);
      } else if (width == 0 || byte < 0x20 || byte == 0x7f) {
        piece = "?";
      }
      if (size_ + piece.size() > end) break;
      Raw(piece);
      text.remove_prefix(std::max<size_t>(width, 1));
    }
    Raw("\"");
  }

  size_t size() const noexcept { return size_; }

 private:
  // Bytes of the code point at the front, 0 when it is not well formed.
  static size_t Utf8Width(std::string_view text) noexcept {
    const auto at = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
    const auto follows = [&](size_t i, uint8_t low = 0x80, uint8_t high = 0xbf) {
      return i < text.size() && at(i) >= low && at(i) <= high;
    };
    const uint8_t first = at(0);
    if (first < 0x80) return 1;
    if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
    if (first >= 0xe0 && first <= 0xef) {
      const uint8_t low = first == 0xe0 ? 0xa0 : 0x80;
      const uint8_t high = first == 0xed ? 0x9f : 0xbf;
      return follows(1, low, high) && follows(2) ? 3 : 0;
    }
    if (first >= 0xf0 && first <= 0xf4) {
      const uint8_t low = first == 0xf0 ? 0x90 : 0x80;
      const uint8_t high = first == 0xf4 ? 0x8f : 0xbf;
      return follows(1, low, high) && follows(2) && follows(3) ? 4 : 0;
    }
    return 0;
  }

  std::span<char> out_;
  size_t size_ = 0;
};

struct Phrase {
  uint16_t status;
  std::string_view text;
};
constexpr Phrase kPhrases[] = {
    {200, "OK"},
    {100, "Continue"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {411, "Length Required"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {426, "Upgrade Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {499, "Client Closed Request"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

}  // namespace

std::string_view ReasonPhrase(uint16_t status) noexcept {
  for (const Phrase& phrase : kPhrases) {
    if (phrase.status == status) return phrase.text;
  }
  return "Unknown";
}

void HeadWriter::Raw(std::string_view bytes) noexcept {
  if (overflow_ || bytes.size() > capacity_ - size_) {
    overflow_ = true;
    return;
  }
  if (!bytes.empty()) std::memcpy(data_ + size_, bytes.data(), bytes.size());
  size_ += bytes.size();
}

void HeadWriter::RequestLine(std::string_view method, std::string_view target) noexcept {
  Raw(method);
  Raw(" ");
  Raw(target);
  Raw(" HTTP/1.1\r\n");
}

void HeadWriter::StatusLine(uint16_t status, std::string_view reason) noexcept {
  char text[] = "HTTP/1.1 000 ";
  text[9] = static_cast<char>('0' + status / 100 % 10);
  text[10] = static_cast<char>('0' + status / 10 % 10);
  text[11] = static_cast<char>('0' + status % 10);
  Raw(std::string_view(text, sizeof(text) - 1));
  Raw(reason.empty() ? ReasonPhrase(status) : reason);
  Raw("\r\n");
}

void HeadWriter::Line(std::string_view name, std::string_view value) noexcept {
  const size_t size = name.size() + value.size() + 4;
  if (overflow_ || size > capacity_ - size_) {
    overflow_ = true;
    return;
  }
  char* at = data_ + size_;
  std::memcpy(at, name.data(), name.size());
  at += name.size();
  *at++ = ':';
  *at++ = ' ';
  if (!value.empty()) std::memcpy(at, value.data(), value.size());
  at += value.size();
  *at++ = '\r';
  *at = '\n';
  size_ += size;
}

void HeadWriter::Header(std::string_view name, std::string_view value) noexcept {
  if (name.empty() || HasLineBreak(name) || HasLineBreak(value)) {
    overflow_ = true;
    return;
  }
  Line(name, value);
}

void HeadWriter::Header(std::string_view name, uint64_t value) noexcept {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  Header(name, std::string_view(digits, static_cast<size_t>(end - digits)));
}

void HeadWriter::CopyHeaders(const Head& head, const CopyRules& rules) noexcept {
  for (const HeaderView& line : head.headers())
    if (MayTravel(line, head, rules)) Line(line.name, line.value);
}

size_t WriteErrorBody(std::span<char> out, const ErrorReply& reply) noexcept {
  constexpr size_t kFieldBytesMax = 96;
  constexpr size_t kFrameBytes = 64 + 3 * kFieldBytesMax;  // everything but the message
  const std::string_view type = !reply.type.empty()   ? reply.type
                                : reply.status >= 500 ? std::string_view("server_error")
                                                      : std::string_view("invalid_request_error");
  JsonText json(out);
  json.Raw("{\"error\":{\"message\":");
  json.String(reply.message, out.size() - kFrameBytes);
  json.Raw(",\"type\":");
  json.String(type, kFieldBytesMax);
  json.Raw(",\"param\":");
  json.StringOrNull(reply.param, kFieldBytesMax);
  json.Raw(",\"code\":");
  json.StringOrNull(reply.code, kFieldBytesMax);
  json.Raw("}}");
  return json.size();
}

size_t WriteErrorResponse(std::span<char> out, const ErrorReply& reply, bool close, bool head_only,
                          std::span<const HeaderField> extra) noexcept {
  constexpr size_t kBodyBytesMin = 512;
  std::array<char, kErrorReplyBytesMax> body;
  HeadWriter writer(out.data(), out.size());
  writer.StatusLine(reply.status);
  for (const HeaderField& field : extra) writer.Header(field.name, field.value);
  writer.Header("content-type", "application/json");
  if (close) writer.Header("connection", "close");
  constexpr size_t kLengthLineBytes = 32;
  const size_t used = writer.size_bytes() + kLengthLineBytes;
  if (writer.overflow() || used + kBodyBytesMin > out.size()) return 0;
  const size_t body_size =
      WriteErrorBody(std::span(body).first(std::min(body.size(), out.size() - used)), reply);
  writer.Header("content-length", body_size);
  writer.End();
  if (!head_only) writer.Raw(std::string_view(body.data(), body_size));
  return writer.overflow() ? 0 : writer.size_bytes();
}

}  // namespace weir::io
