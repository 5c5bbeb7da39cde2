#include "wire/parsers.h"

namespace weir::internal {
namespace {

constexpr ParserClaim OpenAi(std::string_view suffix, Api api) {
  return {suffix, api, BodyFormat::kOpenAi, ResponseFormat::kOpenAi};
}
constexpr ParserClaim Vertex(std::string_view suffix, Api api) {
  return {suffix, api, BodyFormat::kVertex, ResponseFormat::kVertex};
}

constexpr ParserClaim kOpenAiClaims[] = {
    OpenAi("chat/completions", Api::kChatCompletions),
    OpenAi("completions", Api::kCompletions),
    OpenAi("embeddings", Api::kEmbeddings),
    OpenAi("responses", Api::kResponses),
    OpenAi("conversations", Api::kConversations),
    OpenAi("chat/completions/render", Api::kChatCompletions),
    OpenAi("completions/render", Api::kCompletions),
    OpenAi("images/generations", Api::kImages),
};
constexpr ParserClaim kAnthropicClaims[] = {
    {"messages", Api::kMessages, BodyFormat::kAnthropic, ResponseFormat::kAnthropic},
    {.suffix = "messages/count_tokens", .skip_response = true},
};
constexpr ParserClaim kVllmHttpClaims[] = {
    {"inference/v1/generate", Api::kGenerate, BodyFormat::kVllmHttp, ResponseFormat::kOpenAi},
};
constexpr ParserClaim kSglangClaims[] = {
    {"generate", Api::kGenerate, BodyFormat::kSglang, ResponseFormat::kSglang, true},
};
constexpr ParserClaim kVllmGrpcClaims[] = {
    {"vllm.grpc.engine.VllmEngine/Generate", Api::kGenerate, BodyFormat::kVllmGrpc,
     ResponseFormat::kVllmGenerate},
    {"vllm.grpc.engine.VllmEngine/Embed", Api::kEmbeddings, BodyFormat::kVllmGrpc,
     ResponseFormat::kVllmEmbed},
};
constexpr ParserClaim kVertexClaims[] = {
    Vertex("PredictionService/ChatCompletions", Api::kChatCompletions),
    Vertex("PredictionService/StreamRawPredict", Api::kResponses),
    Vertex("PredictionService/RawPredict", Api::kResponses),
};

constexpr ParserType kParserTypes[] = {
    {"openai-parser", true, kOpenAiClaims},
    {"anthropic-parser", true, kAnthropicClaims},
    {"vllmhttp-parser", true, kVllmHttpClaims},
    {"sglanghttp-parser", false, kSglangClaims},
    {"vllmgrpc-parser", false, kVllmGrpcClaims},
    {"vertexai-parser", false, kVertexClaims},
    {"passthrough-parser"},
};

bool Claims(const ParserClaim& claim, std::string_view path) {
  if (!path.ends_with(claim.suffix)) return false;
  const size_t before = path.size() - claim.suffix.size();
  if (claim.whole_path) return before == 1 && path[0] == '/';
  return before == 0 || path[before - 1] == '/' || path[before - 1] == '.';
}

}  // namespace

std::span<const ParserType> ParserTypes() { return kParserTypes; }

const ParserType* FindParserType(std::string_view name) {
  for (const ParserType& type : kParserTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

std::string_view CleanPath(std::string_view path) {
  path = path.substr(0, path.find('?'));
  if (path.ends_with('/')) path.remove_suffix(1);
  return path;
}

ParserChoice ChooseParser(std::span<const ParserType* const> parsers, std::string_view path) {
  ParserChoice choice;
  const ParserType* fallback = nullptr;
  for (const ParserType* type : parsers) {
    if (type->claims.empty() && fallback == nullptr) fallback = type;
    for (const ParserClaim& claim : type->claims) {
      if (claim.suffix.size() <= choice.claim.suffix.size() || !Claims(claim, path)) continue;
      choice = {type, claim};
    }
  }
  if (choice.type == nullptr) choice.type = fallback;
  return choice;
}

}  // namespace weir::internal
