// wire/body_scan.h: what the readers of the API families share: one pass over JSON that checks all
// of it, and the prompts as they grow. Only for body_*.cc.
#pragma once

// Nothing of it throws: a value that is not looked at is an error at compile time.
#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "wire/body_reader.h"

namespace weir::internal {

using JsonType = simdjson::ondemand::json_type;
using JsonValue = simdjson::ondemand::value;
using JsonObject = simdjson::ondemand::object;
using JsonArray = simdjson::ondemand::array;

// Nesting of values that nobody asked for; deeper bodies are refused.
inline constexpr uint32_t kJsonDepthMax = 512;
inline constexpr size_t kJsonPaddingBytes = simdjson::SIMDJSON_PADDING;
static_assert(kJsonPaddingBytes <= 64);
// Longer keys with escapes are none of the names that are read, which have at most 32 bytes.
inline constexpr size_t kEscapedKeyBytesMax = 256;

absl::Status Invalid(std::string_view text);
absl::Status WrongType(std::string_view field, std::string_view expected);
absl::Status TooMany(std::string_view what, uint32_t max);

// Bytes that a resize adds are left as they are: who asks for them writes them.
struct UninitializedChars : std::allocator<char> {
  template <typename U>
  struct rebind {
    using other = UninitializedChars;
  };
  void construct(char*) noexcept {}
  void construct(char* at, char value) noexcept { *at = value; }
};

// The simdjson parser lives here, so this is large and kept from request to request.
struct BodyReader::State {
  // A part while the text buffer may still move.
  struct PendingPart {
    PromptPart::Kind kind;
    size_t offset;           // into text, for text parts
    std::string_view bytes;  // for media parts
    size_t size;
  };
  struct PendingPrompt {
    size_t first_part, part_count;
    size_t first_token, token_count;
  };

  // One reader per API family; body_openai.cc, body_messages.cc, body_generate.cc, body_grpc.cc.
  absl::Status ReadOpenAi(Api api, std::string_view body, size_t padding_bytes, Request* request);
  absl::Status ReadAnthropic(std::string_view body, size_t padding_bytes, Request* request);
  absl::Status ReadVllmHttp(std::string_view body, size_t padding_bytes, Request* request);
  absl::Status ReadSglang(std::string_view body, size_t padding_bytes, Request* request);
  absl::Status ReadVllmGrpc(std::string_view body, Request* request);
  absl::Status ReadVertex(Api api, std::string_view body, size_t padding_bytes, Request* request);

  // ---- JSON. Each value handed to a reader is checked by it: with Skip, if by nothing else.

