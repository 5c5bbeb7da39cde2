// OpenAI bodies: chat completions, completions, embeddings, responses, conversations, images.
#include "wire/body_scan.h"

namespace weir::internal {
namespace {

// Members of the body that are read.
enum Field : uint32_t {
  kModel,
  kStream,
  kStreamOptions,
  kMessages,
  kPrompt,
  kInput,
  kItems,
  kInstructions,
  kTools,
  kCacheSalt,
  kMaxTokens,
  kMaxCompletionTokens,
  kMaxOutputTokens,
};
constexpr std::string_view kFields[] = {"model",
                                        "stream",
                                        "stream_options",
                                        "messages",
                                        "prompt",
                                        "input",
                                        "items",
                                        "instructions",
                                        "tools",
                                        "cache_salt",
                                        "max_tokens",
                                        "max_completion_tokens",
                                        "max_output_tokens"};

// Which member holds the prompt.
Field PromptField(Api api) {
  switch (api) {
    case Api::kChatCompletions:
      return kMessages;
    case Api::kEmbeddings:
    case Api::kResponses:
      return kInput;
    case Api::kConversations:
      return kItems;
    default:
      return kPrompt;
  }
}

std::string_view NoPromptText(Api api) {
  switch (api) {
    case Api::kChatCompletions:
      return "invalid chat completions request: must have valid messages field";
    case Api::kEmbeddings:
      return "invalid embeddings request: must have input field";
    case Api::kResponses:
      return "invalid responses request: must have input field";
    case Api::kConversations:
      return "invalid conversations request: must have items field";
    case Api::kImages:
      return "invalid images generations request: must have prompt field";
    default:
      return "invalid completions request: must have prompt field";
  }
}

}  // namespace

absl::Status BodyReader::State::ReadOpenAi(Api api, std::string_view body, size_t padding_bytes,
                                           Request* request) {
  malformed = "error unmarshaling request bodyMap: ";
  const Field prompt_field = PromptField(api);
  const bool reads_tools = api == Api::kChatCompletions || api == Api::kResponses;
  std::optional<int64_t> limits[3];
  const auto on_field = [&](uint32_t field, JsonValue& value) -> absl::Status {
    switch (field) {
      case kModel:
        return ReadModel(value, request);
      case kStream:
        return ReadBoolIfAny(value, &request->stream);
      case kCacheSalt:
        return ReadString(value, "cache_salt", &request->cache_salt);
      case kMaxTokens:
      case kMaxCompletionTokens:
      case kMaxOutputTokens:
        return ReadLimitIfAny(value, &limits[field - kMaxTokens]);
      case kStreamOptions: {
        JsonObject options;
        if (value.get_object().get(options)) return Skip(value);
        return ReadObject(options, "stream_options.", {"include_usage"},
                          [&](uint32_t, JsonValue& flag) {
                            return ReadBoolIfAny(flag, &request->include_usage);
                          });
      }
      case kTools:
        return reads_tools ? ReadTools(value) : Skip(value);
      case kInstructions:
        return api == Api::kResponses ? ReadSystemText(value, "instructions") : Skip(value);
      default:
        break;
    }
    if (field != prompt_field) return Skip(value);
    bool is_null;
    if (absl::Status status = ReadNull(value, &is_null); !status.ok() || is_null) return status;
    switch (field) {
      case kMessages:
        return ReadMessages(value, "messages");
      case kItems:
        return ReadMessages(value, "items");
      case kInput:
        return api == Api::kResponses ? ReadResponsesInput(value) : ReadPrompts(value, "input");
      default:
        return ReadPrompts(value, "prompt");
    }
  };
  if (absl::Status status = ReadBody(body, padding_bytes, kFields, on_field); !status.ok()) {
    return status;
  }
  if (pending_prompts.empty()) return Invalid(NoPromptText(api));
  request->max_output_tokens = limits[kMaxTokens - kMaxTokens];
  const auto& chat_limit = limits[kMaxCompletionTokens - kMaxTokens];
  if (api == Api::kChatCompletions && chat_limit) request->max_output_tokens = chat_limit;
  if (api == Api::kResponses) {
    request->max_output_tokens = limits[kMaxOutputTokens - kMaxTokens];
  }
  return absl::OkStatus();
}

absl::Status BodyReader::State::ReadTools(JsonValue& value) {
  bool is_null;
  if (absl::Status status = ReadNull(value, &is_null); !status.ok() || is_null) return status;
  JsonType type;
  if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
  if (type != JsonType::array) return WrongType("tools", "a list");
  return RawJson(value, &tools_json);
}

absl::Status BodyReader::State::ReadSystemText(JsonValue& value, std::string_view field) {
  std::string_view words;
  if (absl::Status status = ReadString(value, field, &words); !status.ok()) return status;
  system_text.insert(system_text.end(), words.begin(), words.end());
  return absl::OkStatus();
}

// The prompt's byte stream is role, then text, of each message.
absl::Status BodyReader::State::ReadMessages(JsonValue& value, std::string_view field) {
  return ReadMessageList(
      value,
      [&](std::string_view where, std::string_view expected) {
        return WrongType(absl::StrCat(std::string(field), std::string(where)), expected);
      },
      [&](JsonValue& content) { return ReadContent(content, field); });
}

absl::Status BodyReader::State::ReadContent(JsonValue& value, std::string_view field) {
  return ReadTextOrParts(
      value,
      [&](std::string_view expected) {
        return WrongType(absl::StrCat(std::string(field), "[].content"), expected);
      },
      [&](JsonObject& part) { return ReadContentPart(part, field); });
}

// {"type": "text", "text"}, {"type": "image_url", "image_url": {"url"}}, {"type": "input_audio",
// "input_audio": {"data"}}, {"type": "video_url", "video_url": {"url"}}; other types are skipped.
absl::Status BodyReader::State::ReadContentPart(JsonObject& part, std::string_view field) {
  enum PartField : uint32_t { kType, kText, kImageUrl, kVideoUrl, kAudioUrl, kInputAudio };
  static constexpr std::string_view kPartFields[] = {"type",      "text",      "image_url",
                                                     "video_url", "audio_url", "input_audio"};
  struct Media {
    std::string_view type;
    PartField field;
    PromptPart::Kind kind;
  };
  static constexpr Media kMedia[] = {{"image_url", kImageUrl, PromptPart::Kind::kImage},
                                     {"input_image", kImageUrl, PromptPart::Kind::kImage},
                                     {"video_url", kVideoUrl, PromptPart::Kind::kVideo},
                                     {"audio_url", kAudioUrl, PromptPart::Kind::kAudio},
                                     {"input_audio", kInputAudio, PromptPart::Kind::kAudio}};
  std::string_view bytes[kInputAudio + 1];
  bool found[kInputAudio + 1] = {};
  const auto is_text = [&] {
    const std::string_view type = bytes[kType];
    return type == "text" || type == "input_text" || type == "output_text";
  };
  bool appended = false;  // the text, at once, where its type stands before it
  const auto on_field = [&](uint32_t index, JsonValue& value) -> absl::Status {
    if (index == kText && is_text()) {
      JsonType type;
      if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
      appended = type == JsonType::string;
      return appended ? AppendString(value) : Skip(value);
    }
    JsonObject object;
    if (index <= kText || value.get_object().get(object)) {
      // Some clients send the URL itself instead of {"url": ...}.
      return ReadStringIfAny(value, &bytes[index], &found[index]);
    }
    const std::string_view member = index == kInputAudio ? "data" : "url";
    return ReadObject(object, "messages[].content[].", {member}, [&](uint32_t, JsonValue& inner) {
      return ReadStringIfAny(inner, &bytes[index], &found[index]);
    });
  };
  if (absl::Status status = ReadObject(part, "messages[].content[].", kPartFields, on_field);
      !status.ok()) {
    return status;
  }
  const auto missing = [&](std::string_view name) {
    return WrongType(absl::StrCat(std::string(field), "[].content[].", std::string(name)),
                     "a string");
  };
  if (!found[kType]) return missing("type");
  if (is_text()) {
    if (appended) return absl::OkStatus();
    if (!found[kText]) return missing("text");
    AppendText(bytes[kText]);
    return absl::OkStatus();
  }
  for (const Media& media : kMedia) {
    if (bytes[kType] != media.type) continue;
    if (!found[media.field]) {
      return missing(absl::StrCat(std::string(kPartFields[media.field]),
                                  media.field == kInputAudio ? ".data" : ".url"));
    }
    AppendMedia(media.kind, bytes[media.field]);
  }
  return absl::OkStatus();
}

absl::Status BodyReader::State::ReadPrompts(JsonValue& value, std::string_view field) {
  JsonType type;
  if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
  if (type == JsonType::string) {
    BeginPrompt();
    if (absl::Status status = AppendString(value); !status.ok()) return status;
    EndPrompt();
    if (pending_parts.back().size == 0) {
      pending_parts.pop_back();
      pending_prompts.pop_back();
    }
    return absl::OkStatus();
  }
  JsonArray array;
  if (value.get_array().get(array)) {
    return WrongType(field, "a string, a list of strings or a list of token ids");
  }
  return ReadPromptList(array, field);
}

absl::Status BodyReader::State::ReadPromptList(JsonArray& array, std::string_view field) {
  bool strings = false, ids = false;
  for (auto item_or : array) {
    if (auto error = item_or.error()) return Malformed(error);
    JsonValue& item = item_or.value_unsafe();
    JsonType type;
    if (absl::Status status = TypeOf(item, &type); !status.ok()) return status;
    if (type == JsonType::string && !ids) {
      if (pending_prompts.size() >= kPromptsMax) return TooMany("prompts", kPromptsMax);
      strings = true;
      BeginPrompt();
      if (absl::Status status = AppendString(item); !status.ok()) return status;
      EndPrompt();
      continue;
    }
    if (!ids && !strings) BeginPrompt();
    bool valid = false;
    if (!strings) {
      ids = true;
      if (absl::Status status = ReadToken(item, &valid); !status.ok()) return status;
    }
    if (!valid) return WrongType(field, "all strings or all token ids (0..4294967295)");
  }
  if (ids) EndPrompt();
  return absl::OkStatus();
}

absl::Status BodyReader::State::ReadResponsesInput(JsonValue& value) {
  JsonType type;
  if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
  BeginPrompt();
  if (type == JsonType::string) {
    if (absl::Status status = AppendString(value); !status.ok()) return status;
  } else {
    std::string_view json_text;
    if (absl::Status status = RawJson(value, &json_text); !status.ok()) return status;
    AppendText(json_text);
  }
  EndPrompt();
  return absl::OkStatus();
}

}  // namespace weir::internal
