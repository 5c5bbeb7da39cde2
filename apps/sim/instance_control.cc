// The routes that are not generation: models, tokens, health, administration, metrics.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "instance.h"
#include "instance_exchange.h"
#include "json_text.h"
#include "weir/sim/tokens.h"

namespace weir::sim {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kText = "text/plain; version=0.0.4; charset=utf-8";
constexpr std::string_view kVersion = "0.10.2";
constexpr uint32_t kEmbeddingInputsMax = 2048;

void AnswerJson(WebCall& call, const Json& json) {
  call.Answer(200, kJson, json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void AnswerEmpty(WebCall& call, int status = 200) { call.Answer(status, kText, ""); }

// The body as an object; a discarded value if it is none.
Json BodyOf(const WebCall& call) {
  if (JsonIsTooDeep(call.body())) return Json(Json::value_t::discarded);
  Json json = Json::parse(call.body(), nullptr, false);
  return json.is_object() ? json : Json(Json::value_t::discarded);
}

// A unit vector that depends on the tokens alone.
std::vector<float> Embed(const std::vector<uint32_t>& tokens, uint32_t dimensions) {
  Random random(ChainHash(0, tokens));
  std::vector<float> vector(dimensions);
  double square = 0;
  for (float& value : vector) {
    value = static_cast<float>(NextNormal(random));
    square += static_cast<double>(value) * value;
  }
  for (float& value : vector) value = static_cast<float>(value / std::sqrt(square));
  return vector;
}

// The tokens of each input: a text, ids, or an array of either.
bool ReadInputs(const Json& input, std::vector<std::vector<uint32_t>>& inputs) {
  const auto ids = [](const Json& array, std::vector<uint32_t>& tokens) {
    for (const Json& id : array) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() > UINT32_MAX) return false;
      tokens.push_back(id.get<uint32_t>());
    }
    return !tokens.empty();
  };
  if (input.is_string()) {
    inputs.push_back(Tokenize(input.get_ref<const std::string&>()));
    return !inputs.back().empty();
  }
  if (!input.is_array() || input.empty() || input.size() > kModelTokensMax) return false;
  if (input.front().is_number()) return ids(input, inputs.emplace_back());
  if (input.size() > kEmbeddingInputsMax) return false;
  return std::all_of(input.begin(), input.end(), [&](const Json& each) {
    if (each.is_array()) return ids(each, inputs.emplace_back());
    return each.is_string() && ReadInputs(each, inputs);
  });
}

}  // namespace

void Instance::Embeddings(WebCall& call) {
  const Json body = BodyOf(call);
  if (body.is_discarded()) return Fail(call, 400, "the body is not a JSON object");
  uint32_t lora = 0;
  const std::string model =
      body.contains("model") && body["model"].is_string() ? body["model"].get<std::string>() : "";
  if (!KnowsModel(model, lora)) {
    return Fail(call, 404, absl::StrCat("The model `", model, "` does not exist."), "model");
  }
  std::vector<std::vector<uint32_t>> inputs;
  if (!body.contains("input") || !ReadInputs(body["input"], inputs)) {
    return Fail(call, 400, "input: expected a text, token ids, or up to 2048 of those, not empty",
                "input");
  }
  uint32_t dimensions = options_.embedding_dimensions;
  if (body.contains("dimensions") && !body["dimensions"].is_null()) {
    const Json& asked = body["dimensions"];
    if (!asked.is_number_unsigned() || asked.get<uint64_t>() < 1 || asked.get<uint64_t>() > 65536) {
      return Fail(call, 400, "dimensions: expected 1..65536", "dimensions");
    }
    dimensions = asked.get<uint32_t>();
  }
  const bool base64 = body.contains("encoding_format") && body["encoding_format"] == "base64";
  Json data = Json::array();
  size_t tokens = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::vector<float> vector = Embed(inputs[i], dimensions);
    Json item = {{"object", "embedding"}, {"index", i}};
    if (base64) {
      const absl::string_view bytes(reinterpret_cast<const char*>(vector.data()),
                                    vector.size() * sizeof(float));
      item["embedding"] = absl::Base64Escape(bytes);
    } else {
      item["embedding"] = vector;
    }
    data.push_back(std::move(item));
    tokens += inputs[i].size();
  }
  AnswerJson(call, {{"object", "list"},
                    {"data", std::move(data)},
                    {"model", model.empty() ? options_.served_names.front() : model},
                    {"usage", {{"prompt_tokens", tokens}, {"total_tokens", tokens}}}});
}

