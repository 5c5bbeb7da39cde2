// wire/body_reader.h: request bodies of all APIs become Requests, each scanned once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "weir/request.h"
#include "weir/status.h"

namespace weir::internal {

enum class BodyFormat : uint8_t {
  kRaw,        // not read
  kOpenAi,     // JSON of OpenAI's API
  kAnthropic,  // JSON of Anthropic's messages API
  kVllmHttp,   // JSON of vLLM's token interface
  kSglang,     // JSON of SGLang's own interface
  kVllmGrpc,   // one gRPC frame of vllm.grpc.engine
  kVertex,     // one gRPC frame of Vertex AI, with OpenAI JSON in it
};

// Where the model's name stands in a body, as offsets.
struct ModelPlace {
  bool is_object = false;  // the body is a JSON object
  bool has_value = false;  // "model" is there and not null
  // The value of "model". Equal: there is none, and a first member may be inserted here.
  size_t begin = 0;
  size_t end = 0;
};

// Keeps its buffers from call to call, so that steady traffic allocates nothing. One thread at a
// time.
class BodyReader {
 public:
  BodyReader();
  ~BodyReader();
  BodyReader(BodyReader&&) noexcept;
  BodyReader& operator=(BodyReader&&) noexcept;

  // Fills what the body decides of *request: its views point into body and into this reader and are
  // valid until the next call. `padding_bytes` is how many bytes after body may be read (not used):
  // with 64 or more no copy is made. kVllmGrpc reads an EmbedRequest if api is kEmbeddings, else a
  // GenerateRequest; its api becomes kCompletions if the prompt is text. [hot, serial]
  // Errors: kInvalidArgument with a text for the client, kOutOfRange above kRequestBodyBytesMax,
  // kPromptsMax or kPromptPartsMax.
  absl::Status Read(BodyFormat format, Api api, std::string_view body, size_t padding_bytes,
                    Request* request, ModelPlace* place);

  struct State;  // wire/body_scan.h

 private:
  std::unique_ptr<State> state_;
};

}  // namespace weir::internal
