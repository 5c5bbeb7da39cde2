#include "wire/body_scan.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace weir::internal {
namespace {

std::string_view Trimmed(std::string_view text) {
  const size_t end = text.find_last_not_of(" \t\r\n");
  return end == std::string_view::npos ? std::string_view() : text.substr(0, end + 1);
}

size_t DigitsEnd(std::string_view text, size_t at) {
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
  return at;
}

// The syntax alone: how large a number may be is the server's business.
bool IsNumber(std::string_view text) {
  size_t at = text.starts_with('-') ? 1 : 0;
  size_t end = DigitsEnd(text, at);
  if (end == at || (text[at] == '0' && end > at + 1)) return false;
  if (end < text.size() && text[end] == '.') {
    at = end + 1;
    end = DigitsEnd(text, at);
    if (end == at) return false;
  }
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    at = end + 1;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    end = DigitsEnd(text, at);
    if (end == at) return false;
  }
  return end == text.size();
}

bool IsHex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// Lone surrogates pass, as engines take them.
bool EscapesAreValid(std::string_view string) {
  for (size_t at; (at = string.find('\\')) != std::string_view::npos;) {
    string.remove_prefix(at + 1);
    const char kind = string.empty() ? '\0' : string.front();
    const size_t hex_digits = kind == 'u' ? 4 : 0;
    if (kind == '\0' || std::strchr("\"\\/bfnrtu", kind) == nullptr ||
        string.size() <= hex_digits) {
      return false;
    }
    for (size_t i = 1; i <= hex_digits; ++i) {
      if (!IsHex(string[i])) return false;
    }
    string.remove_prefix(1 + hex_digits);
  }
  return true;
}

constexpr std::string_view kBadEscape = "bad escape in a string";

}  // namespace

absl::Status Invalid(std::string_view text) {
  return absl::InvalidArgumentError(std::string(text));
}
absl::Status WrongType(std::string_view field, std::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(field), ": expected ", std::string(expected)));
}
absl::Status TooMany(std::string_view what, uint32_t max) {
  return absl::OutOfRangeError(
      absl::StrCat("the request has more than ", max, " ", std::string(what)));
}

BodyReader::BodyReader() : state_(std::make_unique<State>()) {}
BodyReader::~BodyReader() = default;
BodyReader::BodyReader(BodyReader&&) noexcept = default;
BodyReader& BodyReader::operator=(BodyReader&&) noexcept = default;

absl::Status BodyReader::Read(BodyFormat format, Api api, std::string_view body,
                              size_t padding_bytes, Request* request, ModelPlace* place) {
  request->api = api;
  request->size_bytes = body.size();
  request->prompts = {};
  request->model = request->cache_salt = {};
  request->stream = request->include_usage = false;
  request->max_output_tokens.reset();
  *place = {};
  if (format == BodyFormat::kRaw) return absl::OkStatus();
  if (body.size() > kRequestBodyBytesMax) {
    return absl::OutOfRangeError(absl::StrCat("the body has ", body.size(),
                                              " bytes, expected at most ", kRequestBodyBytesMax));
  }
  State& state = *state_;
  state.Clear();
  absl::Status status;
  switch (format) {
    case BodyFormat::kOpenAi:
      status = state.ReadOpenAi(api, body, padding_bytes, request);
      break;
    case BodyFormat::kAnthropic:
      status = state.ReadAnthropic(body, padding_bytes, request);
      break;
    case BodyFormat::kVllmHttp:
      status = state.ReadVllmHttp(body, padding_bytes, request);
      break;
    case BodyFormat::kSglang:
      status = state.ReadSglang(body, padding_bytes, request);
      break;
    case BodyFormat::kVllmGrpc:
      status = state.ReadVllmGrpc(body, request);
      break;
    case BodyFormat::kVertex:
      status = state.ReadVertex(api, body, padding_bytes, request);
      break;
    case BodyFormat::kRaw:
      break;
  }
  if (!status.ok()) return status;
  state.Finish(request);
  *place = state.place;
  return absl::OkStatus();
}

void BodyReader::State::Clear() {
  text.clear();
  system_text.clear();
  tokens.clear();
  pending_parts.clear();
  pending_prompts.clear();
  tools_json = {};
  place = {};
}

absl::Status BodyReader::State::Malformed(simdjson::error_code error) const {
  return MalformedText(simdjson::error_message(error));
}
absl::Status BodyReader::State::MalformedText(std::string_view text) const {
  return absl::InvalidArgumentError(absl::StrCat(std::string(malformed), std::string(text)));
}

