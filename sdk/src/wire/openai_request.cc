// Reads the parts of an OpenAI body that scheduling needs. The body is indexed once (simdjson
// on-demand); prompt text is decoded into one buffer, everything else is skipped.
#include <simdjson.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "weir/request.h"

namespace weir {
namespace {

using simdjson::ondemand::json_type;
using Value = simdjson::ondemand::value;
using Object = simdjson::ondemand::object;
using Array = simdjson::ondemand::array;

constexpr size_t kPaddingBytes = simdjson::SIMDJSON_PADDING;
static_assert(kPaddingBytes <= 64);

// Fields of the top level that are read; each may occur once.
enum Field : uint32_t {
  kModel,
  kStream,
  kStreamOptions,
  kMessages,
  kPrompt,
  kInput,
  kInstructions,
  kTools,
  kCacheSalt,
  kMaxTokens,
  kMaxCompletionTokens,
  kMaxOutputTokens,
  kFieldCount,
};
constexpr std::string_view kFieldNames[kFieldCount] = {
    "model",      "stream",     "stream_options",        "messages",
    "prompt",     "input",      "instructions",          "tools",
    "cache_salt", "max_tokens", "max_completion_tokens", "max_output_tokens"};

Field FieldOf(std::string_view key) {
  for (uint32_t field = 0; field < kFieldCount; ++field) {
    if (key == kFieldNames[field]) return static_cast<Field>(field);
  }
  return kFieldCount;
}

absl::Status Invalid(std::string_view text) {
  return absl::InvalidArgumentError(std::string(text));
}
absl::Status WrongType(std::string_view field, std::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(field), ": expected ", std::string(expected)));
}
absl::Status Malformed(simdjson::error_code error) {
  return absl::InvalidArgumentError(
      absl::StrCat("malformed JSON body: ", simdjson::error_message(error)));
}
absl::Status TooMany(std::string_view what, uint32_t max) {
  return absl::ResourceExhaustedError(
      absl::StrCat("the request has more than ", max, " ", std::string(what)));
}

std::string_view Trimmed(std::string_view text) {
  const size_t end = text.find_last_not_of(" \t\r\n");
  return end == std::string_view::npos ? std::string_view() : text.substr(0, end + 1);
}

}  // namespace

struct RequestParser::State {
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

  simdjson::ondemand::parser json;
  std::vector<char> padded_body;
  std::vector<char> text;
  std::vector<uint32_t> tokens;
  std::vector<PendingPart> pending_parts;
  std::vector<PendingPrompt> pending_prompts;
  std::vector<PromptPart> parts;
  std::vector<Prompt> prompts;
  std::string_view tools_json;
  int64_t max_tokens[3] = {-1, -1, -1};

  absl::Status Parse(Api api, std::string_view body, Request* request, size_t padding_bytes);
  absl::Status ReadField(Field field, Value value, Api api, Request* request);
  absl::Status ReadMessages(Value value);
  absl::Status ReadMessage(Object message);
  absl::Status ReadContentPart(Object part);
  absl::Status ReadPrompts(Value value, std::string_view field);
  absl::Status ReadPromptList(Array array, std::string_view field);
  absl::Status ReadResponsesInput(Value value);
  absl::Status Finish(Api api, Request* request);

  void Clear() {
    text.clear();
    tokens.clear();
    pending_parts.clear();
    pending_prompts.clear();
    tools_json = {};
    std::fill(std::begin(max_tokens), std::end(max_tokens), -1);
  }
  void BeginPrompt() {
    text.resize((text.size() + 3) & ~size_t{3});
    pending_prompts.push_back({pending_parts.size(), 0, tokens.size(), 0});
  }
  void EndPrompt() {
    PendingPrompt& prompt = pending_prompts.back();
    prompt.part_count = pending_parts.size() - prompt.first_part;
    prompt.token_count = tokens.size() - prompt.first_token;
  }
  // Adjacent texts of one prompt are one part.
  void AppendText(std::string_view bytes) {
    const bool joins = !pending_parts.empty() &&
                       pending_parts.size() > pending_prompts.back().first_part &&
                       pending_parts.back().kind == PromptPart::Kind::kText;
    if (!joins) pending_parts.push_back({PromptPart::Kind::kText, text.size(), {}, 0});
    text.insert(text.end(), bytes.begin(), bytes.end());
    pending_parts.back().size += bytes.size();
  }
};