void Instance::Models(WebCall& call) {
  const bool sglang = options_.personality == Personality::kSglang;
  Json data = Json::array();
  const auto add = [&](const std::string& id, const std::string& root, Json parent) {
    data.push_back({{"id", id},
                    {"object", "model"},
                    {"created", unix_s()},
                    {"owned_by", sglang ? "sglang" : "vllm"},
                    {"root", root},
                    {"parent", std::move(parent)},
                    {"max_model_len", *options_.model_tokens_max}});
  };
  for (const std::string& name : options_.served_names) add(name, options_.model, nullptr);
  for (const LoraModule& lora : options_.loras) {
    add(lora.name, lora.path,
        lora.base_model_name.empty() ? options_.served_names.front() : lora.base_model_name);
  }
  AnswerJson(call, {{"object", "list"}, {"data", std::move(data)}});
}

void Instance::LoadLora(WebCall& call) {
  const Json body = BodyOf(call);
  if (body.is_discarded() || !body.contains("lora_name") || !body["lora_name"].is_string()) {
    return Fail(call, 400, "expected {\"lora_name\": ..., \"lora_path\": ...}");
  }
  if (lora_numbers_.size() >= kLorasMax) return Fail(call, 400, "too many adapters");
  LoraModule module{.name = body["lora_name"].get<std::string>()};
  if (body.contains("lora_path") && body["lora_path"].is_string()) {
    module.path = body["lora_path"].get<std::string>();
  }
  std::erase_if(options_.loras, [&](const LoraModule& l) { return l.name == module.name; });
  lora_numbers_.try_emplace(module.name, static_cast<uint32_t>(lora_numbers_.size()) + 1);
  options_.loras.push_back(std::move(module));
  AnswerEmpty(call);
}

void Instance::UnloadLora(WebCall& call) {
  const Json body = BodyOf(call);
  if (body.is_discarded() || !body.contains("lora_name") || !body["lora_name"].is_string()) {
    return Fail(call, 400, "expected {\"lora_name\": ...}");
  }
  const std::string name = body["lora_name"].get<std::string>();
  std::erase_if(options_.loras, [&](const LoraModule& lora) { return lora.name == name; });
  AnswerEmpty(call);
}

void Instance::Tokenize(WebCall& call) {
  const Json body = BodyOf(call);
  if (body.is_discarded()) return Fail(call, 400, "the body is not a JSON object");
  const bool prompt = body.contains("prompt");
  if (prompt == body.contains("messages")) {
    return Fail(call, 400, "expected exactly one of \"prompt\" and \"messages\"");
  }
  std::string text;
  if (!prompt) {
    absl::StatusOr<std::string> rendered = RenderChat(call.body());
    if (!rendered.ok()) return FailWith(call, rendered.status());
    text = *std::move(rendered);
  } else if (body["prompt"].is_string()) {
    text = body["prompt"].get<std::string>();
  } else {
    return Fail(call, 400, "prompt: expected a string", "prompt");
  }
  Json tokens = Json::array();
  Json strings = Json::array();
  for (const std::string_view token : SplitTokens(text)) {
    tokens.push_back(TokenId(token));
    strings.push_back(std::string(token));
  }
  AnswerJson(call, {{"max_model_len", *options_.model_tokens_max},
                    {"count", tokens.size()},
                    {"tokens", std::move(tokens)},
                    {"token_strs", std::move(strings)}});
}

void Instance::Detokenize(WebCall& call) {
  const Json body = BodyOf(call);
  std::vector<std::vector<uint32_t>> inputs;
  if (body.is_discarded() || !body.contains("tokens") || !body["tokens"].is_array() ||
      !ReadInputs(body["tokens"], inputs) || inputs.size() != 1) {
    return Fail(call, 400, "tokens: expected an array of token ids, not empty", "tokens");
  }
  std::string text;
  for (const uint32_t token : inputs.front()) {
    const std::string_view known = KnownTokenText(token);
    absl::StrAppend(&text, known.empty() ? absl::StrCat("<", token, ">") : std::string(known));
  }
  AnswerJson(call, {{"prompt", text}});
}

