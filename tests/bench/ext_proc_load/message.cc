#include "ext_proc_load/message.h"

#include <utility>

namespace weir::bench {
namespace {

// Numbers of fields that are both read and written here.
constexpr uint32_t kHeadersField[] = {2, 3};  // by Phase, of ProcessingRequest
constexpr uint32_t kBodyField[] = {4, 5};
constexpr uint32_t kProtocolConfigField = 11;
constexpr uint32_t kFullDuplexStreamed = 4;
constexpr uint32_t kHeaderSkip = 2;

void AppendVarint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void AppendNumber(uint32_t field, uint64_t value, std::string& out) {
  AppendVarint(field << 3, out);
  AppendVarint(value, out);
}

void AppendBytes(uint32_t field, std::string_view bytes, std::string& out) {
  AppendVarint(field << 3 | 2, out);
  AppendVarint(bytes.size(), out);
  out += bytes;
}

void AppendFramed(std::string_view message, std::string& out) {
  out += '\0';
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(message.size() >> shift);
  out += message;
}

// Walks over the fields of one message.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  // Moves to the next field; false at the end, or if the bytes are wrong (see ok()).
  bool Next() {
    if (rest_.empty() || !ok_) return false;
    uint64_t tag = 0;
    ok_ = ReadVarint(&tag);
    field = static_cast<uint32_t>(tag >> 3);
    number = 0;
    bytes = {};
    switch (tag & 7) {
      case 0:
        ok_ = ok_ && ReadVarint(&number);
        break;
      case 1:
        ok_ = ok_ && Skip(8);
        break;
      case 2: {
        uint64_t size = 0;
        ok_ = ok_ && ReadVarint(&size) && size <= rest_.size();
        if (ok_) bytes = rest_.substr(0, size);
        ok_ = ok_ && Skip(size);
        break;
      }
      case 5:
        ok_ = ok_ && Skip(4);
        break;
      default:
        ok_ = false;
    }
    return ok_;
  }
  bool ok() const { return ok_; }

  uint32_t field = 0;
  uint64_t number = 0;
  std::string_view bytes;

 private:
  bool ReadVarint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      *value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool Skip(uint64_t size) {
    if (size > rest_.size()) return false;
    rest_.remove_prefix(size);
    return true;
  }

  std::string_view rest_;
  bool ok_ = true;
};

// HeaderMutation: only the destination is of interest.
bool ReadHeaderMutation(std::string_view bytes, Answer* answer) {
  Reader mutation(bytes);
  while (mutation.Next()) {
    if (mutation.field != 1) continue;
    Reader option(mutation.bytes);
    while (option.Next()) {
      if (option.field != 1) continue;
      std::string_view name, value;
      Reader header(option.bytes);
      while (header.Next()) {
        if (header.field == 1) name = header.bytes;
        if (header.field >= 2 && !header.bytes.empty()) value = header.bytes;
      }
      if (!header.ok()) return false;
      if (name == kDestination) answer->destination = value;
    }
    if (!option.ok()) return false;
  }
  return mutation.ok();
}

bool ReadBodyMutation(std::string_view bytes, Answer* answer) {
  Reader mutation(bytes);
  while (mutation.Next()) {
    if (mutation.field == 1) answer->body = mutation.bytes;
    if (mutation.field != 3) continue;
    Reader streamed(mutation.bytes);
    while (streamed.Next()) {
      if (streamed.field == 1) answer->body = streamed.bytes;
      if (streamed.field == 2) answer->end_of_stream = streamed.number != 0;
    }
    if (!streamed.ok()) return false;
  }
  return mutation.ok();
}

// HeadersResponse or BodyResponse: each holds a CommonResponse.
bool ReadCommon(std::string_view bytes, Answer* answer) {
  Reader outer(bytes);
  while (outer.Next()) {
    if (outer.field != 1) continue;
    Reader common(outer.bytes);
    while (common.Next()) {
      if (common.field == 2 && !ReadHeaderMutation(common.bytes, answer)) return false;
      if (common.field == 3 && !ReadBodyMutation(common.bytes, answer)) return false;
    }
    if (!common.ok()) return false;
  }
  return outer.ok();
}

bool ReadImmediate(std::string_view bytes, Answer* answer) {
  Reader immediate(bytes);
  while (immediate.Next()) {
    if (immediate.field != 1) continue;
    Reader status(immediate.bytes);
    while (status.Next()) {
      if (status.field == 1) answer->immediate_status = static_cast<uint32_t>(status.number);
    }
    if (!status.ok()) return false;
  }
  return immediate.ok();
}

bool ReadModeOverride(std::string_view bytes, Answer* answer) {
  Reader mode(bytes);
  answer->skips_response_body = true;  // NONE is the default, which is not written
  while (mode.Next()) {
    if (mode.field == 2) answer->skips_response_headers = mode.number == kHeaderSkip;
    if (mode.field == 4) answer->skips_response_body = mode.number == 0;
  }
  return mode.ok();
}

}  // namespace