absl::Status RequestParser::State::Parse(Api api, std::string_view body, Request* request,
                                         size_t padding_bytes) {
  Clear();
  const char* data = body.data();
  if (padding_bytes < kPaddingBytes) {
    padded_body.resize(body.size() + kPaddingBytes);
    std::copy(body.begin(), body.end(), padded_body.begin());
    std::memset(padded_body.data() + body.size(), 0, kPaddingBytes);
    data = padded_body.data();
  }
  simdjson::ondemand::document document;
  if (auto error =
          json.iterate(simdjson::padded_string_view(data, body.size(), body.size() + kPaddingBytes))
              .get(document)) {
    return Malformed(error);
  }
  Object top;
  if (auto error = document.get_object().get(top)) {
    if (error == simdjson::INCORRECT_TYPE) return Invalid("the body is no JSON object");
    return Malformed(error);
  }
  uint32_t seen = 0;
  for (auto member_or : top) {
    simdjson::ondemand::field member;
    if (auto error = std::move(member_or).get(member)) return Malformed(error);
    std::string_view key;
    if (auto error = member.unescaped_key().get(key)) return Malformed(error);
    const Field field = FieldOf(key);
    if (field == kFieldCount) continue;
    if (seen & (1u << field)) {
      return absl::InvalidArgumentError(
          absl::StrCat(std::string(kFieldNames[field]), ": occurs twice"));
    }
    seen |= 1u << field;
    if (absl::Status status = ReadField(field, member.value(), api, request); !status.ok()) {
      return status;
    }
  }
  const char* rest;
  if (!document.current_location().get(rest)) {
    return Invalid("malformed JSON body: text after the object");
  }
  return Finish(api, request);
}

absl::Status RequestParser::State::ReadField(Field field, Value value, Api api, Request* request) {
  json_type type;
  if (auto error = value.type().get(type)) return Malformed(error);
  const bool is_null = type == json_type::null;
  switch (field) {
    case kModel:
    case kCacheSalt: {
      if (is_null) return absl::OkStatus();
      if (type != json_type::string) return WrongType(kFieldNames[field], "a string");
      std::string_view* target = field == kModel ? &request->model : &request->cache_salt;
      if (auto error = value.get_string().get(*target)) return Malformed(error);
      return absl::OkStatus();
    }
    case kStream: {
      if (is_null) return absl::OkStatus();
      if (type != json_type::boolean) return WrongType("stream", "a boolean");
      if (auto error = value.get_bool().get(request->stream)) return Malformed(error);
      return absl::OkStatus();
    }
    case kStreamOptions: {
      if (is_null) return absl::OkStatus();
      Object options;
      if (value.get_object().get(options)) return WrongType("stream_options", "an object");
      bool include_usage = false;
      if (!options["include_usage"].get_bool().get(include_usage)) {
        request->include_usage = include_usage;
      }
      return absl::OkStatus();
    }
    case kMaxTokens:
    case kMaxCompletionTokens:
    case kMaxOutputTokens: {
      int64_t limit;
      if (type == json_type::number && !value.get_int64().get(limit) && limit >= 0) {
        max_tokens[field - kMaxTokens] = limit;
      }
      return absl::OkStatus();
    }
    case kTools: {
      if (is_null || api != Api::kChatCompletions) return absl::OkStatus();
      if (type != json_type::array) return WrongType("tools", "a list");
      if (auto error = simdjson::to_json_string(value).get(tools_json)) return Malformed(error);
      tools_json = Trimmed(tools_json);
      return absl::OkStatus();
    }
    case kMessages:
      return api == Api::kChatCompletions && !is_null ? ReadMessages(value) : absl::OkStatus();
    case kPrompt:
      return api == Api::kCompletions && !is_null ? ReadPrompts(value, "prompt") : absl::OkStatus();
    case kInput:
      if (is_null) return absl::OkStatus();
      if (api == Api::kEmbeddings) return ReadPrompts(value, "input");
      return api == Api::kResponses ? ReadResponsesInput(value) : absl::OkStatus();
    case kInstructions:
    case kFieldCount:
      break;
  }
  return absl::OkStatus();
}

absl::Status RequestParser::State::ReadMessages(Value value) {
  Array messages;
  if (value.get_array().get(messages)) return WrongType("messages", "a list");
  BeginPrompt();
  bool any = false;
  for (auto message_or : messages) {
    Object message;
    if (auto error = message_or.get_object().get(message)) {
      return error == simdjson::INCORRECT_TYPE ? WrongType("messages", "a list of objects")
                                               : Malformed(error);
    }
    if (absl::Status status = ReadMessage(message); !status.ok()) return status;
    any = true;
  }
  EndPrompt();
  if (!any) pending_prompts.pop_back();
  return absl::OkStatus();
}

