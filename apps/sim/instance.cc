#include "instance.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "instance_exchange.h"
#include "legacy_backend.h"
#include "weir/sim/tokens.h"

namespace weir::sim {
namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kEventStream = "text/event-stream; charset=utf-8";

std::string_view IdPrefix(Api api) {
  switch (api) {
    case Api::kChat:
      return "chatcmpl-";
    case Api::kCompletions:
      return "cmpl-";
    case Api::kResponses:
      return "resp_";
    case Api::kMessages:
      return "msg_";
    case Api::kTokens:
    case Api::kSglang:
      break;
  }
  return "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<Instance>> Instance::Create(const SimOptions& options,
                                                           const InstancePlace& place) {
  std::unique_ptr<Instance> instance(new Instance(options, place));
  if (options.legacy) {
    instance->backend_ = CreateLegacyBackend(options, place.index, *instance);
    return instance;
  }
  auto backend = CreateModelBackend(EngineOptionsOf(options, place.index), *instance);
  if (!backend.ok()) return backend.status();
  instance->backend_ = *std::move(backend);
  return instance;
}

Instance::Instance(const SimOptions& options, const InstancePlace& place)
    : options_(options),
      place_(place),
      metrics_(*options.model_tokens_max),
      id_random_(options.seed ^ (0x1D5ull << 32) ^ place.index),
      failure_random_(options.seed ^ (0xFA17ull << 32) ^ place.index) {
  for (const LoraModule& lora : options_.loras) {
    lora_numbers_.try_emplace(lora.name, static_cast<uint32_t>(lora_numbers_.size()) + 1);
  }
}

Instance::~Instance() = default;

const std::vector<Instance::Route>& Instance::Routes() {
  using I = Instance;
  static const std::vector<Route>& routes = *new std::vector<Route>{
      {"POST", "/v1/chat/completions", &I::Chat},
      {"POST", "/v1/completions", &I::Completions},
      {"POST", "/v1/responses", &I::Responses},
      {"POST", "/v1/messages", &I::Messages},
      {"POST", "/inference/v1/generate", &I::TokensInOut, true, false},
      {"POST", "/generate", &I::SglangGenerate, false, true},
      {"POST", "/v1/embeddings", &I::Embeddings},
      {"GET", "/v1/models", &I::Models},
      {"POST", "/v1/load_lora_adapter", &I::LoadLora},
      {"POST", "/v1/unload_lora_adapter", &I::UnloadLora},
      {"POST", "/tokenize", &I::Tokenize},
      {"POST", "/detokenize", &I::Detokenize},
      {"POST", "/v1/completions/render", &I::RenderCompletion, true, false},
      {"POST", "/v1/chat/completions/render", &I::RenderChatPrompt, true, false},
      {"POST", "/sleep", &I::Sleep, true, false},
      {"POST", "/wake_up", &I::WakeUp, true, false},
      {"GET", "/is_sleeping", &I::IsSleeping, true, false},
      {"GET", "/health", &I::Health},
      {"GET", "/health/ready", &I::Ready},
      {"GET", "/ping", &I::Health, true, false},
      {"POST", "/ping", &I::Health, true, false},
      {"GET", "/health_generate", &I::Health, false, true},
      {"GET", "/version", &I::Version, true, false},
      {"GET", "/load", &I::Load, true, false},
      {"GET", "/query", &I::Query, true, false},
      {"POST", "/reset_prefix_cache", &I::ResetPrefixCache, true, false},
      {"POST", "/abort_requests", &I::AbortRequests, true, false},
      {"GET", "/get_model_info", &I::ModelInfo, false, true},
      {"GET", "/get_server_info", &I::ServerInfo, false, true},
      {"POST", "/flush_cache", &I::FlushCache, false, true},
      {"GET", "/metrics", &I::MetricsPageOf},
      {"GET", "/admin/config", &I::GetConfig},
      {"POST", "/admin/config", &I::SetConfig},
  };
  return routes;
}

void Instance::Handle(WebCall& call, int64_t now_ns) {
  AdvanceTo(now_ns);
  AddIdentity(call);
  const bool sglang = options_.personality == Personality::kSglang;
  bool path_known = false;
  for (const Route& route : Routes()) {
    if (route.path != call.path() || !(sglang ? route.sglang : route.vllm)) continue;
    path_known = true;
    if (route.method == call.method()) return (this->*route.handle)(call);
  }
  if (path_known) return Fail(call, 405, "Method Not Allowed");
  Fail(call, 404, "Not Found");
}

void Instance::AddIdentity(WebCall& call) const {
  if (!options_.pod_name.empty()) {
    call.AddHeader("x-inference-pod", options_.pod_name);
    call.AddHeader("x-inference-port", std::to_string(place_.port));
  }
  if (!options_.pod_namespace.empty()) {
    call.AddHeader("x-inference-namespace", options_.pod_namespace);
  }
  const std::string_view id = call.header("X-Request-Id");
  if (options_.request_id_headers && !id.empty()) call.AddHeader("X-Request-Id", id);
}

void Instance::AdvanceTo(int64_t now_ns) {
  now_ns_ = std::max(now_ns_, now_ns);
  backend_->AdvanceTo(now_ns_);
}

void Instance::Generate(WebCall& call, Api api) {
  if (draining_) return Fail(call, 503, "server is shutting down");
  const absl::StatusOr<Fault> fault = FaultOf(call);
  if (!fault.ok()) return FailWith(call, fault.status());
  if (fault->kind == FaultKind::kStatus) {
    return Fail(call, static_cast<uint32_t>(fault->amount), fault->text);
  }
  if (fault->kind == FaultKind::kHang) {
    hanging_.push_back(&call);
    return;
  }
  absl::StatusOr<GenerateRequest> request = ParseGenerateRequest(api, call.body());
  if (!request.ok()) return FailWith(call, request.status());
  uint32_t lora = 0;
  if (!KnowsModel(request->model, lora)) {
    return Fail(call, 404, absl::StrCat("The model `", request->model, "` does not exist."),
                "model");
  }
  if (absl::Status status = CheckContext(*request); !status.ok()) return FailWith(call, status);
  std::unique_ptr<Exchange> made = MakeExchange(call, *request, lora);
  made->fault = *fault;
  Exchange& exchange = *made;
  exchanges_[exchange.number] = std::move(made);
  if (absl::Status status = SubmitAll(exchange, *request, lora); !status.ok()) {
    Leave(exchange);
    FailWith(call, status);
  }
}

absl::StatusOr<Fault> Instance::FaultOf(const WebCall& call) {
  if (const std::string_view text = call.header("X-Return-Error"); text.data() != nullptr) {
    int status = 0;
    if (!absl::SimpleAtoi(std::string(text), &status) || status < 200 || status > 599) {
      return absl::InvalidArgumentError(
          absl::StrCat("X-Return-Error: \"", std::string(text), "\", expected a status 200..599"));
    }
    return Fault{FaultKind::kStatus, static_cast<uint64_t>(status), "requested by X-Return-Error"};
  }
  if (const std::string_view text = call.header("X-Sim-Fault"); text.data() != nullptr) {
    return ParseFault(text);
  }
  if (failure_random_.NextBelow(100) >= options_.failure_ratio_percent) return Fault{};
  const auto count = static_cast<uint32_t>(options_.failure_types.size());
  return ParseFault(options_.failure_types[failure_random_.NextBelow(count)]);
}

bool Instance::KnowsModel(const std::string& model, uint32_t& lora) const {
  const auto& names = options_.served_names;
  if (model.empty() || std::find(names.begin(), names.end(), model) != names.end()) return true;
  const bool loaded = std::any_of(options_.loras.begin(), options_.loras.end(),
                                  [&](const LoraModule& module) { return module.name == model; });
  if (loaded) lora = lora_numbers_.find(model)->second;
  return loaded;
}

absl::Status Instance::CheckContext(const GenerateRequest& request) const {
  const uint64_t most = *options_.model_tokens_max;
  for (const Prompt& prompt : request.prompts) {
    const uint64_t output = std::max(1u, request.tokens_max);
    if (prompt.tokens.size() + output <= most) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "This model's maximum context length is ", most, " tokens. However, you requested ",
        prompt.tokens.size() + output, " tokens (", prompt.tokens.size(), " in the prompt, ",
        output, " in the completion). Please reduce the length of the prompt or completion."));
  }
  return absl::OkStatus();
}

