#include "weir/sim/engine.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weir/sim/engine_request.h"

namespace weir::sim {
namespace {

constexpr double kInitialNewTokenRatio = 0.7;
constexpr double kRareStepRatio = 0.001;
constexpr double kRareStepFactor = 3;

absl::Status RangeError(std::string_view field, double value, std::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(field), ": ", value, ", expected ", std::string(expected)));
}

absl::Status Validate(const EngineOptions& o) {
  if (o.model.layers == 0 || o.model.hidden == 0) {
    return absl::InvalidArgumentError("model: no shape, expected one of the presets or your own");
  }
  if (!(o.hardware.flops_bf16 > 0) || !(o.hardware.hbm_bytes_per_s > 0)) {
    return absl::InvalidArgumentError(
        "hardware: no rates, expected one of the presets or your own");
  }
  if (o.tensor_parallel < 1 || o.tensor_parallel > 64) {
    return RangeError("tensor_parallel", o.tensor_parallel, "1..64");
  }
  if (o.block_tokens > 1024) return RangeError("block_tokens", o.block_tokens, "0..1024");
  if (o.block_count > kBlocksMax) return RangeError("block_count", o.block_count, "0..16777216");
  if (!(o.memory.utilization_ratio > 0) || o.memory.utilization_ratio > 1) {
    return RangeError("memory.utilization_ratio", o.memory.utilization_ratio, "above 0, at most 1");
  }
  if (o.model_tokens_max < 2 || o.model_tokens_max > kModelTokensMax) {
    return RangeError("model_tokens_max", o.model_tokens_max, "2..8388608");
  }
  if (o.running_requests_max > kRunningRequestsMax) {
    return RangeError("running_requests_max", o.running_requests_max, "0..16384");
  }
  if (o.waiting_requests_max > kWaitingRequestsMax) {
    return RangeError("waiting_requests_max", o.waiting_requests_max, "0..1048576");
  }
  if (o.prefill_step_tokens_max == 0) return RangeError("prefill_step_tokens_max", 0, ">= 1");
  if (o.ingress_ns < 0 || o.token_output_ns < 0 || o.finish_ns < 0) {
    return absl::InvalidArgumentError("ingress_ns, token_output_ns, finish_ns: expected >= 0");
  }
  if (!(o.jitter_sigma >= 0) || o.jitter_sigma > 1) {
    return RangeError("jitter_sigma", o.jitter_sigma, "0..1");
  }
  return absl::OkStatus();
}

EngineOptions WithDefaults(EngineOptions o) {
  const bool sglang = o.personality == Personality::kSglang;
  const bool large = o.hardware.large_batch_defaults;
  if (o.block_tokens == 0) o.block_tokens = sglang ? 1 : 16;
  if (o.step_tokens_max == 0) o.step_tokens_max = sglang || large ? 8192 : 2048;
  if (o.running_requests_max == 0) o.running_requests_max = large ? 1024 : 256;
  if (o.block_count == 0) {
    o.block_count = static_cast<uint32_t>(
        std::min<uint64_t>(kBlocksMax, KvBlockCapacity(o.model, o.hardware, o.tensor_parallel,
                                                       o.precision, o.memory, o.block_tokens)));
  }
  return o;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options,
                                                       EngineObserver& observer) {
  if (absl::Status status = Validate(options); !status.ok()) return status;
  const EngineOptions filled = WithDefaults(options);
  if (filled.block_count == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model ", std::string(filled.model.name), " leaves no memory for KV blocks on ",
        filled.tensor_parallel, " x ", std::string(filled.hardware.name)));
  }
  return std::unique_ptr<Engine>(new Engine(filled, observer));
}

Engine::Engine(const EngineOptions& options, EngineObserver& observer)
    : options_(options),
      observer_(observer),
      step_time_(options.model, options.hardware, options.tensor_parallel, options.precision),
      pool_(std::make_unique<BlockPool>(options.block_count)),
      random_(options.seed),
      new_token_ratio_(kInitialNewTokenRatio) {}

