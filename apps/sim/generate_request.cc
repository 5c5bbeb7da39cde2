#include "generate_request.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "json_text.h"
#include "weir/sim/engine.h"
#include "weir/sim/tokens.h"

namespace weir::sim {
namespace {

using Json = nlohmann::json;

absl::Status Bad(std::string_view field, std::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": ", std::string(problem)));
}

// Null counts as absent, as clients send it for fields they do not set.
const Json* Field(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

absl::Status ReadBool(const Json& object, const char* name, bool& value) {
  const Json* field = Field(object, name);
  if (field == nullptr) return absl::OkStatus();
  if (!field->is_boolean()) return Bad(name, "expected true or false");
  value = field->get<bool>();
  return absl::OkStatus();
}

absl::Status ReadCount(const Json& object, const char* name, uint32_t least, uint32_t& value) {
  const Json* field = Field(object, name);
  if (field == nullptr) return absl::OkStatus();
  const bool fits = field->is_number_unsigned() && field->get<uint64_t>() >= least &&
                    field->get<uint64_t>() <= std::numeric_limits<int32_t>::max();
  if (!fits) return Bad(name, absl::StrCat("expected an integer of at least ", least));
  value = field->get<uint32_t>();
  return absl::OkStatus();
}

absl::Status ReadText(const Json& object, const char* name, std::string& value) {
  const Json* field = Field(object, name);
  if (field == nullptr) return absl::OkStatus();
  if (!field->is_string()) return Bad(name, "expected a string");
  value = field->get<std::string>();
  return absl::OkStatus();
}

// Text of a message's content: a string, or parts of which each text counts and others are named by
// what they carry, so that equal images give equal tokens.
absl::Status AppendContent(const Json& content, std::string& text) {
  if (content.is_string()) {
    text += content.get_ref<const std::string&>();
    return absl::OkStatus();
  }
  if (content.is_null()) return absl::OkStatus();
  if (!content.is_array()) return Bad("content", "expected a string or an array of parts");
  for (const Json& part : content) {
    if (!part.is_object()) return Bad("content", "expected parts that are objects");
    const Json* words = Field(part, "text");
    if (words != nullptr && words->is_string()) {
      text += words->get_ref<const std::string&>();
    } else {
      text += part.dump(-1, ' ', false, Json::error_handler_t::replace);
    }
  }
  return absl::OkStatus();
}

void OpenTurn(std::string_view role, std::string& text) {
  absl::StrAppend(&text, "<|", std::string(role), "|>\n");
}

// The template: each message as "<|role|>\ncontent\n", then the turn of the assistant. `last_user`
// gets the content that echo mode repeats.
absl::Status AppendMessages(const Json& messages, std::string& text, std::string& last_user) {
  if (!messages.is_array() || messages.empty()) {
    return Bad("messages", "expected an array with at least one message");
  }
  for (const Json& message : messages) {
    const Json* role = message.is_object() ? Field(message, "role") : nullptr;
    if (role == nullptr || !role->is_string()) {
      return Bad("messages", "expected objects with a \"role\"");
    }
    OpenTurn(role->get_ref<const std::string&>(), text);
    const size_t start = text.size();
    if (const Json* content = Field(message, "content")) {
      if (absl::Status status = AppendContent(*content, text); !status.ok()) return status;
    }
    if (const Json* calls = Field(message, "tool_calls")) {
      text += calls->dump(-1, ' ', false, Json::error_handler_t::replace);
    }
    if (*role == "user") last_user = text.substr(start);
    text += '\n';
  }
  OpenTurn("assistant", text);
  return absl::OkStatus();
}

absl::Status AppendTools(const Json& body, std::string& text) {
  const Json* tools = Field(body, "tools");
  if (tools == nullptr) return absl::OkStatus();
  if (!tools->is_array()) return Bad("tools", "expected an array");
  OpenTurn("tools", text);
  text += tools->dump(-1, ' ', false, Json::error_handler_t::replace);
  text += '\n';
  return absl::OkStatus();
}

absl::Status ReadTokens(const Json& array, std::vector<uint32_t>& tokens) {
  if (array.size() > kModelTokensMax) return Bad("prompt", "too many token ids");
  tokens.reserve(array.size());
  for (const Json& id : array) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > UINT32_MAX) {
      return Bad("prompt", "expected token ids of 32 bits without sign");
    }
    tokens.push_back(id.get<uint32_t>());
  }
  return absl::OkStatus();
}