std::unique_ptr<Instance::Exchange> Instance::MakeExchange(WebCall& call, GenerateRequest& request,
                                                           uint32_t lora) {
  auto exchange = std::make_unique<Exchange>();
  exchange->number = next_exchange_++;
  exchange->call = &call;
  exchange->choices_per_prompt = request.choices;
  exchange->tokens_max = request.tokens_max;
  if (lora != 0) exchange->lora = request.model;
  exchange->stream = request.stream;
  exchange->id = NewId(IdPrefix(request.api));
  exchange->request_id = request.request_id;
  if (exchange->request_id.empty()) exchange->request_id = std::string(call.header("X-Request-Id"));
  exchange->format = CreateAnswerFormat(
      {.api = request.api,
       .id = exchange->id,
       .model = request.model.empty() ? options_.served_names.front() : request.model,
       .created_s = unix_s(),
       .include_usage = request.include_usage,
       .return_token_ids = request.return_token_ids});
  exchange->echoes.reserve(request.prompts.size());
  for (Prompt& prompt : request.prompts) {
    exchange->echoes.push_back(prompt.echo);
    for (uint32_t choice = 0; choice < request.choices; ++choice) {
      exchange->answers.push_back({.pieces = PlanAnswer(*exchange, request, prompt, choice),
                                   .prompt_tokens = static_cast<uint32_t>(prompt.tokens.size())});
    }
  }
  exchange->last_token_ns.assign(exchange->answers.size(), now_ns_);
  return exchange;
}