// The prompt's byte stream is role, then text, of each message. A content that comes before its
// role in the body is held back by reading the role first.
absl::Status RequestParser::State::ReadMessage(Object message) {
  std::string_view role;
  Value value;
  if (auto error = message["role"].get(value)) {
    if (error != simdjson::NO_SUCH_FIELD) return Malformed(error);
  } else if (auto error = value.get_string().get(role)) {
    return error == simdjson::INCORRECT_TYPE ? WrongType("messages[].role", "a string")
                                             : Malformed(error);
  }
  AppendText(role);
  if (auto error = message["content"].get(value)) {
    return error == simdjson::NO_SUCH_FIELD ? absl::OkStatus() : Malformed(error);
  }
  json_type type;
  if (auto error = value.type().get(type)) return Malformed(error);
  if (type == json_type::null) return absl::OkStatus();
  if (type == json_type::string) {
    std::string_view content;
    if (auto error = value.get_string().get(content)) return Malformed(error);
    AppendText(content);
    return absl::OkStatus();
  }
  if (type != json_type::array) return WrongType("messages[].content", "a string or a list");
  Array content;
  if (auto error = value.get_array().get(content)) return Malformed(error);
  for (auto part_or : content) {
    if (pending_parts.size() >= kPromptPartsMax) return TooMany("content parts", kPromptPartsMax);
    Object part;
    if (auto error = part_or.get_object().get(part)) {
      return error == simdjson::INCORRECT_TYPE
                 ? WrongType("messages[].content", "a list of objects")
                 : Malformed(error);
    }
    if (absl::Status status = ReadContentPart(part); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// {"type": "text", "text"}, {"type": "image_url", "image_url": {"url"}}, {"type": "input_audio",
// "input_audio": {"data"}}, {"type": "video_url", "video_url": {"url"}}; other types are skipped.
absl::Status RequestParser::State::ReadContentPart(Object part) {
  struct Media {
    std::string_view type, field;
    PromptPart::Kind kind;
  };
  static constexpr Media kMedia[] = {{"image_url", "url", PromptPart::Kind::kImage},
                                     {"video_url", "url", PromptPart::Kind::kVideo},
                                     {"audio_url", "url", PromptPart::Kind::kAudio},
                                     {"input_audio", "data", PromptPart::Kind::kAudio}};
  std::string_view type;
  if (part["type"].get_string().get(type))
    return WrongType("messages[].content[].type", "a string");
  std::string_view bytes;
  if (type == "text") {
    if (part["text"].get_string().get(bytes)) {
      return WrongType("messages[].content[].text", "a string");
    }
    AppendText(bytes);
    return absl::OkStatus();
  }
  for (const Media& media : kMedia) {
    if (type != media.type) continue;
    Value value;
    if (part[media.type].get(value)) {
      return WrongType(absl::StrCat("messages[].content[].", std::string(media.type)), "an object");
    }
    // Some clients send the URL itself instead of {"url": ...}.
    if (value.get_string().get(bytes)) {
      Object object;
      if (value.get_object().get(object) || object[media.field].get_string().get(bytes)) {
        return WrongType(absl::StrCat("messages[].content[].", std::string(media.type), ".",
                                      std::string(media.field)),
                         "a string");
      }
    }
    pending_parts.push_back({media.kind, 0, bytes, bytes.size()});
  }
  return absl::OkStatus();
}

absl::Status RequestParser::State::ReadPrompts(Value value, std::string_view field) {
  json_type type;
  if (auto error = value.type().get(type)) return Malformed(error);
  if (type == json_type::string) {
    std::string_view prompt;
    if (auto error = value.get_string().get(prompt)) return Malformed(error);
    if (prompt.empty()) return absl::OkStatus();
    BeginPrompt();
    AppendText(prompt);
    EndPrompt();
    return absl::OkStatus();
  }
  Array array;
  if (value.get_array().get(array)) {
    return WrongType(field, "a string, a list of strings or a list of token ids");
  }
  return ReadPromptList(array, field);
}

absl::Status RequestParser::State::ReadPromptList(Array array, std::string_view field) {
  bool strings = false, ids = false;
  for (auto item_or : array) {
    Value item;
    if (auto error = std::move(item_or).get(item)) return Malformed(error);
    json_type type;
    if (auto error = item.type().get(type)) return Malformed(error);
    if (type == json_type::string && !ids) {
      if (pending_prompts.size() >= kPromptsMax) return TooMany("prompts", kPromptsMax);
      strings = true;
      std::string_view prompt;
      if (auto error = item.get_string().get(prompt)) return Malformed(error);
      BeginPrompt();
      AppendText(prompt);
      EndPrompt();
      continue;
    }
    uint64_t id;
    if (type != json_type::number || strings || item.get_uint64().get(id) || id > UINT32_MAX) {
      return WrongType(field, "all strings or all token ids (0..4294967295)");
    }
    if (!ids) BeginPrompt();
    ids = true;
    tokens.push_back(static_cast<uint32_t>(id));
  }
  if (ids) EndPrompt();
  return absl::OkStatus();
}

absl::Status RequestParser::State::ReadResponsesInput(Value value) {
  json_type type;
  if (auto error = value.type().get(type)) return Malformed(error);
  std::string_view bytes;
  if (type == json_type::string) {
    if (auto error = value.get_string().get(bytes)) return Malformed(error);
  } else if (auto error = simdjson::to_json_string(value).get(bytes)) {
    return Malformed(error);
  }
  BeginPrompt();
  AppendText(Trimmed(bytes));
  EndPrompt();
  return absl::OkStatus();
}

absl::Status RequestParser::State::Finish(Api api, Request* request) {
  if (pending_prompts.empty()) {
    switch (api) {
      case Api::kCompletions:
        return Invalid("invalid completions request: must have prompt field");
      case Api::kChatCompletions:
        return Invalid("invalid chat completions request: must have valid messages field");
      case Api::kEmbeddings:
        return Invalid("invalid embeddings request: must have input field");
      case Api::kResponses:
        return Invalid("invalid responses request: must have input field");
      case Api::kMessages:
      case Api::kConversations:
      case Api::kImages:
      case Api::kGenerate:
      case Api::kOther:
        break;
    }
  }
  const int64_t chat_limit = max_tokens[kMaxCompletionTokens - kMaxTokens];
  const int64_t limit = api == Api::kResponses ? max_tokens[kMaxOutputTokens - kMaxTokens]
                        : api == Api::kChatCompletions && chat_limit >= 0 ? chat_limit
                                                                          : max_tokens[0];
  if (limit >= 0) request->max_output_tokens = limit;
  // Tools stand before the messages in the engine's prompt, whatever their place in the body.
  // Part 0 is the first message's role.
  if (!tools_json.empty() && !pending_prompts.empty()) {
    text.insert(text.begin(), tools_json.begin(), tools_json.end());
    for (PendingPart& part : pending_parts) part.offset += tools_json.size();
    pending_parts[0].offset = 0;
    pending_parts[0].size += tools_json.size();
  }
  text.resize((text.size() + 3) & ~size_t{3});
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
  return absl::OkStatus();
}

RequestParser::RequestParser() : state_(std::make_unique<State>()) {}
RequestParser::~RequestParser() = default;
RequestParser::RequestParser(RequestParser&&) noexcept = default;
RequestParser& RequestParser::operator=(RequestParser&&) noexcept = default;

absl::Status RequestParser::Parse(std::string_view path, std::string_view body, Request* request,
                                  size_t padding_bytes) {
  request->api = ApiOfPath(path);
  request->size_bytes = body.size();
  request->prompts = {};
  request->model = request->cache_salt = {};
  request->stream = request->include_usage = false;
  request->max_output_tokens.reset();
  if (request->api == Api::kOther || request->api == Api::kMessages) {
    request->api = Api::kOther;
    return absl::OkStatus();
  }
  if (body.size() > kRequestBodyBytesMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the body has ", body.size(), " bytes, expected at most ", kRequestBodyBytesMax));
  }
  return state_->Parse(request->api, body, request, padding_bytes);
}

struct Request::Storage {
  RequestParser parser;
};

void Request::StorageDeleter::operator()(Storage* storage) const noexcept { delete storage; }

absl::StatusOr<Request> ParseOpenAi(std::string_view path, std::string_view body) {
  Request request;
  request.storage.reset(new Request::Storage);
  if (absl::Status status = request.storage->parser.Parse(path, body, &request); !status.ok()) {
    return status;
  }
  return request;
}

Api ApiOfPath(std::string_view path) noexcept {
  struct Suffix {
    std::string_view text;
    Api api;
  };
  static constexpr Suffix kSuffixes[] = {{"/chat/completions", Api::kChatCompletions},
                                         {"/completions", Api::kCompletions},
                                         {"/embeddings", Api::kEmbeddings},
                                         {"/responses", Api::kResponses},
                                         {"/messages", Api::kMessages}};
  path = path.substr(0, path.find('?'));
  if (path.ends_with('/')) path.remove_suffix(1);
  for (const Suffix& suffix : kSuffixes) {
    if (path.ends_with(suffix.text)) return suffix.api;
  }
  return Api::kOther;
}

std::string_view Request::header(std::string_view name) const noexcept {
  for (const Header& header : headers) {
    if (header.name == name) return header.value;
  }
  return {};
}

}  // namespace weir
