#include "weir/io/ext_proc/messages.h"

#include "weir/limits.h"

namespace weir::io {
namespace {

// Field numbers, by message.
namespace request {  // ProcessingRequest
constexpr uint32_t kMetadataContext = 8, kObservabilityMode = 10, kProtocolConfig = 11;
}
namespace response {  // ProcessingResponse
constexpr uint32_t kImmediate = 7, kDynamicMetadata = 8, kModeOverride = 9;
}
namespace http_headers {
constexpr uint32_t kHeaders = 1, kEndOfStream = 3;
}
namespace http_body {
constexpr uint32_t kBody = 1, kEndOfStream = 2;
}
namespace protocol_config {
constexpr uint32_t kRequestBodyMode = 1, kResponseBodyMode = 2;
}
namespace header_value {
constexpr uint32_t kKey = 1, kValue = 2, kRawValue = 3;
}
namespace header_option {
constexpr uint32_t kHeader = 1, kAppendAction = 3;
constexpr uint64_t kOverwriteIfExistsOrAdd = 2;
}  // namespace header_option
namespace header_mutation {
constexpr uint32_t kSet = 1, kRemove = 2;
}
namespace common {  // CommonResponse
constexpr uint32_t kHeaderMutation = 2, kBodyMutation = 3, kClearRouteCache = 5;
}
namespace body_mutation {
constexpr uint32_t kBody = 1, kClear = 2, kStreamed = 3;
}
namespace streamed {  // StreamedBodyResponse
constexpr uint32_t kBody = 1, kEndOfStream = 2;
}
namespace immediate {
constexpr uint32_t kStatus = 1, kHeaders = 2, kBody = 3, kStatusCode = 1;
}
namespace mode {  // ProcessingMode
constexpr uint32_t kResponseHeader = 2, kRequestBody = 3, kResponseBody = 4, kRequestTrailer = 5,
                   kResponseTrailer = 6;
}
namespace value {  // google.protobuf.Value
constexpr uint32_t kNull = 1, kNumber = 2, kString = 3, kBool = 4, kStruct = 5, kList = 6;
}
constexpr uint32_t kMapKey = 1, kMapValue = 2, kFirst = 1;
constexpr uint32_t kCommonResponse = 1;  // of HeadersResponse and BodyResponse

// Field of the answer to a phase, in ProcessingResponse.
uint32_t AnswerField(ExtProcPhase phase) {
  switch (phase) {
    case ExtProcPhase::kRequestHeaders:
      return 1;
    case ExtProcPhase::kResponseHeaders:
      return 2;
    case ExtProcPhase::kRequestBody:
      return 3;
    case ExtProcPhase::kResponseBody:
      return 4;
    case ExtProcPhase::kRequestTrailers:
      return 5;
    default:
      return 6;
  }
}

BodyMode BodyModeOf(uint64_t number) {
  return number <= static_cast<uint64_t>(BodyMode::kGrpc) ? static_cast<BodyMode>(number)
                                                          : BodyMode::kGrpc;
}

bool ReadHttpHeaders(std::string_view message, ProcessingRequestView* view) {
  WireReader reader(message);
  while (reader.Next()) {
    if (reader.Is(http_headers::kHeaders, WireType::kBytes)) view->headers = reader.bytes();
    if (reader.Is(http_headers::kEndOfStream, WireType::kVarint)) {
      view->end_of_stream = reader.number() != 0;
    }
  }
  return reader.ok();
}

bool ReadHttpBody(std::string_view message, ProcessingRequestView* view) {
  WireReader reader(message);
  while (reader.Next()) {
    if (reader.Is(http_body::kBody, WireType::kBytes)) view->body = reader.bytes();
    if (reader.Is(http_body::kEndOfStream, WireType::kVarint)) {
      view->end_of_stream = reader.number() != 0;
    }
  }
  return reader.ok();
}

bool ReadHttpTrailers(std::string_view message, ProcessingRequestView* view) {
  WireReader reader(message);
  while (reader.Next()) {
    if (reader.Is(kFirst, WireType::kBytes)) view->headers = reader.bytes();
  }
  return reader.ok();
}

bool ReadProtocolConfig(std::string_view message, ProcessingRequestView* view) {
  view->has_protocol_config = true;
  WireReader reader(message);
  while (reader.Next()) {
    if (reader.Is(protocol_config::kRequestBodyMode, WireType::kVarint)) {
      view->request_body_mode = BodyModeOf(reader.number());
    }
    if (reader.Is(protocol_config::kResponseBodyMode, WireType::kVarint)) {
      view->response_body_mode = BodyModeOf(reader.number());
    }
  }
  return reader.ok();
}

bool ReadPhase(ExtProcPhase phase, std::string_view message, ProcessingRequestView* view) {
  view->phase = phase;
  view->end_of_stream = false;
  view->body = view->headers = {};
  switch (phase) {
    case ExtProcPhase::kRequestHeaders:
    case ExtProcPhase::kResponseHeaders:
      return ReadHttpHeaders(message, view);
    case ExtProcPhase::kRequestBody:
    case ExtProcPhase::kResponseBody:
      return ReadHttpBody(message, view);
    default:
      return ReadHttpTrailers(message, view);
  }
}

// The value of `key` in a message whose field 1 is a map from string to message; the last one.
bool FindInMap(std::string_view message, std::string_view key, std::string_view* found) {
  bool is_there = false;
  WireReader entries(message);
  while (entries.Next()) {
    if (!entries.Is(kFirst, WireType::kBytes)) continue;
    std::string_view name, content;
    WireReader entry(entries.bytes());
    while (entry.Next()) {
      if (entry.Is(kMapKey, WireType::kBytes)) name = entry.bytes();
      if (entry.Is(kMapValue, WireType::kBytes)) content = entry.bytes();
    }
    if (!entry.ok()) return false;
    if (name != key) continue;
    *found = content;
    is_there = true;
  }
  return is_there && entries.ok();
}

}  // namespace

Code ReadProcessingRequest(std::string_view message, ProcessingRequestView* view) noexcept {
  *view = {};
  WireReader reader(message);
  while (reader.Next()) {
    bool ok = true;
    const uint32_t field = reader.field();
    if (reader.type() == WireType::kBytes) {
      if (field >= static_cast<uint32_t>(ExtProcPhase::kRequestHeaders) &&
          field <= static_cast<uint32_t>(ExtProcPhase::kResponseTrailers)) {
        ok = ReadPhase(static_cast<ExtProcPhase>(field), reader.bytes(), view);
      } else if (field == request::kMetadataContext) {
        view->metadata = reader.bytes();
      } else if (field == request::kProtocolConfig) {
        ok = ReadProtocolConfig(reader.bytes(), view);
      }
    } else if (reader.Is(request::kObservabilityMode, WireType::kVarint)) {
      view->observability_mode = reader.number() != 0;
    }
    if (!ok) return Code::kInvalidArgument;
  }
  return reader.ok() ? Code::kOk : Code::kInvalidArgument;
}

Code ReadHeaders(std::string_view header_map, std::vector<Header>* headers) {
  WireReader map(header_map);
  while (map.Next()) {
    if (!map.Is(kFirst, WireType::kBytes)) continue;
    std::string_view name, value, raw_value;
    WireReader header(map.bytes());
    while (header.Next()) {
      if (header.type() != WireType::kBytes) continue;
      if (header.field() == header_value::kKey) name = header.bytes();
      if (header.field() == header_value::kValue) value = header.bytes();
      if (header.field() == header_value::kRawValue) raw_value = header.bytes();
    }
    if (!header.ok()) return Code::kInvalidArgument;
    if (headers->size() == kHeadersMax) return Code::kResourceExhausted;
    headers->push_back({name, raw_value.empty() ? value : raw_value});
  }
  return map.ok() ? Code::kOk : Code::kInvalidArgument;
}

MetadataValue ReadMetadataValue(std::string_view message) noexcept {
  using Kind = MetadataValue::Kind;
  MetadataValue result;
  WireReader reader(message);
  while (reader.Next()) {
    if (reader.Is(value::kNull, WireType::kVarint)) result = {Kind::kNull, 0, {}};
    if (reader.Is(value::kNumber, WireType::kFixed64)) result = {Kind::kNumber, reader.real(), {}};
    if (reader.Is(value::kString, WireType::kBytes)) result = {Kind::kString, 0, reader.bytes()};
    if (reader.Is(value::kBool, WireType::kVarint)) {
      result = {Kind::kBool, reader.number() != 0 ? 1.0 : 0.0, {}};
    }
    if (reader.Is(value::kStruct, WireType::kBytes)) result = {Kind::kStruct, 0, reader.bytes()};
    if (reader.Is(value::kList, WireType::kBytes)) result = {Kind::kList, 0, reader.bytes()};
  }
  return reader.ok() ? result : MetadataValue();
}

MetadataValue FindMetadata(std::string_view metadata, std::string_view name_space,
                           std::string_view key) noexcept {
  std::string_view fields, found;
  if (!FindInMap(metadata, name_space, &fields)) return {};
  if (!FindInMap(fields, key, &found)) return {};
  return ReadMetadataValue(found);
}

bool HasMetadata(std::string_view metadata, std::string_view name_space) noexcept {
  std::string_view fields;
  return FindInMap(metadata, name_space, &fields);
}

void AnswerWriter::PrependHeaderMutation(uint32_t field, std::span<const HeaderChange> set,
                                         std::span<const std::string_view> remove) {
  if (set.empty() && remove.empty()) return;
  const size_t mutation = writer_.size_bytes();
  for (size_t i = remove.size(); i-- > 0;)
    writer_.PrependBytes(header_mutation::kRemove, remove[i]);
  for (size_t i = set.size(); i-- > 0;) {
    const size_t option = writer_.size_bytes();
    writer_.PrependNumber(header_option::kAppendAction, header_option::kOverwriteIfExistsOrAdd);
    const size_t header = writer_.size_bytes();
    writer_.PrependBytes(header_value::kRawValue, set[i].value);
    writer_.PrependBytes(header_value::kKey, set[i].name);
    writer_.PrependHeader(header_option::kHeader, header);
    writer_.PrependHeader(header_mutation::kSet, option);
  }
  writer_.PrependHeader(field, mutation);
}

void AnswerWriter::PrependChanges(const CommonChanges& changes) {
  if (changes.clear_route_cache) writer_.PrependNumber(common::kClearRouteCache, 1);
  PrependHeaderMutation(common::kHeaderMutation, changes.set, changes.remove);
}

void AnswerWriter::PrependEntry(const MetadataEntry& entry) {
  const size_t field = writer_.size_bytes();
  if (entry.kind == MetadataEntry::Kind::kString) {
    writer_.PrependBytes(value::kString, entry.text);
  } else if (entry.kind == MetadataEntry::Kind::kNumber) {
    writer_.PrependReal(value::kNumber, entry.number);
  } else {
    const size_t numbers = writer_.size_bytes();
    for (size_t i = entry.numbers.size(); i-- > 0;) {
      const size_t pair = writer_.size_bytes();
      writer_.PrependReal(value::kNumber, entry.numbers[i].number);
      writer_.PrependHeader(kMapValue, pair);
      writer_.PrependBytes(kMapKey, entry.numbers[i].name);
      writer_.PrependHeader(kFirst, pair);
    }
    writer_.PrependHeader(value::kStruct, numbers);
  }
  writer_.PrependHeader(kMapValue, field);
  writer_.PrependBytes(kMapKey, entry.key);
  writer_.PrependHeader(kFirst, field);
}

void AnswerWriter::PrependMetadata(std::span<const MetadataEntry> metadata) {
  if (metadata.empty()) return;
  const size_t whole = writer_.size_bytes();
  for (size_t end = metadata.size(); end > 0;) {
    const std::string_view name_space = metadata[end - 1].name_space;
    const size_t pair = writer_.size_bytes();
    const size_t fields = writer_.size_bytes();
    while (end > 0 && metadata[end - 1].name_space == name_space) PrependEntry(metadata[--end]);
    writer_.PrependHeader(value::kStruct, fields);
    writer_.PrependHeader(kMapValue, fields);
    writer_.PrependBytes(kMapKey, name_space);
    writer_.PrependHeader(kFirst, pair);
  }
  writer_.PrependHeader(response::kDynamicMetadata, whole);
}

void AnswerWriter::PrependMode(const ModeOverride& modes) {
  const size_t whole = writer_.size_bytes();
  const auto put = [this](uint32_t field, auto number) {
    if (number != decltype(number){}) writer_.PrependNumber(field, static_cast<uint64_t>(number));
  };
  put(mode::kResponseTrailer, modes.response_trailers);
  put(mode::kRequestTrailer, modes.request_trailers);
  put(mode::kResponseBody, modes.response_body);
  put(mode::kRequestBody, modes.request_body);
  put(mode::kResponseHeader, modes.response_headers);
  writer_.PrependHeader(response::kModeOverride, whole);
}

std::string_view AnswerWriter::Headers(ExtProcPhase phase, const CommonChanges& changes,
                                       std::span<const MetadataEntry> metadata,
                                       const ModeOverride* mode_override_or_null) {
  writer_.Clear();
  if (mode_override_or_null != nullptr) PrependMode(*mode_override_or_null);
  PrependMetadata(metadata);
  const size_t answer = writer_.size_bytes();
  PrependChanges(changes);
  writer_.PrependHeader(kCommonResponse, answer);
  writer_.PrependHeader(AnswerField(phase), answer);
  return Done();
}

std::string_view AnswerWriter::BodyHead(ExtProcPhase phase, const BodyAnswerFields& fields) {
  // The body's bytes end the message, so everything else is written before them.
  writer_.Clear();
  uint64_t after = fields.body_bytes;
  switch (fields.kind) {
    case BodyAnswer::kStreamed:
      if (after != 0) writer_.PrependHeader(streamed::kBody, 0, after);
      if (fields.end_of_stream) writer_.PrependNumber(streamed::kEndOfStream, 1);
      writer_.PrependHeader(body_mutation::kStreamed, 0, after);
      writer_.PrependHeader(common::kBodyMutation, 0, after);
      break;
    case BodyAnswer::kReplace:
      writer_.PrependHeader(body_mutation::kBody, 0, after);
      writer_.PrependHeader(common::kBodyMutation, 0, after);
      break;
    case BodyAnswer::kClear:
      after = 0;
      writer_.PrependNumber(body_mutation::kClear, 1);
      writer_.PrependHeader(common::kBodyMutation, 0);
      break;
    case BodyAnswer::kUnchanged:
      after = 0;
      break;
  }
  PrependChanges(fields.changes);
  writer_.PrependHeader(kCommonResponse, 0, after);
  writer_.PrependHeader(AnswerField(phase), 0, after);
  PrependMetadata(fields.metadata);
  return Done();
}

std::string_view AnswerWriter::Trailers(ExtProcPhase phase) {
  writer_.Clear();
  writer_.PrependHeader(AnswerField(phase), 0);
  return Done();
}

std::string_view AnswerWriter::Immediate(uint32_t code, std::span<const HeaderChange> set,
                                         std::string_view body) {
  writer_.Clear();
  if (!body.empty()) writer_.PrependBytes(immediate::kBody, body);
  PrependHeaderMutation(immediate::kHeaders, set, {});
  const size_t status = writer_.size_bytes();
  writer_.PrependNumber(immediate::kStatusCode, code);
  writer_.PrependHeader(immediate::kStatus, status);
  writer_.PrependHeader(response::kImmediate, 0);
  return Done();
}

}  // namespace weir::io