// A string, token ids, or an array of either.
absl::Status ReadPrompts(const Json& prompt, std::vector<Prompt>& prompts) {
  if (prompt.is_string()) {
    prompts.push_back({.text = prompt.get<std::string>()});
    prompts.back().echo = prompts.back().text;
    return absl::OkStatus();
  }
  if (!prompt.is_array() || prompt.empty()) {
    return Bad("prompt", "expected a string, token ids, or an array of those, not empty");
  }
  if (prompt.front().is_number()) {
    prompts.emplace_back();
    return ReadTokens(prompt, prompts.back().tokens);
  }
  if (prompt.size() > kChoicesMax) return Bad("prompt", "more than 1024 prompts");
  for (const Json& each : prompt) {
    if (each.is_array() && (each.empty() || !each.front().is_number())) {
      return Bad("prompt", "expected strings or arrays of token ids");
    }
    if (absl::Status status = ReadPrompts(each, prompts); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// A line of a public trace: ids of 512-token blocks instead of text.
absl::Status ReadTrace(const Json& body, GenerateRequest& request) {
  const Json* ids = Field(body, "hash_ids");
  if (ids == nullptr) return absl::OkStatus();
  if (!ids->is_array() || ids->empty() || ids->size() > kModelTokensMax / kTraceBlockTokens) {
    return Bad("hash_ids", "expected an array of 1..16384 integers");
  }
  std::vector<uint64_t> hash_ids;
  for (const Json& id : *ids) {
    if (!id.is_number_unsigned()) return Bad("hash_ids", "expected integers without sign");
    hash_ids.push_back(id.get<uint64_t>());
  }
  auto length = static_cast<uint32_t>(hash_ids.size() * kTraceBlockTokens);
  if (absl::Status status = ReadCount(body, "input_length", 1, length); !status.ok()) return status;
  if (length > kModelTokensMax) return Bad("input_length", "expected at most 8388608");
  request.prompts.assign(1, {.tokens = TraceTokens(hash_ids, length), .echo = "trace"});
  return absl::OkStatus();
}

absl::Status ReadCommon(const Json& body, GenerateRequest& request) {
  const auto count = [&](const char* name, uint32_t least, uint32_t& value) {
    return [&body, name, least, &value] { return ReadCount(body, name, least, value); };
  };
  absl::Status status = ReadText(body, "model", request.model);
  if (status.ok()) status = ReadText(body, "request_id", request.request_id);
  if (status.ok()) status = ReadText(body, "cache_salt", request.cache_salt);
  if (status.ok()) status = count("n", 1, request.choices)();
  if (status.ok()) status = count("max_tokens", 1, request.tokens_max)();
  if (status.ok()) status = count("max_completion_tokens", 1, request.tokens_max)();
  if (status.ok()) status = count("max_output_tokens", 1, request.tokens_max)();
  if (status.ok()) status = count("max_new_tokens", 1, request.tokens_max)();
  if (status.ok()) status = count("min_tokens", 0, request.tokens_min)();
  if (status.ok()) status = count("min_new_tokens", 0, request.tokens_min)();
  if (status.ok()) status = ReadBool(body, "stream", request.stream);
  if (status.ok()) status = ReadBool(body, "ignore_eos", request.ignore_eos);
  if (status.ok()) status = ReadBool(body, "return_token_ids", request.return_token_ids);
  if (!status.ok()) return status;
  if (const Json* priority = Field(body, "priority")) {
    if (!priority->is_number_integer()) return Bad("priority", "expected an integer");
    request.priority = static_cast<int32_t>(priority->get<int64_t>());
  }
  if (const Json* seed = Field(body, "seed"); seed != nullptr && seed->is_number_integer()) {
    request.seed = seed->get<int64_t>();
  }
  if (const Json* options = Field(body, "stream_options")) {
    if (!options->is_object()) return Bad("stream_options", "expected an object");
    return ReadBool(*options, "include_usage", request.include_usage);
  }
  return absl::OkStatus();
}

absl::Status CheckTools(const Json& body) {
  const Json* tools = Field(body, "tools");
  if (tools == nullptr || !tools->is_array()) return absl::OkStatus();
  for (const Json& tool : *tools) {
    if (!tool.is_object()) return Bad("tools", "expected objects");
    const Json* function = Field(tool, "function");
    const Json& described = function != nullptr && function->is_object() ? *function : tool;
    const Json* name = Field(described, "name");
    if (name == nullptr || !name->is_string()) return Bad("tools", "expected a \"name\" in each");
  }
  return absl::OkStatus();
}

absl::Status ReadChat(const Json& body, GenerateRequest& request) {
  Prompt prompt;
  absl::Status status = CheckTools(body);
  if (status.ok()) status = AppendTools(body, prompt.text);
  if (!status.ok()) return status;
  if (const Json* system = request.api == Api::kMessages ? Field(body, "system") : nullptr) {
    OpenTurn("system", prompt.text);
    status = AppendContent(*system, prompt.text);
    prompt.text += '\n';
    if (!status.ok()) return status;
  }
  const Json* messages = Field(body, "messages");
  if (messages == nullptr) return Bad("messages", "field required");
  status = AppendMessages(*messages, prompt.text, prompt.echo);
  request.prompts.push_back(std::move(prompt));
  return status;
}

absl::Status ReadResponses(const Json& body, GenerateRequest& request) {
  Prompt prompt;
  absl::Status status = CheckTools(body);
  if (status.ok()) status = AppendTools(body, prompt.text);
  if (!status.ok()) return status;
  if (const Json* instructions = Field(body, "instructions")) {
    if (!instructions->is_string()) return Bad("instructions", "expected a string");
    OpenTurn("system", prompt.text);
    absl::StrAppend(&prompt.text, instructions->get<std::string>(), "\n");
  }
  const Json* input = Field(body, "input");
  if (input == nullptr) return Bad("input", "field required");
  if (input->is_string()) {
    prompt.echo = input->get<std::string>();
    OpenTurn("user", prompt.text);
    absl::StrAppend(&prompt.text, prompt.echo, "\n");
    OpenTurn("assistant", prompt.text);
  } else {
    status = AppendMessages(*input, prompt.text, prompt.echo);
  }
  request.prompts.push_back(std::move(prompt));
  return status;
}

// Sampling parameters lie in an object of their own.
absl::Status ReadSampling(const Json& body, GenerateRequest& request) {
  const Json* sampling = Field(body, "sampling_params");
  if (sampling == nullptr) return absl::OkStatus();
  if (!sampling->is_object()) return Bad("sampling_params", "expected an object");
  return ReadCommon(*sampling, request);
}

absl::Status ReadSglang(const Json& body, GenerateRequest& request) {
  if (absl::Status status = ReadSampling(body, request); !status.ok()) return status;
  if (const Json* rid = Field(body, "rid"); rid != nullptr && rid->is_string()) {
    request.request_id = rid->get<std::string>();
  }
  if (const Json* key = Field(body, "extra_key")) {
    if (!key->is_string()) return Bad("extra_key", "expected a string");
    request.cache_salt = key->get<std::string>();
  }
  const Json* ids = Field(body, "input_ids");
  const Json* text = Field(body, "text");
  if ((ids == nullptr) == (text == nullptr)) {
    return Bad("text", "expected exactly one of \"text\" and \"input_ids\"");
  }
  return ReadPrompts(ids != nullptr ? *ids : *text, request.prompts);
}

absl::Status ReadPromptOf(const Json& body, GenerateRequest& request) {
  if (body.contains("hash_ids")) return ReadTrace(body, request);
  switch (request.api) {
    case Api::kChat:
    case Api::kMessages:
      return ReadChat(body, request);
    case Api::kResponses:
      return ReadResponses(body, request);
    case Api::kCompletions: {
      const Json* prompt = Field(body, "prompt");
      if (prompt == nullptr) return Bad("prompt", "field required");
      return ReadPrompts(*prompt, request.prompts);
    }
    case Api::kTokens: {
      const Json* ids = Field(body, "token_ids");
      if (ids == nullptr || !ids->is_array() || ids->empty()) {
        return Bad("token_ids", "expected an array of token ids, not empty");
      }
      request.prompts.emplace_back();
      if (absl::Status status = ReadTokens(*ids, request.prompts.back().tokens); !status.ok()) {
        return status;
      }
      return ReadSampling(body, request);
    }
    case Api::kSglang:
      return ReadSglang(body, request);
  }
  return absl::InternalError("unknown API");
}

absl::StatusOr<Json> ParseObject(std::string_view body) {
  if (JsonIsTooDeep(body)) return absl::InvalidArgumentError("the body is nested too deeply");
  Json json = Json::parse(body, nullptr, false);
  if (json.is_discarded()) return absl::InvalidArgumentError("the body is not valid JSON");
  if (!json.is_object()) return absl::InvalidArgumentError("the body is not a JSON object");
  return json;
}

}  // namespace

absl::StatusOr<GenerateRequest> ParseGenerateRequest(Api api, std::string_view body) {
  const absl::StatusOr<Json> json = ParseObject(body);
  if (!json.ok()) return json.status();
  GenerateRequest request{.api = api};
  absl::Status status = ReadCommon(*json, request);
  if (status.ok()) status = ReadPromptOf(*json, request);
  if (!status.ok()) return status;
  if (request.prompts.size() * uint64_t{request.choices} > kChoicesMax) {
    return Bad("n", "more than 1024 choices in one request");
  }
  if (request.ignore_eos && request.tokens_max == 0) {
    return Bad("ignore_eos", "needs a limit of output tokens");
  }
  if (request.tokens_max != 0 && request.tokens_min > request.tokens_max) {
    return Bad("min_tokens", "exceeds the limit of output tokens");
  }
  for (Prompt& prompt : request.prompts) {
    if (prompt.tokens.empty()) prompt.tokens = Tokenize(prompt.text);
    if (prompt.tokens.empty()) return Bad("prompt", "must not be empty");
  }
  return request;
}

absl::StatusOr<std::string> RenderChat(std::string_view body) {
  const absl::StatusOr<Json> json = ParseObject(body);
  if (!json.ok()) return json.status();
  GenerateRequest request{.api = Api::kChat};
  if (absl::Status status = ReadChat(*json, request); !status.ok()) return status;
  return request.prompts.front().text;
}

}  // namespace weir::sim