void Instance::RenderCompletion(WebCall& call) {
  const auto request = ParseGenerateRequest(Api::kCompletions, call.body());
  if (!request.ok()) return FailWith(call, request.status());
  Json prompts = Json::array();
  for (const Prompt& prompt : request->prompts) prompts.push_back({{"token_ids", prompt.tokens}});
  AnswerJson(call, prompts);
}

void Instance::RenderChatPrompt(WebCall& call) {
  const auto request = ParseGenerateRequest(Api::kChat, call.body());
  if (!request.ok()) return FailWith(call, request.status());
  AnswerJson(call, {{"token_ids", request->prompts.front().tokens}});
}

// Sleeping drops the cache; it takes the flag and the environment's development mode.
void Instance::Sleep(WebCall& call) {
  if (options_.sleep_mode && options_.sleep_mode_allowed) {
    sleeping_ = true;
    backend_->ResetPrefixCache();
  }
  AnswerEmpty(call);
}

void Instance::WakeUp(WebCall& call) {
  sleeping_ = false;
  AnswerEmpty(call);
}

void Instance::IsSleeping(WebCall& call) { AnswerJson(call, {{"is_sleeping", sleeping_}}); }

void Instance::Health(WebCall& call) { AnswerEmpty(call); }

void Instance::Ready(WebCall& call) {
  AnswerEmpty(call, now_ns_ < options_.startup_ns || draining_ ? 503 : 200);
}

void Instance::Version(WebCall& call) { AnswerJson(call, {{"version", kVersion}}); }

void Instance::Load(WebCall& call) { AnswerJson(call, {{"server_load", exchanges_.size()}}); }

void Instance::Query(WebCall& call) {
  Random random(options_.seed ^ place_.port);
  const uint64_t high = random.NextBits();
  const uint64_t low = random.NextBits();
  const std::string id =
      absl::StrFormat("%08x-%04x-4%03x-a%03x-%012x", high >> 32, high >> 16 & 0xFFFF, high & 0xFFF,
                      low >> 52, low & 0xFFFFFFFFFFFF);
  AnswerJson(call, {{"0", {{"engine_id", id}}}});
}

void Instance::ResetPrefixCache(WebCall& call) {
  if (!backend_->ResetPrefixCache()) return Fail(call, 503, "blocks are in use");
  AnswerEmpty(call);
}

void Instance::FlushCache(WebCall& call) {
  if (!backend_->ResetPrefixCache()) {
    return call.Answer(400, kText, "Flush cache failed: requests are running.\n");
  }
  call.Answer(200, kText, "Cache flushed.\n");
}

// {"request_ids": [...]}; without ids all requests end.
void Instance::AbortRequests(WebCall& call) {
  const Json body = BodyOf(call);
  const bool all = body.is_discarded() || !body.contains("request_ids");
  if (!all && !body["request_ids"].is_array()) {
    return Fail(call, 400, "request_ids: expected an array of strings", "request_ids");
  }
  std::vector<RequestId> ids;
  for (const auto& [number, exchange] : exchanges_) {
    const auto named = [&exchange = *exchange](const Json& id) {
      return id.is_string() && (id == exchange.id || id == exchange.request_id);
    };
    if (!all && std::none_of(body["request_ids"].begin(), body["request_ids"].end(), named)) {
      continue;
    }
    for (size_t i = 0; i < exchange->answers.size(); ++i) ids.push_back(exchange->id_of(i));
  }
  std::sort(ids.begin(), ids.end());
  for (const RequestId id : ids) backend_->Cancel(id);
  AnswerEmpty(call);
}

void Instance::ModelInfo(WebCall& call) {
  AnswerJson(call, {{"model_path", options_.model},
                    {"tokenizer_path", options_.model},
                    {"is_generation", true}});
}

void Instance::ServerInfo(WebCall& call) {
  const EngineStats stats = backend_->stats();
  AnswerJson(call,
             {{"model_path", options_.model},
              {"served_model_name", options_.served_names.front()},
              {"max_total_num_tokens", uint64_t{stats.block_count} * backend_->block_tokens()},
              {"page_size", backend_->block_tokens()},
              {"tp_size", options_.tensor_parallel},
              {"disaggregation_mode", "null"},
              {"version", kVersion}});
}

