// weir/request.h: an inference request as scheduling sees it. Parse one from an OpenAI body, or
// fill the fields.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "weir/limits.h"
#include "weir/status.h"

namespace weir {

// Values are those of WEIR_API_... in the plugin ABI.
enum class Api : uint32_t {
  kOther = 0,
  kCompletions = 1,
  kChatCompletions = 2,
  kEmbeddings = 3,
  kResponses = 4,
  kMessages = 5,
  kConversations = 6,
  kGenerate = 7,  // token ids, as vLLM's and SGLang's own interfaces take them
  kImages = 8,
};

// Names are lower case.
struct Header {
  std::string_view name;
  std::string_view value;
};

// A piece of a prompt: decoded text, or the URL or base64 data of a media asset.
struct PromptPart {
  enum class Kind : uint32_t { kText = 0, kImage = 1, kVideo = 2, kAudio = 3 };
  Kind kind = Kind::kText;
  std::string_view bytes;
};

// One prompt: text and media, or token ids, or both when somebody tokenised already.
struct Prompt {
  std::span<const PromptPart> parts;
  std::span<const uint32_t> tokens;
};

// All views are borrowed: they must outlive the request and every decision made from it, or belong
// to the request's own storage. Movable. One thread at a time; const use is concurrent.
struct Request {
  Api api = Api::kOther;
  std::string_view id;              // x-request-id
  std::string_view model;           // that the upstream is asked for
  std::string_view incoming_model;  // that the client asked for; empty: the same
  std::string_view cache_salt;
  std::string_view objective;    // name, empty: none
  std::string_view fairness_id;  // empty: none given
  int32_t priority = 0;          // of the objective
  bool stream = false;
  bool include_usage = false;  // stream_options.include_usage
  std::optional<int64_t> max_output_tokens;
  uint64_t size_bytes = 0;  // of the body
  std::span<const Header> headers;
  std::span<const Prompt> prompts;
  // Endpoints that may serve the request: "ip:port", or "ip" for all ports, an IPv6 address with
  // brackets if a port follows; an element may also be a comma-separated list. An address with a
  // port that no endpoint has counts as its ip. Empty but set: none may.
  std::optional<std::span<const std::string_view>> subset;
  bool if_available = false;  // refuse unless the first target holds a part of the prompt
  bool any_endpoint = false;  // no body to judge by: skip scorers, draw among what filters leave
  // The text of a prompt with no other part begins at a multiple of 4 and is followed by zero bytes
  // up to the next one, as parsers leave it. Decide copies it otherwise.
  bool padded_text = false;

  // The value of a header, empty if absent. `name` is lower case.
  std::string_view header(std::string_view name) const noexcept;

  // Where a parser keeps decoded text; opaque, empty for hand-made requests.
  struct Storage;
  struct StorageDeleter {
    void operator()(Storage* storage) const noexcept;
  };
  std::unique_ptr<Storage, StorageDeleter> storage;
};

// Which API a request path names: the one whose path (as "chat/completions", "messages",
// "inference/v1/generate") is the longest that this path, without query and final slash, ends in;
// kOther if none.
Api ApiOfPath(std::string_view path) noexcept;

// Reads bodies of the OpenAI API, of Anthropic's messages and of vLLM's token interface, each once.
// What else a path may hold, headers and models' names are the business of weir/intake.h. Keeps its
// buffers from call to call, so that steady traffic allocates nothing. One thread at a time.
class RequestParser {
 public:
  RequestParser();
  ~RequestParser();
  RequestParser(RequestParser&&) noexcept;
  RequestParser& operator=(RequestParser&&) noexcept;

  // Fills *request; its views point into body and into this parser and are valid until the next
  // call. `padding_bytes` is how many bytes after body may be read (not used): with 64 or more no
  // copy is made. Fields that the body does not decide (id, headers, priority) are left alone.
  // A body of another API is not read: api is kOther and there are no prompts.
  // Errors: kInvalidArgument with a text for the client (malformed JSON, wrong type, field that
  // occurs twice, no prompt), kOutOfRange above kRequestBodyBytesMax, kPromptsMax or
  // kPromptPartsMax.
  absl::Status Parse(std::string_view path, std::string_view body, Request* request,
                     size_t padding_bytes = 0);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// RequestParser for one request, which then owns its decoded text. Views into body stay borrowed.
absl::StatusOr<Request> ParseOpenAi(std::string_view path, std::string_view body);

}  // namespace weir
