// Bodies of Anthropic's messages API. The prompt is tools, system text, then role and content of
// each message.
#include "wire/body_scan.h"

namespace weir::internal {
namespace {

constexpr std::string_view kFields[] = {"model", "stream",     "messages",  "system",
                                        "tools", "cache_salt", "max_tokens"};
enum Field : uint32_t { kModel, kStream, kMessages, kSystem, kTools, kCacheSalt, kMaxTokens };

// A tool's result holds blocks, which hold no further results.
constexpr uint32_t kBlockDepthMax = 2;

absl::Status Unreadable(std::string_view field, std::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("error parsing messages request: ", std::string(field), ": expected ",
                   std::string(expected)));
}

}  // namespace

absl::Status BodyReader::State::ReadAnthropic(std::string_view body, size_t padding_bytes,
                                              Request* request) {
  malformed = "error unmarshaling request body: ";
  const auto on_field = [&](uint32_t field, JsonValue& value) -> absl::Status {
    switch (field) {
      case kModel:
        return ReadModel(value, request);
      case kStream:
        return ReadBoolIfAny(value, &request->stream);
      case kMessages:
        return ReadTurns(value);
      case kSystem:
        return ReadSystemBlocks(value);
      case kTools:
        return ReadTools(value);
      case kCacheSalt:
        return ReadString(value, "cache_salt", &request->cache_salt);
      default:
        return ReadLimitIfAny(value, &request->max_output_tokens);
    }
  };
  if (absl::Status status = ReadBody(body, padding_bytes, kFields, on_field); !status.ok()) {
    return status;
  }
  if (pending_prompts.empty()) {
    return Invalid("invalid messages request: must have at least one message");
  }
  return absl::OkStatus();
}

absl::Status BodyReader::State::ReadSystemBlocks(JsonValue& value) {
  JsonType type;
  if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
  if (type == JsonType::string || type == JsonType::null) return ReadSystemText(value, "system");
  if (type != JsonType::array) return Unreadable("system", "a string or a list");
  JsonArray blocks;
  if (auto error = value.get_array().get(blocks)) return Malformed(error);
  for (auto block_or : blocks) {
    JsonObject block;
    if (auto error = block_or.get_object().get(block)) {
      return error == simdjson::INCORRECT_TYPE ? Unreadable("system", "a list of objects")
                                               : Malformed(error);
    }
    const absl::Status status = ReadObject(
        block, "system[].", {"text"},
        [&](uint32_t, JsonValue& words) { return ReadSystemText(words, "system[].text"); });
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status BodyReader::State::ReadTurns(JsonValue& value) {
  bool is_null;
  if (absl::Status status = ReadNull(value, &is_null); !status.ok() || is_null) return status;
  return ReadMessageList(
      value,
      [](std::string_view where, std::string_view expected) {
        return Unreadable(absl::StrCat("messages", std::string(where)), expected);
      },
      [&](JsonValue& content) { return ReadBlocks(content, "messages[].content", 0); });
}

absl::Status BodyReader::State::ReadBlocks(JsonValue& value, std::string_view field,
                                           uint32_t depth) {
  if (depth >= kBlockDepthMax) return Skip(value);
  return ReadTextOrParts(
      value, [&](std::string_view expected) { return Unreadable(field, expected); },
      [&](JsonObject& block) { return ReadBlock(block, field, depth); });
}

// Whatever its type, a block is what its members hold, in this order: name, text, thinking, the
// source of an image, input (a tool call), content (a tool's result). "content" comes last, as it
// is appended where it stands.
absl::Status BodyReader::State::ReadBlock(JsonObject& block, std::string_view field,
                                          uint32_t depth) {
  enum BlockField : uint32_t { kType, kName, kText, kThinking, kSource, kInput, kContent };
  static constexpr std::string_view kBlockFields[] = {"type",   "name",  "text",   "thinking",
                                                      "source", "input", "content"};
  static constexpr std::string_view kSourceFields[] = {"data", "url", "file_id"};
  std::string_view type, name, words, thinking, source, input;
  bool found, has_type = false;
  const auto on_field = [&](uint32_t index, JsonValue& value) -> absl::Status {
    switch (index) {
      case kType:
        return ReadStringIfAny(value, &type, &has_type);
      case kName:
        return ReadStringIfAny(value, &name, &found);
      case kText:
        return ReadStringIfAny(value, &words, &found);
      case kThinking:
        return ReadStringIfAny(value, &thinking, &found);
      case kInput:
        return RawJson(value, &input);
      case kSource: {
        JsonObject object;
        if (value.get_object().get(object)) return Skip(value);
        return ReadObject(
            object, "messages[].content[].source.", kSourceFields,
            [&](uint32_t, JsonValue& member) { return ReadStringIfAny(member, &source, &found); });
      }
      default:
        return ReadBlocks(value, "messages[].content[].content", depth + 1);
    }
  };
  if (absl::Status status = ReadObject(block, "messages[].content[].", kBlockFields, on_field);
      !status.ok()) {
    return status;
  }
  if (!has_type) {
    return Unreadable(absl::StrCat(std::string(field), "[].type"), "a string");
  }
  for (const std::string_view piece : {name, words, thinking, input}) {
    if (!piece.empty()) AppendText(piece);
  }
  if (type == "image" && source.data() != nullptr) AppendMedia(PromptPart::Kind::kImage, source);
  if (type == "document" && source.data() != nullptr) AppendText(source);
  return absl::OkStatus();
}

}  // namespace weir::internal