void Instance::MetricsPageOf(WebCall& call) {
  if (options_.personality == Personality::kSglang && !options_.enable_metrics) {
    return Fail(call, 404, "metrics are off; start with --enable-metrics");
  }
  call.Answer(200, kText, stale_metrics_ ? stale_text_ : MetricsText());
}

std::string Instance::MetricsText() const {
  std::vector<std::string> running;
  std::vector<std::string> waiting;
  for (const auto& [number, exchange] : exchanges_) {
    if (exchange->lora.empty()) continue;
    (exchange->answers.front().said > 0 ? running : waiting).push_back(exchange->lora);
  }
  for (auto* names : {&running, &waiting}) {
    std::sort(names->begin(), names->end());
    names->erase(std::unique(names->begin(), names->end()), names->end());
  }
  return metrics_.Text({.personality = options_.personality,
                        .model_name = options_.served_names.front(),
                        .stats = backend_->stats(),
                        .block_tokens = backend_->block_tokens(),
                        .old_names = options_.old_metric_names,
                        .loras_max = options_.loras.empty() ? 0 : options_.loras_max,
                        .running_loras = absl::StrJoin(running, ","),
                        .waiting_loras = absl::StrJoin(waiting, ","),
                        .unix_s = static_cast<double>(unix_s())});
}

std::string Instance::ConfigText() const {
  const auto text = [](int64_t ns) { return absl::FormatDuration(absl::Nanoseconds(ns)); };
  const LegacyLatency& latency = options_.latency;
  return Json{{"failure-injection-rate", options_.failure_ratio_percent},
              {"failure-types", options_.failure_types},
              {"latency-calculator", latency.calculator},
              {"time-to-first-token", text(latency.time_to_first_token.mean_ns)},
              {"time-to-first-token-std-dev", text(latency.time_to_first_token.std_dev_ns)},
              {"inter-token-latency", text(latency.inter_token.mean_ns)},
              {"inter-token-latency-std-dev", text(latency.inter_token.std_dev_ns)},
              {"kv-cache-transfer-latency", text(latency.kv_transfer.mean_ns)},
              {"kv-cache-transfer-latency-std-dev", text(latency.kv_transfer.std_dev_ns)},
              {"prefill-overhead", text(latency.prefill_overhead_ns)},
              {"prefill-time-per-token", text(latency.prefill_per_token.mean_ns)},
              {"prefill-time-std-dev", text(latency.prefill_per_token.std_dev_ns)},
              {"kv-cache-transfer-time-per-token", text(latency.kv_transfer_per_token.mean_ns)},
              {"kv-cache-transfer-time-std-dev", text(latency.kv_transfer_per_token.std_dev_ns)},
              {"time-factor-under-load", latency.time_factor_under_load},
              {"slow", slow_factor_},
              {"stale-metrics", stale_metrics_}}
      .dump();
}

void Instance::GetConfig(WebCall& call) { call.Answer(200, kJson, ConfigText()); }

namespace {

// What one update of /admin/config changes, checked as a whole before anything takes effect.
struct ConfigUpdate {
  SimOptions options;
  bool latency_changed = false;
  double slow = 1;
  bool stale_metrics = false;
  bool restart = false;
  bool exit = false;

  absl::Status Apply(const std::string& key, const Json& value);

 private:
  absl::Status ApplyDuration(const std::string& key, const Json& value, int64_t& ns) {
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    const absl::StatusOr<int64_t> parsed = ParseDurationNs(text);
    if (!parsed.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(key, ": ", std::string(parsed.status().message())));
    }
    ns = *parsed;
    latency_changed = true;
    return absl::OkStatus();
  }
};

absl::Status Wrong(const std::string& key, std::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(key, ": expected ", std::string(expected)));
}