absl::Status BodyReader::State::Open(std::string_view body, size_t padding_bytes,
                                     simdjson::ondemand::document* document, JsonObject* top) {
  json_begin = body.data();
  if (padding_bytes < kJsonPaddingBytes) {
    padded_body.resize(body.size() + kJsonPaddingBytes);
    std::copy(body.begin(), body.end(), padded_body.begin());
    std::memset(padded_body.data() + body.size(), 0, kJsonPaddingBytes);
    json_begin = padded_body.data();
  }
  const simdjson::padded_string_view padded(json_begin, body.size(),
                                            body.size() + kJsonPaddingBytes);
  if (auto error = json.iterate(padded).get(*document)) return Malformed(error);
  if (auto error = document->get_object().get(*top)) {
    return error == simdjson::INCORRECT_TYPE ? MalformedText("the body is no JSON object")
                                             : Malformed(error);
  }
  place.is_object = true;
  place.begin = place.end = body.find('{') + 1;
  return absl::OkStatus();
}

absl::Status BodyReader::State::TypeOf(JsonValue& value, JsonType* type) {
  if (auto error = value.type().get(*type)) return Malformed(error);
  return absl::OkStatus();
}

absl::Status BodyReader::State::SkipString(JsonValue& value) {
  const std::string_view raw = Trimmed(value.raw_json_token());
  if (raw.size() < 2 || raw.back() != '"') return MalformedText("unclosed string");
  return EscapesAreValid(raw.substr(1, raw.size() - 2)) ? absl::OkStatus()
                                                        : MalformedText(kBadEscape);
}

absl::Status BodyReader::State::ReadKey(simdjson::ondemand::raw_json_string key,
                                        std::string_view* plain) {
  size_t bytes = 0;
  bool escaped = false;
  for (const char* at = key.raw(); at[bytes] != '"'; ++bytes) {
    if (at[bytes] != '\\') continue;
    escaped = true;
    ++bytes;
  }
  *plain = {key.raw(), bytes};
  if (!escaped) return absl::OkStatus();
  if (!EscapesAreValid(*plain)) return MalformedText(kBadEscape);
  if (bytes > kEscapedKeyBytesMax) return absl::OkStatus();
  auto* end = reinterpret_cast<uint8_t*>(plain_key);
  if (auto error = json.unescape(key, end).get(*plain)) return Malformed(error);
  return absl::OkStatus();
}

absl::Status BodyReader::State::Skip(JsonValue& value, uint32_t depth) {
  if (depth > kJsonDepthMax) return MalformedText("nested too deeply");
  JsonType type;
  if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
  switch (type) {
    case JsonType::object: {
      JsonObject object;
      if (auto error = value.get_object().get(object)) return Malformed(error);
      for (auto member_or : object) {
        if (auto error = member_or.error()) return Malformed(error);
        simdjson::ondemand::field& member = member_or.value_unsafe();
        std::string_view key;
        if (absl::Status status = ReadKey(member.key(), &key); !status.ok()) return status;
        if (absl::Status status = Skip(member.value(), depth + 1); !status.ok()) return status;
      }
      return absl::OkStatus();
    }
    case JsonType::array: {
      JsonArray array;
      if (auto error = value.get_array().get(array)) return Malformed(error);
      for (auto item_or : array) {
        if (auto error = item_or.error()) return Malformed(error);
        JsonValue& item = item_or.value_unsafe();
        if (absl::Status status = Skip(item, depth + 1); !status.ok()) return status;
      }
      return absl::OkStatus();
    }
    case JsonType::string:
      return SkipString(value);
    case JsonType::number:
      if (!IsNumber(Trimmed(value.raw_json_token()))) return MalformedText("no number");
      return absl::OkStatus();
    case JsonType::boolean: {
      bool flag;
      if (auto error = value.get_bool().get(flag)) return Malformed(error);
      return absl::OkStatus();
    }
    case JsonType::null: {
      bool is_null;
      return ReadNull(value, &is_null);
    }
  }
  return MalformedText("unknown value");
}

absl::Status BodyReader::State::ReadNull(JsonValue& value, bool* is_null) {
  JsonType type = JsonType::null;
  if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
  *is_null = false;
  if (type != JsonType::null) return absl::OkStatus();
  if (auto error = value.is_null().get(*is_null)) return Malformed(error);
  return *is_null ? absl::OkStatus() : MalformedText("unknown literal");
}

absl::Status BodyReader::State::RawJson(JsonValue& value, std::string_view* raw) {
  JsonType type;
  if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
  const std::string_view token = value.raw_json_token();
  if (absl::Status status = Skip(value); !status.ok()) return status;
  *raw = Trimmed(token);
  if (type != JsonType::object && type != JsonType::array) return absl::OkStatus();
  const char* next;  // the comma or bracket behind it
  if (auto error = value.current_location().get(next)) return Malformed(error);
  *raw = Trimmed({token.data(), static_cast<size_t>(next - token.data())});
  return absl::OkStatus();
}

absl::Status BodyReader::State::ReadString(JsonValue& value, std::string_view field,
                                           std::string_view* text) {
  JsonType type;
  if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
  if (type == JsonType::null) return Skip(value);
  if (type != JsonType::string) return WrongType(field, "a string");
  if (auto error = value.get_string().get(*text)) return Malformed(error);
  return absl::OkStatus();
}