  // Calls on_field(index into names, value) for each member of the body, a JSON object, that is
  // named; checks the others. No member may occur twice, nothing may follow the object.
  template <size_t kNames, class OnField>
  absl::Status ReadBody(std::string_view body, size_t padding_bytes,
                        const std::string_view (&names)[kNames], OnField on_field) {
    simdjson::ondemand::document document;
    JsonObject top;
    if (absl::Status status = Open(body, padding_bytes, &document, &top); !status.ok()) {
      return status;
    }
    if (absl::Status status = ReadObject(top, "", names, on_field); !status.ok()) return status;
    const char* rest;
    if (!document.current_location().get(rest)) return MalformedText("text after the object");
    return absl::OkStatus();
  }
  // The same for an object inside; `path` stands before names in errors, "messages[].".
  template <size_t kNames, class OnField>
  absl::Status ReadObject(JsonObject& object, std::string_view path,
                          const std::string_view (&names)[kNames], OnField on_field) {
    static_assert(kNames <= 32);
    uint32_t seen = 0;
    for (auto member_or : object) {
      if (auto error = member_or.error()) return Malformed(error);
      simdjson::ondemand::field& member = member_or.value_unsafe();
      const char* const key = member.key().raw();
      uint32_t index = 0;
      while (index < kNames && !IsKey(key, names[index])) ++index;
      absl::Status status;
      if (index == kNames && HasEscape(key)) {
        std::string_view plain;
        if (absl::Status status = ReadKey(member.key(), &plain); !status.ok()) return status;
        for (index = 0; index < kNames && plain != names[index];) ++index;
      }
      if (index == kNames) {
        status = Skip(member.value());
      } else if (seen & (1u << index)) {
        return absl::InvalidArgumentError(
            absl::StrCat(std::string(path), std::string(names[index]), ": occurs twice"));
      } else {
        seen |= 1u << index;
        status = on_field(index, member.value());
      }
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // `key` points behind its opening quote. Names are shorter than the padding behind the body.
  static bool IsKey(const char* key, std::string_view name) {
    return key[0] == name[0] && std::memcmp(key, name.data(), name.size()) == 0 &&
           key[name.size()] == '"';
  }
  static bool HasEscape(const char* key) {
    while (*key != '"' && *key != '\\') ++key;
    return *key == '\\';
  }

  absl::Status Open(std::string_view body, size_t padding_bytes,
                    simdjson::ondemand::document* document, JsonObject* top);
  // Checks a key and unescapes it, into plain_key; one that is too long for any name stays as it
  // is. The parser's own buffer holds every string of a body once and has no bounds: what may be
  // read twice must not go there.
  absl::Status ReadKey(simdjson::ondemand::raw_json_string key, std::string_view* plain);
  // Checks a value that nobody reads.
  absl::Status Skip(JsonValue& value, uint32_t depth = 0);
  absl::Status SkipString(JsonValue& value);
  // The value's text in the body, checked, without white space around it.
  absl::Status RawJson(JsonValue& value, std::string_view* raw);
  absl::Status TypeOf(JsonValue& value, JsonType* type);
  // Consumes the value if it is null.
  absl::Status ReadNull(JsonValue& value, bool* is_null);
  // Strings only, or null, which leaves *text alone.
  absl::Status ReadString(JsonValue& value, std::string_view field, std::string_view* text);
  // A value of another type counts as absent.
  absl::Status ReadStringIfAny(JsonValue& value, std::string_view* text, bool* found);
  absl::Status ReadBoolIfAny(JsonValue& value, bool* flag);
  absl::Status ReadLimitIfAny(JsonValue& value, std::optional<int64_t>* limit);
  // The member "model", and where it stands.
  absl::Status ReadModel(JsonValue& value, Request* request);
  // {"<name>": limit} in an object; other types count as absent.
  absl::Status ReadNestedLimit(JsonValue& value, std::string_view name,
                               std::optional<int64_t>* limit);
  // Appends a whole number of 32 bits to tokens; *valid is false for anything else.
  absl::Status ReadToken(JsonValue& value, bool* valid);
  absl::Status Malformed(simdjson::error_code error) const;
  absl::Status MalformedText(std::string_view text) const;

  // ---- Prompts.

  void BeginPrompt() {
    text.resize((text.size() + 3) & ~size_t{3}, '\0');
    pending_prompts.push_back({pending_parts.size(), 0, tokens.size(), 0});
  }
  void EndPrompt() {
    PendingPrompt& prompt = pending_prompts.back();
    prompt.part_count = pending_parts.size() - prompt.first_part;
    prompt.token_count = tokens.size() - prompt.first_token;
  }
  // Adjacent texts of one prompt are one part.
  PendingPart& OpenTextPart() {
    const bool joins = !pending_parts.empty() &&
                       pending_parts.size() > pending_prompts.back().first_part &&
                       pending_parts.back().kind == PromptPart::Kind::kText;
    if (!joins) pending_parts.push_back({PromptPart::Kind::kText, text.size(), {}, 0});
    return pending_parts.back();
  }
  void AppendText(std::string_view bytes) {
    OpenTextPart().size += bytes.size();
    text.insert(text.end(), bytes.begin(), bytes.end());
  }
  // The same for a JSON string, unescaped to where it stays: most of a body passes here.
  absl::Status AppendString(JsonValue& value);
  void AppendMedia(PromptPart::Kind kind, std::string_view bytes) {
    pending_parts.push_back({kind, 0, bytes, bytes.size()});
  }
  absl::Status CheckParts() const {
    return pending_parts.size() < kPromptPartsMax ? absl::OkStatus()
                                                  : TooMany("content parts", kPromptPartsMax);
  }
  void Clear();
  // Puts tools and system text before the first part, which is text, and hands the prompts out.
  void Finish(Request* request);

  // ---- Messages. `refuse(where, expected)` makes the error of a wrong type, `where` being what
  // stands behind the list's name ("", "[].role").

  // One prompt of a list of messages.
  template <class Refuse, class OnContent>
  absl::Status ReadMessageList(JsonValue& value, Refuse refuse, OnContent on_content) {
    JsonArray messages;
    if (value.get_array().get(messages)) return refuse("", "a list");
    BeginPrompt();
    bool any = false;
    for (auto message_or : messages) {
      JsonObject message;
      if (auto error = message_or.get_object().get(message)) {
        return error == simdjson::INCORRECT_TYPE ? refuse("", "a list of objects")
                                                 : Malformed(error);
      }
      if (absl::Status status = ReadMessage(message, refuse, on_content); !status.ok()) {
        return status;
      }
      any = true;
    }
    EndPrompt();
    if (!any) pending_prompts.pop_back();
    return absl::OkStatus();
  }
  // Role, then content, whatever their order: a content that comes first is read in a second pass.
  template <class Refuse, class OnContent>
  absl::Status ReadMessage(JsonObject& message, Refuse refuse, OnContent on_content,
                           uint32_t pass = 0) {
    bool has_role = pass > 0, content_waits = false;
    const auto on_field = [&](uint32_t index, JsonValue& value) -> absl::Status {
      if (index == 0) {
        if (pass > 0) return Skip(value);
        std::string_view role;
        bool found;
        if (absl::Status status = ReadStringIfAny(value, &role, &found); !status.ok()) {
          return status;
        }
        if (!found) return refuse("[].role", "a string");
        has_role = true;
        AppendText(role);
        return absl::OkStatus();
      }
      if (has_role) return on_content(value);
      content_waits = true;
      return Skip(value);
    };
    if (absl::Status status = ReadObject(message, "messages[].", {"role", "content"}, on_field);
        !status.ok()) {
      return status;
    }
    if (pass == 0 && !has_role) AppendText({});
    if (!content_waits) return absl::OkStatus();
    bool empty;
    if (auto error = message.reset().get(empty)) return Malformed(error);
    return ReadMessage(message, refuse, on_content, 1);
  }
  // Text, a list whose objects go to on_part, or null. `refuse(expected)` makes the errors.
  template <class Refuse, class OnPart>
  absl::Status ReadTextOrParts(JsonValue& value, Refuse refuse, OnPart on_part) {
    JsonType type;
    if (absl::Status status = TypeOf(value, &type); !status.ok()) return status;
    if (type == JsonType::null) return Skip(value);
    if (type == JsonType::string) return AppendString(value);
    if (type != JsonType::array) return refuse("a string or a list");
    JsonArray parts_list;
    if (auto error = value.get_array().get(parts_list)) return Malformed(error);
    for (auto part_or : parts_list) {
      if (absl::Status status = CheckParts(); !status.ok()) return status;
      JsonObject part;
      if (auto error = part_or.get_object().get(part)) {
        return error == simdjson::INCORRECT_TYPE ? refuse("a list of objects") : Malformed(error);
      }
      if (absl::Status status = on_part(part); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // body_openai.cc
  absl::Status ReadMessages(JsonValue& value, std::string_view field);
  absl::Status ReadContent(JsonValue& value, std::string_view field);
  absl::Status ReadContentPart(JsonObject& part, std::string_view field);
  absl::Status ReadPrompts(JsonValue& value, std::string_view field);
  absl::Status ReadPromptList(JsonArray& array, std::string_view field);
  absl::Status ReadResponsesInput(JsonValue& value);
  absl::Status ReadSystemText(JsonValue& value, std::string_view field);
  absl::Status ReadTools(JsonValue& value);
  // body_messages.cc
  absl::Status ReadTurns(JsonValue& value);
  absl::Status ReadBlocks(JsonValue& value, std::string_view field, uint32_t depth);
  absl::Status ReadBlock(JsonObject& block, std::string_view field, uint32_t depth);
  absl::Status ReadSystemBlocks(JsonValue& value);
  // body_generate.cc
  absl::Status ReadTokenIds(JsonValue& value);
  absl::Status ReadInputIds(JsonValue& value);
  absl::Status ReadFeatures(JsonValue& value);
  // body_grpc.cc
  absl::Status AppendMediaHashes(std::string_view media);

  simdjson::ondemand::parser json;
  std::string_view malformed;  // what errors of malformed JSON begin with
  const char* json_begin = nullptr;
  ModelPlace place;  // offsets from json_begin
  char plain_key[kEscapedKeyBytesMax + kJsonPaddingBytes];
  std::vector<char> padded_body;
  std::vector<char, UninitializedChars> text;
  std::vector<char> system_text;
  std::vector<uint32_t> tokens;
  std::vector<PendingPart> pending_parts;
  std::vector<PendingPrompt> pending_prompts;
  std::vector<PromptPart> parts;
  std::vector<Prompt> prompts;
  std::string_view tools_json;
};

}  // namespace weir::internal
