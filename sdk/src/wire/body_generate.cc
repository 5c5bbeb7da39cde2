// Bodies that carry token ids: vLLM's inference/v1/generate and SGLang's /generate.
#include <algorithm>

#include "wire/body_scan.h"

namespace weir::internal {
namespace {

constexpr std::string_view kVllmFields[] = {"model",    "stream",     "token_ids",
                                            "features", "cache_salt", "sampling_params"};
enum VllmField : uint32_t { kModel, kStream, kTokenIds, kFeatures, kCacheSalt, kSamplingParams };

constexpr std::string_view kSglangFields[] = {"input_ids", "extra_key", "stream",
                                              "sampling_params"};
enum SglangField : uint32_t { kInputIds, kExtraKey, kSglangStream, kSglangSamplingParams };

}  // namespace

absl::Status BodyReader::State::ReadVllmHttp(std::string_view body, size_t padding_bytes,
                                             Request* request) {
  malformed = "error unmarshaling request body: ";
  BeginPrompt();
  const auto on_field = [&](uint32_t field, JsonValue& value) -> absl::Status {
    switch (field) {
      case kModel:
        return ReadModel(value, request);
      case kStream:
        return ReadBoolIfAny(value, &request->stream);
      case kTokenIds:
        return ReadTokenIds(value);
      case kFeatures:
        return ReadFeatures(value);
      case kCacheSalt:
        return ReadString(value, "cache_salt", &request->cache_salt);
      default:
        return ReadNestedLimit(value, "max_tokens", &request->max_output_tokens);
    }
  };
  if (absl::Status status = ReadBody(body, padding_bytes, kVllmFields, on_field); !status.ok()) {
    return status;
  }
  EndPrompt();
  if (tokens.empty()) {
    return Invalid("invalid generate request: must have non-empty token_ids field");
  }
  return absl::OkStatus();
}

absl::Status BodyReader::State::ReadTokenIds(JsonValue& value) {
  JsonArray ids;
  if (value.get_array().get(ids)) return Skip(value);
  for (auto id_or : ids) {
    if (auto error = id_or.error()) return Malformed(error);
    JsonValue& id = id_or.value_unsafe();
    constexpr size_t kShownBytesMax = 32;
    const std::string_view token = id.raw_json_token();
    const std::string_view shown =
        token.substr(0, std::min(token.find_first_of(" \t\r\n"), kShownBytesMax));
    bool valid;
    if (absl::Status status = ReadToken(id, &valid); !status.ok()) return status;
    if (valid) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("token_ids[", tokens.size(), "]: invalid value ", std::string(shown)));
  }
  return absl::OkStatus();
}

// {"mm_hashes": {"image": ["<hash>", ...]}, ...}: each asset is a part whose bytes are its hash.
absl::Status BodyReader::State::ReadFeatures(JsonValue& value) {
  static constexpr std::string_view kModalities[] = {"image", "video", "audio"};
  static constexpr PromptPart::Kind kKinds[] = {PromptPart::Kind::kImage, PromptPart::Kind::kVideo,
                                                PromptPart::Kind::kAudio};
  const auto on_hashes = [&](uint32_t modality, JsonValue& list) -> absl::Status {
    JsonArray hashes;
    if (list.get_array().get(hashes)) return Skip(list);
    for (auto hash_or : hashes) {
      if (absl::Status status = CheckParts(); !status.ok()) return status;
      if (auto error = hash_or.error()) return Malformed(error);
      JsonValue& hash = hash_or.value_unsafe();
      std::string_view bytes;
      bool found;
      if (absl::Status status = ReadStringIfAny(hash, &bytes, &found); !status.ok()) return status;
      AppendMedia(kKinds[modality], bytes);
    }
    return absl::OkStatus();
  };
  JsonObject features;
  if (value.get_object().get(features)) return Skip(value);
  return ReadObject(features, "features.", {"mm_hashes"},
                    [&](uint32_t, JsonValue& hashes) -> absl::Status {
                      JsonObject by_modality;
                      if (hashes.get_object().get(by_modality)) return Skip(hashes);
                      return ReadObject(by_modality, "features.mm_hashes.", kModalities, on_hashes);
                    });
}

absl::Status BodyReader::State::ReadSglang(std::string_view body, size_t padding_bytes,
                                           Request* request) {
  malformed = "error unmarshaling request body: ";
  BeginPrompt();
  bool has_ids = false;
  const auto on_field = [&](uint32_t field, JsonValue& value) -> absl::Status {
    switch (field) {
      case kInputIds: {
        bool is_null;
        if (absl::Status status = ReadNull(value, &is_null); !status.ok() || is_null) return status;
        has_ids = true;
        return ReadInputIds(value);
      }
      case kExtraKey: {
        JsonType type;
        if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
        if (type != JsonType::string && type != JsonType::null) {
          return Invalid("unsupported generate request: extra_key must be a string");
        }
        return ReadString(value, "extra_key", &request->cache_salt);
      }
      case kSglangStream:
        return ReadBoolIfAny(value, &request->stream);
      default:
        return ReadNestedLimit(value, "max_new_tokens", &request->max_output_tokens);
    }
  };
  if (absl::Status status = ReadBody(body, padding_bytes, kSglangFields, on_field); !status.ok()) {
    return status;
  }
  EndPrompt();
  if (!has_ids) return Invalid("invalid generate request: input_ids must be provided");
  if (tokens.empty()) return Invalid("invalid generate request: input_ids cannot be empty");
  return absl::OkStatus();
}

absl::Status BodyReader::State::ReadInputIds(JsonValue& value) {
  constexpr std::string_view kExpected =
      "invalid generate request: input_ids must be an array of uint32 integers";
  JsonArray ids;
  if (value.get_array().get(ids)) return Invalid(kExpected);
  for (auto id_or : ids) {
    if (auto error = id_or.error()) return Malformed(error);
    JsonValue& id = id_or.value_unsafe();
    bool valid;
    if (absl::Status status = ReadToken(id, &valid); !status.ok()) return status;
    if (!valid) return Invalid(kExpected);
  }
  return absl::OkStatus();
}

}  // namespace weir::internal