Engine::~Engine() = default;

absl::Status Engine::Submit(RequestSpec spec, int64_t arrival_ns) {
  if (spec.prompt_tokens.empty() || spec.output_tokens.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("request ", spec.id, ": no prompt or no output tokens, expected one or more"));
  }
  const int64_t earliest_ns =
      arriving_.empty() ? now_ns_ : std::max(now_ns_, arriving_.back()->arrival_ns);
  if (arrival_ns < earliest_ns) {
    return absl::InvalidArgumentError(absl::StrCat("request ", spec.id, ": arrival at ", arrival_ns,
                                                   " ns, expected >= ", earliest_ns));
  }
  if (spec.prompt_tokens.size() >= options_.model_tokens_max) {
    return absl::OutOfRangeError(absl::StrCat("prompt has ", spec.prompt_tokens.size(),
                                              " tokens, expected fewer than the context limit of ",
                                              options_.model_tokens_max));
  }
  const uint32_t prompt = static_cast<uint32_t>(spec.prompt_tokens.size());
  uint32_t planned = options_.model_tokens_max - prompt;
  FinishReason reason = FinishReason::kLength;
  if (spec.output_tokens_max > 0) planned = std::min(planned, spec.output_tokens_max);
  if (spec.output_tokens.size() < planned) {
    planned = static_cast<uint32_t>(spec.output_tokens.size());
    reason = FinishReason::kStop;
  }
  if (BlocksFor(prompt + planned) > pool_->block_count()) {
    return absl::OutOfRangeError(
        absl::StrCat("prompt and answer need ", BlocksFor(prompt + planned),
                     " KV blocks, expected at most ", pool_->block_count()));
  }
  if (waiting_.size() + arriving_.size() >= options_.waiting_requests_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("waiting queue is full: ", options_.waiting_requests_max, " requests"));
  }
  auto [entry, inserted] = requests_.try_emplace(spec.id);
  if (!inserted) return absl::AlreadyExistsError(absl::StrCat("request ", spec.id, " exists"));
  entry->second = std::make_unique<Request>();
  Request& request = *entry->second;
  request.id = spec.id;
  request.tokens = std::move(spec.prompt_tokens);
  request.tokens.insert(request.tokens.end(), spec.output_tokens.begin(),
                        spec.output_tokens.begin() + planned);
  request.prompt_tokens = prompt;
  request.planned_tokens = planned;
  request.planned_reason = reason;
  request.output_tokens_max = spec.output_tokens_max > 0 ? spec.output_tokens_max : planned;
  request.priority = spec.priority;
  request.lora = spec.lora;
  const uint32_t salt[] = {spec.lora, static_cast<uint32_t>(spec.cache_salt),
                           static_cast<uint32_t>(spec.cache_salt >> 32)};
  request.salt = ChainHash(0, salt);
  request.arrival_ns = arrival_ns;
  request.queued_ns = arrival_ns + options_.ingress_ns;
  arriving_.push_back(&request);
  return absl::OkStatus();
}

bool Engine::Cancel(RequestId id) {
  const auto found = requests_.find(id);
  if (found == requests_.end() || found->second->finished) return false;
  Request& request = *found->second;
  if (request.running) {
    request.cancelled = true;
    cancel_pending_ = true;
    return true;
  }
  std::erase(arriving_, &request);
  std::erase(waiting_, &request);
  Finish(request, FinishReason::kAbort);
  return true;
}

int64_t Engine::NextEventTime() const noexcept {
  int64_t next = step_end_ns_;
  if (!arriving_.empty()) next = std::min(next, arriving_.front()->queued_ns);
  if (!tokens_out_.empty()) next = std::min(next, tokens_out_.front().at_ns);
  if (!finishes_out_.empty()) next = std::min(next, finishes_out_.front().at_ns);
  return next;
}