// The same prompt gets the same answer from every instance with this seed.
std::vector<Piece> Instance::PlanAnswer(Exchange& exchange, const GenerateRequest& request,
                                        const Prompt& prompt, uint32_t choice) {
  if (options_.mode == "echo") {
    std::vector<Piece> pieces = PiecesOf(exchange.echoes.back());
    if (!pieces.empty()) return pieces;
  }
  const auto client_seed = static_cast<uint64_t>(request.seed.value_or(0));
  Random random(ChainHash(options_.seed ^ (client_seed << 1), prompt.tokens) + choice);
  const uint32_t room = *options_.model_tokens_max - static_cast<uint32_t>(prompt.tokens.size());
  const uint32_t drawn = RandomAnswerTokens(random, request.tokens_max, room);
  const uint32_t planned = request.ignore_eos ? request.tokens_max : drawn;
  return RandomPieces(random, std::min(room, std::max(planned, request.tokens_min)));
}

absl::Status Instance::SubmitAll(Exchange& exchange, GenerateRequest& request, uint32_t lora) {
  for (size_t i = 0; i < exchange.answers.size(); ++i) {
    const Prompt& prompt = request.prompts[i / request.choices];
    RequestSpec spec{.id = exchange.id_of(i),
                     .prompt_tokens = prompt.tokens,
                     .output_tokens_max = request.tokens_max,
                     .priority = request.priority,
                     .lora = lora,
                     .cache_salt = request.cache_salt.empty() ? 0 : TokenId(request.cache_salt)};
    spec.output_tokens.reserve(exchange.answers[i].pieces.size());
    for (const Piece& piece : exchange.answers[i].pieces) spec.output_tokens.push_back(piece.token);
    if (absl::Status status = backend_->Submit(std::move(spec), now_ns_); !status.ok()) {
      return status;
    }
    ++exchange.open;
  }
  return absl::OkStatus();
}

void Instance::Fail(WebCall& call, uint32_t status, std::string_view message,
                    std::string_view param) {
  call.Answer(static_cast<int>(status), kJson, ErrorBody(status, message, param));
}

void Instance::FailWith(WebCall& call, const absl::Status& status) {
  const std::string message(status.message());
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return Fail(call, 400, message);
    case absl::StatusCode::kResourceExhausted:
      return Fail(call, 429, "Failed to enqueue request, " + message);
    default:
      return Fail(call, 500, message);
  }
}

void Instance::ClientGone(WebCall& call) {
  std::erase(hanging_, &call);
  for (auto& [number, exchange] : exchanges_) {
    if (exchange->call != &call) continue;
    Leave(*exchange);
    return;
  }
}

// Cancelled requests stay until the backend reports their end.
void Instance::Leave(Exchange& exchange) {
  exchange.call = nullptr;
  if (exchange.open == 0) {
    exchanges_.erase(exchange.number);
    return;
  }
  const RequestId first = exchange.id_of(0);
  const size_t count = exchange.answers.size();  // the last Cancel() may end the exchange
  for (size_t i = 0; i < count; ++i) backend_->Cancel(first + i);
}