absl::Status BodyReader::State::ReadStringIfAny(JsonValue& value, std::string_view* text,
                                                bool* found) {
  JsonType type;
  if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
  *found = type == JsonType::string;
  if (!*found) return Skip(value);
  if (auto error = value.get_string().get(*text)) return Malformed(error);
  return absl::OkStatus();
}

absl::Status BodyReader::State::AppendString(JsonValue& value) {
  const size_t bytes_max = value.raw_json_token().size();
  simdjson::ondemand::raw_json_string escaped;
  if (auto error = value.get_raw_json_string().get(escaped)) return Malformed(error);
  PendingPart& part = OpenTextPart();
  const size_t begin = text.size();
  text.resize(begin + bytes_max + kJsonPaddingBytes);
  auto* end = reinterpret_cast<uint8_t*>(text.data() + begin);
  std::string_view plain;
  if (auto error = json.unescape(escaped, end).get(plain)) return Malformed(error);
  text.resize(begin + plain.size());
  part.size += plain.size();
  return absl::OkStatus();
}

absl::Status BodyReader::State::ReadBoolIfAny(JsonValue& value, bool* flag) {
  JsonType type;
  if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
  if (type != JsonType::boolean) return Skip(value);
  if (auto error = value.get_bool().get(*flag)) return Malformed(error);
  return absl::OkStatus();
}

absl::Status BodyReader::State::ReadLimitIfAny(JsonValue& value, std::optional<int64_t>* limit) {
  JsonType type;
  if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
  int64_t number;
  if (type != JsonType::number || value.get_int64().get(number)) return Skip(value);
  if (number >= 0) *limit = number;
  return absl::OkStatus();
}

absl::Status BodyReader::State::ReadNestedLimit(JsonValue& value, std::string_view name,
                                                std::optional<int64_t>* limit) {
  JsonType type;
  if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
  if (type != JsonType::object) return Skip(value);
  JsonObject object;
  if (auto error = value.get_object().get(object)) return Malformed(error);
  return ReadObject(object, "sampling_params.", {name},
                    [&](uint32_t, JsonValue& member) { return ReadLimitIfAny(member, limit); });
}

absl::Status BodyReader::State::ReadModel(JsonValue& value, Request* request) {
  const std::string_view token = value.raw_json_token();
  place.begin = static_cast<size_t>(token.data() - json_begin);
  JsonType type;
  if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
  if (type == JsonType::string) {
    place.has_value = true;
    place.end = place.begin + Trimmed(token).size();
    if (auto error = value.get_string().get(request->model)) return Malformed(error);
    return absl::OkStatus();
  }
  place.has_value = type != JsonType::null;
  std::string_view raw;
  if (absl::Status status = RawJson(value, &raw); !status.ok()) return status;
  place.end = place.begin + raw.size();
  return absl::OkStatus();
}

absl::Status BodyReader::State::ReadToken(JsonValue& value, bool* valid) {
  JsonType type;
  if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
  *valid = false;
  if (type != JsonType::number) return Skip(value);
  uint64_t id;
  if (value.get_uint64().get(id)) {
    double number;  // 5.0 is whole, too
    if (value.get_double().get(number)) return Skip(value);
    if (!(number >= 0 && number <= UINT32_MAX) || std::floor(number) != number) {
      return absl::OkStatus();
    }
    id = static_cast<uint64_t>(number);
  }
  *valid = id <= UINT32_MAX;
  if (*valid) tokens.push_back(static_cast<uint32_t>(id));
  return absl::OkStatus();
}

// The engine's prompt begins with tools, then system text, whatever their place in the body.
void BodyReader::State::Finish(Request* request) {
  const size_t front_bytes = tools_json.size() + system_text.size();
  if (front_bytes > 0 && !pending_parts.empty()) {
    text.insert(text.begin(), front_bytes, '\0');
    std::copy(tools_json.begin(), tools_json.end(), text.begin());
    std::copy(system_text.begin(), system_text.end(),
              text.begin() + static_cast<ptrdiff_t>(tools_json.size()));
    for (PendingPart& part : pending_parts) part.offset += front_bytes;
    pending_parts[0].offset = 0;
    pending_parts[0].size += front_bytes;
  }
  text.resize((text.size() + 3) & ~size_t{3}, '\0');
  parts.clear();
  for (const PendingPart& part : pending_parts) {
    parts.push_back({part.kind, part.kind == PromptPart::Kind::kText
                                    ? std::string_view(text.data() + part.offset, part.size)
                                    : part.bytes});
  }
  prompts.clear();
  for (const PendingPrompt& prompt : pending_prompts) {
    prompts.push_back({{parts.data() + prompt.first_part, prompt.part_count},
                       {tokens.data() + prompt.first_token, prompt.token_count}});
  }
  request->prompts = prompts;
  request->padded_text = true;
}

}  // namespace weir::internal
