// Bodies of gRPC calls: vLLM's engine service, and Vertex AI's, which holds OpenAI JSON. Messages
// are read where they lie; the numbers are those of their .proto files.
#include "wire/body_scan.h"
#include "wire/protobuf_reader.h"

namespace weir::internal {
namespace {

constexpr size_t kFrameHeaderBytes = 5;  // compressed flag, big-endian length

absl::Status InvalidPayload() { return Invalid("invalid or unsupported gRPC payload"); }

// The message of a body that is exactly one uncompressed frame.
bool TakeFrame(std::string_view body, std::string_view* message) {
  if (body.size() < kFrameHeaderBytes || body[0] != 0) return false;
  uint64_t size = 0;
  for (size_t i = 1; i < kFrameHeaderBytes; ++i) {
    size = size << 8 | static_cast<unsigned char>(body[i]);
  }
  if (size != body.size() - kFrameHeaderBytes) return false;
  *message = body.substr(kFrameHeaderBytes);
  return true;
}

// vllm.grpc.engine
enum GenerateField : uint32_t {
  kTokenized = 2,  // TokenizedInput; also of EmbedRequest
  kText = 3,
  kSamplingParams = 4,
  kStream = 5,
  kMediaInputs = 7,
};
constexpr uint32_t kInputIds = 2;          // of TokenizedInput
constexpr uint32_t kMaxTokens = 8;         // of SamplingParams
constexpr uint32_t kMediaPlaceholder = 5;  // of MultimodalInputs, as the next
constexpr uint32_t kMediaHash = 6;

// google.cloud.aiplatform's requests, google.api.HttpBody
constexpr uint32_t kHttpBody = 2;
constexpr uint32_t kHttpBodyData = 2;

// The last `number` of a message, as protobuf wants it.
bool FindBytes(std::string_view message, uint32_t number, std::string_view* found) {
  ProtobufReader fields(message);
  while (fields.Next()) {
    if (fields.IsBytes(number)) *found = fields.bytes();
  }
  return !fields.malformed();
}

// A repeated uint32, packed or one by one.
bool AppendTokens(std::string_view tokenized, std::vector<uint32_t>* tokens) {
  ProtobufReader fields(tokenized);
  while (fields.Next()) {
    if (fields.IsVarint(kInputIds)) {
      tokens->push_back(static_cast<uint32_t>(fields.varint()));
    } else if (fields.IsBytes(kInputIds)) {
      std::string_view packed = fields.bytes();
      uint64_t id;
      while (!packed.empty()) {
        if (!ProtobufReader::TakeVarint(&packed, &id)) return false;
        tokens->push_back(static_cast<uint32_t>(id));
      }
    }
  }
  return !fields.malformed();
}

}  // namespace

absl::Status BodyReader::State::ReadVllmGrpc(std::string_view body, Request* request) {
  std::string_view message, tokenized, words, media;
  if (!TakeFrame(body, &message)) return InvalidPayload();
  const bool embeds = request->api == Api::kEmbeddings;
  bool has_tokens = false, has_text = false;
  ProtobufReader fields(message);
  while (fields.Next()) {
    if (fields.IsBytes(kTokenized)) {
      tokenized = fields.bytes();
      has_tokens = true;
      has_text = false;  // of a oneof, the last one counts
    } else if (!embeds && fields.IsBytes(kText)) {
      words = fields.bytes();
      has_text = true;
      has_tokens = false;
    } else if (!embeds && fields.IsBytes(kSamplingParams)) {
      ProtobufReader params(fields.bytes());
      while (params.Next()) {
        if (params.IsVarint(kMaxTokens)) {
          request->max_output_tokens = static_cast<uint32_t>(params.varint());
        }
      }
      if (params.malformed()) return InvalidPayload();
    } else if (!embeds && fields.IsVarint(kStream)) {
      request->stream = fields.varint() != 0;
    } else if (!embeds && fields.IsBytes(kMediaInputs)) {
      media = fields.bytes();
    }
  }
  if (fields.malformed()) return InvalidPayload();
  BeginPrompt();
  if (has_text) {
    request->api = Api::kCompletions;
    AppendText(words);
  } else if (has_tokens) {
    if (!AppendTokens(tokenized, &tokens)) return InvalidPayload();
    if (absl::Status status = AppendMediaHashes(media); !status.ok()) return status;
  } else {
    return Invalid("not supported request inputType");
  }
  EndPrompt();
  return absl::OkStatus();
}

// One part for each placeholder; those without a hash are empty.
absl::Status BodyReader::State::AppendMediaHashes(std::string_view media) {
  uint32_t placeholders = 0;
  const size_t first = pending_parts.size();
  ProtobufReader counted(media);
  while (counted.Next()) {
    if (!counted.IsBytes(kMediaPlaceholder)) continue;
    if (absl::Status status = CheckParts(); !status.ok()) return status;
    AppendMedia(PromptPart::Kind::kImage, {});
    ++placeholders;
  }
  if (counted.malformed()) return InvalidPayload();
  uint32_t hashes = 0;
  ProtobufReader fields(media);
  while (hashes < placeholders && fields.Next()) {
    if (!fields.IsBytes(kMediaHash)) continue;
    pending_parts[first + hashes].bytes = fields.bytes();
    ++hashes;
  }
  return absl::OkStatus();
}

absl::Status BodyReader::State::ReadVertex(Api api, std::string_view body, size_t padding_bytes,
                                           Request* request) {
  std::string_view message, http_body, data;
  if (!TakeFrame(body, &message) || !FindBytes(message, kHttpBody, &http_body) ||
      !FindBytes(http_body, kHttpBodyData, &data) || data.data() == nullptr) {
    return InvalidPayload();
  }
  // What follows in the frame may be read as padding, too.
  const auto behind = static_cast<size_t>(body.data() + body.size() - data.data()) - data.size();
  absl::Status status = ReadOpenAi(api, data, behind + padding_bytes, request);
  place = {};  // the payload goes on as it is
  return status;
}

}  // namespace weir::internal
