// Requests of every API: any bytes give a request whose views hold, or an error for the client; a
// body whose model was rewritten reads the same but for the model. The first byte picks the path,
// the second whether another model is asked for.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "weir/intake.h"

namespace {

using weir::Intake;
using weir::IntakeResult;
using weir::Prompt;
using weir::Request;

constexpr std::string_view kPaths[] = {"/v1/chat/completions",
                                       "/v1/completions",
                                       "/v1/embeddings",
                                       "/v1/responses",
                                       "/v1/conversations",
                                       "/v1/images/generations",
                                       "/v1/messages",
                                       "/v1/messages/count_tokens",
                                       "/inference/v1/generate",
                                       "/generate",
                                       "/vllm.grpc.engine.VllmEngine/Generate",
                                       "/vllm.grpc.engine.VllmEngine/Embed",
                                       "/x.PredictionService/ChatCompletions",
                                       "/x.PredictionService/RawPredict",
                                       "/v1/models"};
constexpr std::string_view kPipeline = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: random-picker}
requestHandler:
  parsers:
  - {pluginRef: openai-parser}
  - {pluginRef: anthropic-parser}
  - {pluginRef: vllmhttp-parser}
  - {pluginRef: sglanghttp-parser}
  - {pluginRef: vllmgrpc-parser}
  - {pluginRef: vertexai-parser}
  - {pluginRef: passthrough-parser}
)";
constexpr std::string_view kTarget = "another \"model\"";

void Require(bool condition) {
  if (!condition) std::abort();
}

// What a request says of its prompts; reading it shows a sanitizer any view that left its storage.
std::string Digest(const Request& request) {
  std::string digest(request.cache_salt);
  for (const Prompt& prompt : request.prompts) {
    digest += "\nprompt";
    for (const auto& part : prompt.parts) {
      digest += '0' + static_cast<char>(part.kind);
      digest += part.bytes;
    }
    for (const uint32_t token : prompt.tokens) digest += std::to_string(token) + ' ';
  }
  return digest;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const weir::Router* const router =
      new weir::Router(weir::Router::FromText(kPipeline, "fuzz.yaml", {.seed = 1}).value());
  static Intake* const intake = new Intake(*router, 1);
  static Intake* const again = new Intake(*router, 1);
  if (size < 2) return 0;
  const std::string_view path = kPaths[data[0] % std::size(kPaths)];
  // A copy of the exact size: reads behind the body are errors.
  const std::vector<char> body(data + 2, data + size);
  const std::string_view text(body.data(), body.size());
  const weir::Header headers[] = {{"x-llm-d-model-name-rewrite", kTarget}};
  const bool asks = data[1] % 2 == 1;
  Request request;
  IntakeResult result;
  const absl::Status status = intake->Read(
      {.headers = std::span(headers, asks ? 1 : 0), .path = path, .body = text}, &request, &result);
  if (!status.ok()) {
    Require(!status.message().empty());
    return 0;
  }
  const std::string digest = Digest(request);
  std::string joined;
  for (const std::string_view piece : result.body) joined += piece;
  Require(result.body_bytes() == joined.size());
  if (!result.body_changed) {
    Require(joined == text);
    return 0;
  }
  Request reread;
  IntakeResult unchanged;
  Require(again->Read({.path = path, .body = joined}, &reread, &unchanged).ok());
  Require(reread.model == kTarget && !unchanged.body_changed);
  Require(Digest(reread) == digest && reread.stream == request.stream);
  return 0;
}