void Engine::AdvanceTo(int64_t now_ns) {
  for (int64_t next = NextEventTime(); next <= now_ns && next != kNever; next = NextEventTime()) {
    now_ns_ = std::max(now_ns_, next);
    TakeArrivals();
    if (step_end_ns_ <= now_ns_) CommitStep();
    DeliverOutputs();
    if (step_end_ns_ == kNever) StartStep();
  }
  now_ns_ = std::max(now_ns_, now_ns);
}

EngineStats Engine::stats() const noexcept {
  EngineStats stats = counters_;
  stats.running_requests = static_cast<uint32_t>(running_.size());
  stats.waiting_requests = static_cast<uint32_t>(waiting_.size());
  stats.used_blocks = pool_->used_count();
  stats.block_count = pool_->block_count();
  return stats;
}

bool Engine::ResetPrefixCache() {
  if (pool_->used_count() > 0) return false;
  pool_->ClearCache();
  observer_.OnCacheCleared(now_ns_);
  return true;
}

void Engine::Restart() {
  step_end_ns_ = kNever;
  scheduled_.clear();
  const std::vector<Request*> running = running_;
  for (Request* request : running) Finish(*request, FinishReason::kAbort);
  for (Request* request : waiting_) Finish(*request, FinishReason::kAbort);
  for (Request* request : arriving_) Finish(*request, FinishReason::kAbort);
  waiting_.clear();
  arriving_.clear();
  cancel_pending_ = false;
  new_token_ratio_ = kInitialNewTokenRatio;
  pool_->ClearCache();
  observer_.OnCacheCleared(now_ns_);
}

void Engine::TakeArrivals() {
  while (!arriving_.empty() && arriving_.front()->queued_ns <= now_ns_) {
    Request& request = *arriving_.front();
    arriving_.pop_front();
    Enqueue(request, /*at_head=*/false);
  }
}

void Engine::StartStep() {
  SweepCancelled();
  step_preemptions_ = 0;
  if (running_.empty() && waiting_.empty()) {
    new_token_ratio_ = kInitialNewTokenRatio;
    return;
  }
  uint32_t preemptions_before = 0;
  do {
    preemptions_before = step_preemptions_;
    options_.personality == Personality::kVllm ? ScheduleVllm() : ScheduleSglang();
    // A request that preempted itself ended the pass; with its blocks free another pass has work.
  } while (scheduled_.empty() && step_preemptions_ > preemptions_before);
  if (scheduled_.empty()) return;
  step_start_ns_ = now_ns_;
  step_end_ns_ = now_ns_ + StepNs();
}

int64_t Engine::StepNs() {
  items_.clear();
  for (const Scheduled& item : scheduled_) {
    items_.push_back({.new_tokens = item.new_tokens,
                      .computed_tokens = item.request->computed_tokens,
                      .decode = item.request->decoding()});
  }
  const uint64_t distinct = uint64_t{pool_->used_count()} * options_.block_tokens;
  double ms = step_time_.StepMs(items_, distinct) * step_time_factor_;
  if (options_.jitter == Jitter::kReal) {
    const double sigma = options_.jitter_sigma;
    const double radius = std::sqrt(-2 * std::log(1 - random_.NextUniform()));
    const double normal = radius * std::cos(2 * std::numbers::pi * random_.NextUniform());
    ms *= std::exp(-sigma * sigma / 2 + sigma * normal);
    if (random_.NextUniform() < kRareStepRatio) ms *= kRareStepFactor;
  }
  return std::max<int64_t>(1, std::llround(ms * 1e6));
}

void Engine::CommitStep() {
  StepReport report{
      .start_ns = step_start_ns_, .end_ns = step_end_ns_, .preempted_requests = step_preemptions_};
  step_end_ns_ = kNever;
  ++counters_.steps;
  for (const Scheduled& item : scheduled_) {
    Request& request = *item.request;
    if (request.decoding()) {
      ++report.decode_requests;
    } else {
      report.prefill_tokens += item.new_tokens;
    }
    if (request.cancelled) continue;
    request.computed_tokens += item.new_tokens;
    if (options_.prefix_caching) StoreFullBlocks(request);
    if (request.computed_tokens == request.known_tokens()) EmitToken(request);
  }
  scheduled_.clear();
  SweepCancelled();
  observer_.OnStep(report);
}

