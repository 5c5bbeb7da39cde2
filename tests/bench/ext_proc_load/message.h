// ext_proc_load/message.h: the messages of envoy.service.ext_proc.v3 as Envoy writes and reads
// them, in the framing of gRPC. Written without the server's code, so that both must agree with
// Envoy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace weir::bench {

inline constexpr size_t kFrameHeadBytes = 5;          // of gRPC: compression flag, length
inline constexpr size_t kAnswerBytesMax = 4u << 20;   // of one message; more is an error
inline constexpr size_t kBodyChunkBytes = 32u << 10;  // what Envoy reads at a time
inline constexpr std::string_view kDestination = "x-gateway-destination-endpoint";

struct Header {
  std::string_view name;
  std::string_view value;
};

enum class Phase : uint8_t { kRequest, kResponse };

// Appends a framed message with headers. The first message of a stream also says that both bodies
// are FULL_DUPLEX_STREAMED.
void AppendHeaders(Phase phase, std::span<const Header> headers, bool end_of_stream,
                   std::string& out);
// Appends a framed message with a piece of a body.
void AppendBody(Phase phase, std::string_view body, bool end_of_stream, std::string& out);

// What one answer says. Views into the message.
struct Answer {
  enum class Kind : uint8_t {
    kOther = 0,
    kRequestHeaders = 1,  // the numbers of the protocol's fields
    kResponseHeaders = 2,
    kRequestBody = 3,
    kResponseBody = 4,
    kRequestTrailers = 5,
    kResponseTrailers = 6,
    kImmediate = 7,
  };
  Kind kind = Kind::kOther;
  std::string_view destination;         // value of the header kDestination, if set
  std::string_view body;                // of a streamed body
  bool end_of_stream = false;           // likewise
  uint32_t immediate_status = 0;        // HTTP
  bool skips_response_headers = false;  // mode_override: they are not wanted
  bool skips_response_body = false;     // likewise
};

// Reads one unframed ProcessingResponse. Returns false if the bytes are no such message. [hot]
bool ParseAnswer(std::string_view message, Answer* answer);

// What one request says, for the echo server. Views into the message.
struct Question {
  uint32_t field = 0;      // of ProcessingRequest: 2..7
  std::string_view inner;  // the bytes of that field: an HttpHeaders, HttpBody or HttpTrailers
  bool end_of_stream = false;
};
// Reads one unframed ProcessingRequest. Returns false if the bytes are no such message. [hot]
bool ParseQuestion(std::string_view message, Question* question);

// Appends what stands before the received bytes of an HttpBody so that they become the answer that
// echoes it: a StreamedBodyResponse has the same fields. [hot]
void AppendEchoHead(Phase phase, size_t inner_bytes, std::string& out);
// Appends an answer to headers; with `destination`, also the mutation that sets it, and with
// `skips_response_body` the mode_override that keeps response bodies away.
void AppendHeadersAnswer(Phase phase, std::string_view destination, bool skips_response_body,
                         std::string& out);

}  // namespace weir::bench