Instance::Exchange* Instance::Find(RequestId id) {
  const auto found = exchanges_.find(id / kChoicesMax);
  return found == exchanges_.end() ? nullptr : found->second.get();
}

void Instance::OnStep(const StepReport& step) { metrics_.OnStep(step); }

void Instance::OnToken(const TokenReport& token) {
  Exchange* exchange = Find(token.id);
  if (exchange == nullptr) return;
  const size_t choice = token.id % kChoicesMax;
  metrics_.OnToken(token, exchange->last_token_ns[choice]);
  exchange->last_token_ns[choice] = token.at_ns;
  Answer& answer = exchange->answers[choice];
  answer.said = token.index + 1;
  answer.cached_tokens = token.cached_tokens;
  if (exchange->call == nullptr || !exchange->stream) return;
  const Fault& fault = exchange->fault;
  scratch_.clear();
  if (!exchange->started) {
    exchange->started = true;
    exchange->call->Start(200, kEventStream);
    exchange->format->Open(scratch_, exchange->answers.size(), UsageOf(*exchange));
  }
  if (fault.kind == FaultKind::kTruncate && exchange->said_tokens >= fault.amount) {
    exchange->call->End();
    return Leave(*exchange);
  }
  ++exchange->said_tokens;
  exchange->format->Token(scratch_, choice, answer);
  WriteStream(*exchange, scratch_);
}

void Instance::WriteStream(Exchange& exchange, std::string_view bytes) {
  const Fault& fault = exchange.fault;
  if (fault.kind == FaultKind::kReset && exchange.body_bytes + bytes.size() >= fault.amount) {
    exchange.call->Write(bytes.substr(0, fault.amount - exchange.body_bytes));
    exchange.call->Abort();
    return Leave(exchange);
  }
  exchange.body_bytes += bytes.size();
  exchange.call->Write(bytes);
}

void Instance::OnFinished(const FinishReport& finish) {
  Exchange* exchange = Find(finish.id);
  if (exchange == nullptr) return;
  metrics_.OnFinished(finish, exchange->tokens_max, exchange->choices_per_prompt);
  Answer& answer = exchange->answers[finish.id % kChoicesMax];
  answer.reason = finish.reason;
  answer.cached_tokens = finish.cached_tokens;
  --exchange->open;
  if (exchange->call != nullptr && exchange->stream) {
    scratch_.clear();
    if (!exchange->started) {
      exchange->started = true;
      exchange->call->Start(200, kEventStream);
      exchange->format->Open(scratch_, exchange->answers.size(), UsageOf(*exchange));
    }
    exchange->format->Finish(scratch_, finish.id % kChoicesMax, answer);
    WriteStream(*exchange, scratch_);
    exchange = Find(finish.id);  // the write may have ended it
  }
  if (exchange != nullptr && exchange->open == 0) Complete(*exchange);
}

void Instance::Complete(Exchange& exchange) {
  if (exchange.call != nullptr && exchange.stream) {
    scratch_.clear();
    exchange.format->Close(scratch_, exchange.answers, UsageOf(exchange));
    const uint64_t number = exchange.number;
    WriteStream(exchange, scratch_);
    if (!exchanges_.contains(number)) return;
    exchange.call->End();
  } else if (exchange.call != nullptr) {
    const std::string body = exchange.format->Whole(exchange.answers, UsageOf(exchange));
    const Fault& fault = exchange.fault;
    if (fault.kind == FaultKind::kReset && fault.amount < body.size()) {
      exchange.call->Start(200, kJson);
      exchange.call->Write(std::string_view(body).substr(0, fault.amount));
      exchange.call->Abort();
    } else {
      exchange.call->Answer(200, kJson, body);
    }
  }
  exchanges_.erase(exchange.number);
}

Usage Instance::UsageOf(const Exchange& exchange) const {
  Usage usage;
  for (size_t i = 0; i < exchange.answers.size(); ++i) {
    const Answer& answer = exchange.answers[i];
    usage.output_tokens += answer.said;
    if (i % exchange.choices_per_prompt != 0) continue;
    usage.prompt_tokens += answer.prompt_tokens;
    usage.cached_tokens += answer.cached_tokens;
  }
  return usage;
}

}  // namespace weir::sim