void Engine::StoreFullBlocks(Request& request) {
  const uint32_t full = request.computed_tokens / options_.block_tokens;
  const uint32_t first = request.stored_blocks;
  if (full == first) return;
  HashFullBlocks(request, request.computed_tokens);
  for (uint32_t i = first; i < full; ++i) pool_->Store(request.blocks[i], request.hashes[i]);
  request.stored_blocks = full;
  const std::span<const BlockHash> hashes(request.hashes);
  const std::span<const uint32_t> tokens(request.tokens);
  const size_t width = options_.block_tokens;
  observer_.OnBlocksStored({.at_ns = now_ns_,
                            .id = request.id,
                            .has_parent = first > 0,
                            .parent = first > 0 ? hashes[first - 1] : 0,
                            .hashes = hashes.subspan(first, full - first),
                            .tokens = tokens.subspan(first * width, (full - first) * width),
                            .block_tokens = options_.block_tokens});
}

void Engine::EmitToken(Request& request) {
  const int64_t at_ns = now_ns_ + options_.token_output_ns;
  const uint32_t index = request.emitted_tokens++;
  if (index == 0) {
    request.first_token_ns = at_ns;
    counters_.prompt_tokens += request.prompt_tokens;
  }
  ++counters_.output_tokens;
  tokens_out_.push_back({.at_ns = at_ns,
                         .token = {.id = request.id,
                                   .at_ns = at_ns,
                                   .index = index,
                                   .token = request.tokens[request.prompt_tokens + index],
                                   .cached_tokens = request.cached_tokens}});
  if (request.emitted_tokens == request.planned_tokens) Finish(request, request.planned_reason);
}

// Takes the request out of the running list and gives its blocks back; the client hears of it
// later.
void Engine::Finish(Request& request, FinishReason reason) {
  if (request.running) {
    std::erase(running_, &request);
    request.running = false;
    if (request.lora != 0 && --running_loras_[request.lora] == 0)
      running_loras_.erase(request.lora);
  }
  ReleaseBlocks(request);
  request.finished = true;
  request.reason = reason;
  ++counters_.finished_requests[static_cast<size_t>(reason)];
  finishes_out_.push_back(
      {.at_ns = now_ns_ + options_.token_output_ns + options_.finish_ns, .finished = &request});
}

void Engine::DeliverOutputs() {
  const auto due = [this](const std::deque<Output>& queue) {
    return !queue.empty() && queue.front().at_ns <= now_ns_;
  };
  while (due(tokens_out_) || due(finishes_out_)) {
    const bool token_first =
        due(tokens_out_) &&
        (!due(finishes_out_) || tokens_out_.front().at_ns <= finishes_out_.front().at_ns);
    if (token_first) {
      const TokenReport token = tokens_out_.front().token;
      tokens_out_.pop_front();
      observer_.OnToken(token);
      continue;
    }
    const Output output = finishes_out_.front();
    finishes_out_.pop_front();
    const Request& request = *output.finished;
    const FinishReport report{.id = request.id,
                              .at_ns = output.at_ns,
                              .reason = request.reason,
                              .prompt_tokens = request.prompt_tokens,
                              .cached_tokens = request.cached_tokens,
                              .output_tokens = request.emitted_tokens,
                              .preemptions = request.preemptions,
                              .arrival_ns = request.arrival_ns,
                              .scheduled_ns = request.scheduled_ns,
                              .first_token_ns = request.first_token_ns};
    requests_.erase(report.id);
    observer_.OnFinished(report);
  }
}

void Engine::SweepCancelled() {
  if (!cancel_pending_) return;
  cancel_pending_ = false;
  const std::vector<Request*> running = running_;
  for (Request* request : running) {
    if (request->cancelled) Finish(*request, FinishReason::kAbort);
  }
}

}  // namespace weir::sim