void AppendHeaders(Phase phase, std::span<const Header> headers, bool end_of_stream,
                   std::string& out) {
  std::string map;
  for (const Header& header : headers) {
    std::string value;
    AppendBytes(1, header.name, value);
    AppendBytes(3, header.value, value);  // raw_value, as Envoy
    AppendBytes(1, value, map);
  }
  std::string http_headers;
  AppendBytes(1, map, http_headers);
  if (end_of_stream) AppendNumber(3, 1, http_headers);
  std::string message;
  AppendBytes(kHeadersField[static_cast<int>(phase)], http_headers, message);
  if (phase == Phase::kRequest) {
    std::string config;
    AppendNumber(1, kFullDuplexStreamed, config);
    AppendNumber(2, kFullDuplexStreamed, config);
    AppendBytes(kProtocolConfigField, config, message);
  }
  AppendFramed(message, out);
}

void AppendBody(Phase phase, std::string_view body, bool end_of_stream, std::string& out) {
  std::string http_body;
  if (!body.empty()) AppendBytes(1, body, http_body);
  if (end_of_stream) AppendNumber(2, 1, http_body);
  std::string message;
  AppendBytes(kBodyField[static_cast<int>(phase)], http_body, message);
  AppendFramed(message, out);
}

bool ParseAnswer(std::string_view message, Answer* answer) {
  *answer = {};
  Reader reader(message);
  while (reader.Next()) {
    if (reader.field >= 1 && reader.field <= 7) {
      answer->kind = static_cast<Answer::Kind>(reader.field);
    }
    bool ok = true;
    if (reader.field >= 1 && reader.field <= 4) ok = ReadCommon(reader.bytes, answer);
    if (reader.field == 7) ok = ReadImmediate(reader.bytes, answer);
    if (reader.field == 9) ok = ReadModeOverride(reader.bytes, answer);
    if (!ok) return false;
  }
  return reader.ok();
}

bool ParseQuestion(std::string_view message, Question* question) {
  *question = {};
  Reader reader(message);
  while (reader.Next()) {
    if (reader.field < 2 || reader.field > 7) continue;
    question->field = reader.field;
    question->inner = reader.bytes;
  }
  const bool is_headers = question->field == 2 || question->field == 3;
  const bool is_body = question->field == 4 || question->field == 5;
  Reader inner(is_headers || is_body ? question->inner : std::string_view());
  while (inner.Next()) {
    if (inner.field == (is_body ? 2 : 3)) question->end_of_stream = inner.number != 0;
  }
  return reader.ok() && inner.ok();
}

void AppendEchoHead(Phase phase, size_t inner_bytes, std::string& out) {
  // BodyResponse.response, CommonResponse.body_mutation, BodyMutation.streamed_response: from the
  // inside out, each length holds the heads of those within.
  const auto varint_bytes = [](size_t value) {
    size_t bytes = 1;
    for (; value >= 0x80; value >>= 7) ++bytes;
    return bytes;
  };
  const size_t mutation = 1 + varint_bytes(inner_bytes) + inner_bytes;
  const size_t common = 1 + varint_bytes(mutation) + mutation;
  const size_t answer = 1 + varint_bytes(common) + common;
  const std::pair<uint32_t, size_t> levels[] = {
      {phase == Phase::kRequest ? 3 : 4, answer}, {1, common}, {3, mutation}, {3, inner_bytes}};
  for (const auto& [field, bytes] : levels) {
    AppendVarint(field << 3 | 2, out);
    AppendVarint(bytes, out);
  }
}

void AppendHeadersAnswer(Phase phase, std::string_view destination, bool skips_response_body,
                         std::string& out) {
  std::string common;
  if (!destination.empty()) {
    std::string header, option, mutation;
    AppendBytes(1, kDestination, header);
    AppendBytes(3, destination, header);
    AppendBytes(1, header, option);
    AppendBytes(1, option, mutation);
    AppendBytes(2, mutation, common);
    AppendNumber(5, 1, common);  // clear_route_cache
  }
  std::string answer;
  AppendBytes(1, common, answer);
  AppendBytes(phase == Phase::kRequest ? 1 : 2, answer, out);
  if (!skips_response_body) return;
  std::string mode;
  AppendNumber(3, kFullDuplexStreamed, mode);  // the request's body as before
  AppendBytes(9, mode, out);
}

}  // namespace weir::bench