absl::Status ConfigUpdate::Apply(const std::string& key, const Json& value) {
  LegacyLatency& latency = options.latency;
  const std::pair<std::string_view, int64_t*> durations[] = {
      {"time-to-first-token", &latency.time_to_first_token.mean_ns},
      {"time-to-first-token-std-dev", &latency.time_to_first_token.std_dev_ns},
      {"inter-token-latency", &latency.inter_token.mean_ns},
      {"inter-token-latency-std-dev", &latency.inter_token.std_dev_ns},
      {"kv-cache-transfer-latency", &latency.kv_transfer.mean_ns},
      {"kv-cache-transfer-latency-std-dev", &latency.kv_transfer.std_dev_ns},
      {"prefill-overhead", &latency.prefill_overhead_ns},
      {"prefill-time-per-token", &latency.prefill_per_token.mean_ns},
      {"prefill-time-std-dev", &latency.prefill_per_token.std_dev_ns},
      {"kv-cache-transfer-time-per-token", &latency.kv_transfer_per_token.mean_ns},
      {"kv-cache-transfer-time-std-dev", &latency.kv_transfer_per_token.std_dev_ns}};
  for (const auto& [name, ns] : durations) {
    if (key == name) return ApplyDuration(key, value, *ns);
  }
  if (key == "failure-injection-rate") {
    if (!value.is_number_unsigned()) return Wrong(key, "an integer 0..100");
    options.failure_ratio_percent =
        static_cast<uint32_t>(std::min<uint64_t>(value.get<uint64_t>(), 101));
  } else if (key == "failure-types") {
    const auto is_text = [](const Json& type) { return type.is_string(); };
    if (!value.is_array() || !std::all_of(value.begin(), value.end(), is_text)) {
      return Wrong(key, "an array of strings");
    }
    options.failure_types = value.get<std::vector<std::string>>();
  } else if (key == "latency-calculator") {
    if (!value.is_string()) return Wrong(key, "a string");
    latency.calculator = value.get<std::string>();
    latency_changed = true;
  } else if (key == "time-factor-under-load") {
    if (!value.is_number()) return Wrong(key, "a number");
    latency.time_factor_under_load = value.get<double>();
    latency_changed = true;
  } else if (key == "slow") {
    if (!value.is_number() || !(value.get<double>() >= 0.001 && value.get<double>() <= 1e6)) {
      return Wrong(key, "a factor 0.001..1000000");
    }
    slow = value.get<double>();
  } else if (key == "stale-metrics" || key == "restart" || key == "oom") {
    if (!value.is_boolean()) return Wrong(key, "true or false");
    (key == "restart" ? restart : key == "oom" ? exit : stale_metrics) = value.get<bool>();
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", key, "\" cannot be changed while the server runs"));
  }
  return absl::OkStatus();
}

}  // namespace

void Instance::SetConfig(WebCall& call) {
  const Json body = BodyOf(call);
  if (body.is_discarded()) return Fail(call, 400, "the body is not a JSON object");
  ConfigUpdate update{.options = options_, .slow = slow_factor_, .stale_metrics = stale_metrics_};
  for (const auto& [key, value] : body.items()) {
    if (absl::Status status = update.Apply(key, value); !status.ok()) {
      return FailWith(call, status);
    }
  }
  if (absl::Status status = Resolve(update.options); !status.ok()) return FailWith(call, status);
  if (update.latency_changed && !backend_->SetLatency(update.options.latency)) {
    return Fail(call, 400,
                "latencies are those of the engine model; start with --latency-calculator");
  }
  options_ = std::move(update.options);
  slow_factor_ = update.slow;
  backend_->set_step_time_factor(slow_factor_);
  if (update.stale_metrics && !stale_metrics_) stale_text_ = MetricsText();
  stale_metrics_ = update.stale_metrics;
  exit_requested_ = update.exit;
  if (update.restart) Restart();
  call.Answer(200, kJson, ConfigText());
}

// As a crash looks from outside: connections break, the cache is empty.
void Instance::Restart() {
  for (auto& [number, exchange] : exchanges_) {
    if (exchange->call != nullptr) exchange->call->Abort();
    exchange->call = nullptr;
  }
  for (WebCall* call : hanging_) call->Abort();
  hanging_.clear();
  backend_->Restart();
}

std::string Instance::NewId(std::string_view prefix) {
  const uint64_t high = id_random_.NextBits();
  return absl::StrFormat("%s%016x%016x", prefix, high, id_random_.NextBits());
}

}  // namespace weir::sim
