// weir/io/ext_proc/messages.h: the messages of envoy.service.ext_proc.v3 as far as an endpoint
// picker needs them, read in place and written without objects. Start at ReadProcessingRequest and
// AnswerWriter. The same subset as .proto files: proto/.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "weir/io/ext_proc/wire.h"
#include "weir/request.h"
#include "weir/status.h"

namespace weir::io {

// What a message is about. Values are field numbers in ProcessingRequest.
enum class ExtProcPhase : uint8_t {
  kNone = 0,
  kRequestHeaders = 2,
  kResponseHeaders = 3,
  kRequestBody = 4,
  kResponseBody = 5,
  kRequestTrailers = 6,
  kResponseTrailers = 7,
};

// How the proxy sends bodies. Values are those of ProcessingMode.BodySendMode.
enum class BodyMode : uint8_t {
  kNone = 0,
  kStreamed = 1,
  kBuffered = 2,
  kBufferedPartial = 3,
  kFullDuplexStreamed = 4,
  kGrpc = 5,
};

// How the proxy sends headers and trailers. Values are those of ProcessingMode.HeaderSendMode.
enum class HeaderMode : uint8_t { kDefault = 0, kSend = 1, kSkip = 2 };

// One ProcessingRequest. Views point into the message.
struct ProcessingRequestView {
  ExtProcPhase phase = ExtProcPhase::kNone;
  bool end_of_stream = false;  // headers, bodies
  bool observability_mode = false;
  bool has_protocol_config = false;
  BodyMode request_body_mode = BodyMode::kNone;  // of the protocol config
  BodyMode response_body_mode = BodyMode::kNone;
  std::string_view body;      // bodies
  std::string_view headers;   // headers, trailers: a HeaderMap, see ReadHeaders
  std::string_view metadata;  // a Metadata, see FindMetadata
};

// Fills *view. Unknown fields are skipped; of a field that occurs twice the last one counts.
// Errors: kInvalidArgument (malformed; *view is then unspecified). [hot, concurrent]
Code ReadProcessingRequest(std::string_view message, ProcessingRequestView* view) noexcept;

// Appends the headers of a HeaderMap to *headers, in order: raw_value where it is not empty, else
// value. Names are as they came. Errors: kInvalidArgument (malformed), kResourceExhausted (more
// than kHeadersMax in *headers). Allocates only to grow *headers. [hot, serial]
Code ReadHeaders(std::string_view header_map, std::vector<Header>* headers);

// A google.protobuf.Value.
struct MetadataValue {
  enum class Kind : uint8_t { kAbsent, kNull, kNumber, kString, kBool, kStruct, kList };
  Kind kind = Kind::kAbsent;
  double number = 0;       // kNumber; kBool as 0 or 1
  std::string_view bytes;  // kString: the text; kStruct, kList: the message
};

// The value of filter_metadata[name_space].fields[key]; kAbsent if there is none or what leads to
// it is malformed. Values of other names are not read. [hot, concurrent]
MetadataValue FindMetadata(std::string_view metadata, std::string_view name_space,
                           std::string_view key) noexcept;

// Whether filter_metadata has this name, whatever is under it. [hot, concurrent]
bool HasMetadata(std::string_view metadata, std::string_view name_space) noexcept;

// Calls visit(const MetadataValue&) for each element of a list. False if it is malformed.
template <typename Visit>
bool ForEachInList(std::string_view list, Visit&& visit);

// Reads one Value message. Malformed ones are kAbsent.
MetadataValue ReadMetadataValue(std::string_view value) noexcept;

struct HeaderChange {
  std::string_view name;
  std::string_view value;
};

struct NamedNumber {
  std::string_view name;
  double number = 0;
};

// One entry of the dynamic metadata that goes back to the proxy.
struct MetadataEntry {
  std::string_view name_space;
  std::string_view key;
  enum class Kind : uint8_t { kString, kNumber, kNumbers } kind = Kind::kString;
  std::string_view text;                 // kString
  double number = 0;                     // kNumber
  std::span<const NamedNumber> numbers;  // kNumbers: a struct of numbers
};

struct ModeOverride {
  HeaderMode response_headers = HeaderMode::kDefault;
  BodyMode request_body = BodyMode::kNone;
  BodyMode response_body = BodyMode::kNone;
  HeaderMode request_trailers = HeaderMode::kDefault;
  HeaderMode response_trailers = HeaderMode::kDefault;
};

// What a headers answer, or a body answer in buffered mode, changes.
struct CommonChanges {
  std::span<const HeaderChange> set;         // overwrites or adds
  std::span<const std::string_view> remove;  // names
  bool clear_route_cache = false;
};

// How a body answer carries its body.
enum class BodyAnswer : uint8_t {
  kUnchanged,  // no mutation: the proxy goes on with what it has
  kReplace,    // body_mutation.body
  kClear,      // body_mutation.clear_body
  kStreamed,   // body_mutation.streamed_response
};

struct BodyAnswerFields {
  BodyAnswer kind = BodyAnswer::kStreamed;
  uint64_t body_bytes = 0;     // of the body that follows the written head
  bool end_of_stream = false;  // kStreamed
  CommonChanges changes;       // honoured by the proxy in buffered mode only
  std::span<const MetadataEntry> metadata;
};

// Writes ProcessingResponse messages. Each method returns the message, valid until the next call;
// an empty one means that it would be larger than kWireWriterBytesMax. Entries of *metadata* with
// one namespace must stand together. set_headers carry raw_value and OVERWRITE_IF_EXISTS_OR_ADD.
// Serial; allocates only to grow its memory. [hot]
class AnswerWriter {
 public:
  // phase: kRequestHeaders or kResponseHeaders.
  std::string_view Headers(ExtProcPhase phase, const CommonChanges& changes,
                           std::span<const MetadataEntry> metadata = {},
                           const ModeOverride* mode_override_or_null = nullptr);
  // The message up to the body, whose bytes the caller sends behind it. phase: kRequestBody or
  // kResponseBody.
  std::string_view BodyHead(ExtProcPhase phase, const BodyAnswerFields& fields);
  // phase: kRequestTrailers or kResponseTrailers.
  std::string_view Trailers(ExtProcPhase phase);
  // `code` is an HTTP status.
  std::string_view Immediate(uint32_t code, std::span<const HeaderChange> set,
                             std::string_view body);

 private:
  void PrependChanges(const CommonChanges& changes);
  void PrependHeaderMutation(uint32_t field, std::span<const HeaderChange> set,
                             std::span<const std::string_view> remove);
  void PrependMetadata(std::span<const MetadataEntry> metadata);
  void PrependEntry(const MetadataEntry& entry);
  void PrependMode(const ModeOverride& mode);
  std::string_view Done() const { return writer_.full() ? std::string_view() : writer_.message(); }

  WireWriter writer_;
};

// Implementation.

template <typename Visit>
bool ForEachInList(std::string_view list, Visit&& visit) {
  WireReader reader(list);
  while (reader.Next()) {
    if (reader.Is(1, WireType::kBytes)) visit(ReadMetadataValue(reader.bytes()));
  }
  return reader.ok();
}

}  // namespace weir::io
