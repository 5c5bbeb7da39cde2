// ext_proc_testing.h: messages of the protocol as JSON, written and read by code of its own, so
// that a mistake in the product's codec does not hide in the test's.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "weir/io/ext_proc/ext_proc_stream.h"

namespace weir::io::testing {

using Json = nlohmann::json;

// The wire form of one field.
std::string NumberField(uint32_t field, uint64_t value);
std::string BytesField(uint32_t field, std::string_view bytes);
std::string RealField(uint32_t field, double value);

// A ProcessingRequest:
//   {"request_headers": {"headers": [["name", "value"], ...], "end_of_stream": false}}
//   {"request_body": {"body": "...", "end_of_stream": true}}    the body also as [count, "text"]
//   {"request_trailers": {"headers": [...]}}                    and the same for the response
// each with "metadata": {"namespace": {"key": value}}, "protocol_config": {"request_body_mode": 4,
// "response_body_mode": 4} and "observability_mode": true. A header may also be {"key": "...",
// "value": "...", "raw_value": "..."}.
std::string EncodeRequest(const Json& message);

// A ProcessingResponse in the same manner:
//   {"request_headers": {"set": [["name", "value"], ...], "remove": [...],
//                        "clear_route_cache": true}, "dynamic_metadata": {...}}
//   {"request_body": {"streamed": "...", "end_of_stream": true}}, or "replace", "clear"
//   {"response_trailers": {}}
//   {"immediate_response": {"status": 400, "set": [...], "body": "..."}}
// What is unset is absent. A malformed message is {"malformed": true}.
Json DecodeAnswer(std::string_view message);

// Copies what a stream sends.
class RecordingOutput final : public ExtProcOutput {
 public:
  void Send(std::string_view head, std::string_view body, bool body_is_kept) override;
  void Finish(Code code, std::string_view text) override;

  // The messages since the last call.
  std::vector<Json> TakeAnswers();

  bool finished = false;
  bool kept_a_body = false;
  Code code = Code::kOk;
  std::string text;
  uint64_t messages = 0;

 private:
  std::vector<std::string> raw_;
};

}  // namespace weir::io::testing
