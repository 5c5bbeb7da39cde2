// One decision, from request and snapshot to targets. Everything here is [hot].
#include <algorithm>
#include <cstring>
#include <optional>

#include "engine/engine.h"
#include "sched/columns.h"
#include "sched/subset.h"
#include "weir/decision_recorder.h"

namespace weir::internal {
namespace {

weir_str Str(std::string_view text) { return {text.data(), text.size()}; }

std::string_view Copy(std::string_view text, Arena& arena) {
  char* copy = arena.AllocateArray<char>(text.size());
  if (copy == nullptr) return {};
  std::copy(text.begin(), text.end(), copy);
  return {copy, text.size()};
}

// What plugins are promised of a prompt's only text: it can be read as words of four bytes.
std::optional<std::string_view> PaddedCopy(std::string_view text, Arena& arena) {
  if (text.empty()) return text;
  const uint64_t words = (text.size() + 3) / 4;
  auto* copy = arena.AllocateArray<uint32_t>(words);
  if (copy == nullptr) return std::nullopt;
  copy[words - 1] = 0;
  std::memcpy(copy, text.data(), text.size());
  return std::string_view(reinterpret_cast<const char*>(copy), text.size());
}

// A server may claim any number.
uint32_t SumOrMax(uint32_t a, uint32_t b) { return a + std::min(b, UINT32_MAX - a); }

constexpr std::string_view kDestinationHeader = "x-gateway-destination-endpoint";
constexpr std::string_view kPrefixMatchType = "weir.prefix_match/1";

// Texts for clients. llm-d's picker has the same.
constexpr std::string_view kNoCandidates =
    "failed to find endpoint candidates for serving the request";
constexpr std::string_view kAllDropped = "no endpoints available for the given request";
constexpr std::string_view kNoResult = "results must be greater than zero";
constexpr std::string_view kNothingCached = "no decode worker has the requested KV cache";
constexpr std::string_view kNoMemory = "the request needs more scratch memory than a decision has";

}  // namespace

Code Engine::Run(const Request& request, DecisionState& state) noexcept {
  const uint32_t count = state.snapshot->count();
  state.refusal = kNoCandidates;
  if (count == 0) return Code::kUnavailable;
  state.any_endpoint = request.any_endpoint;
  state.allowed = nullptr;
  if (request.subset) {
    const uint32_t words = MaskWords(count);
    auto* allowed = state.arena.AllocateArray<uint64_t>(words);
    state.refusal = kNoMemory;
    if (allowed == nullptr ||
        !KeepSubset(*request.subset, state.snapshot->members->addresses.data(), count, state.arena,
                    allowed)) {
      return Code::kResourceExhausted;
    }
    state.refusal = kNoCandidates;
    const uint32_t left = CountBits(allowed, count);
    if (left == 0) return Code::kUnavailable;
    if (left < count) state.allowed = allowed;
  }
  state.refusal = kNoMemory;
  if (!PrepareRequest(request, state) || !PrepareBatch(state) || !Produce(state)) {
    return Code::kResourceExhausted;
  }
  if (const Code code = RunProfiles(state); code != Code::kOk) return code;
  if (request.if_available && !FirstPickHoldsPrefix(state)) {
    state.refusal = kNothingCached;
    return Code::kFailedPrecondition;
  }
  return Conclude(state) ? Code::kOk : Code::kResourceExhausted;
}

// Whether some producer says that the first target holds leading blocks of the prompt.
bool Engine::FirstPickHoldsPrefix(const DecisionState& state) const noexcept {
  const uint32_t endpoint = state.profiles[state.primary_profile].picks[0];
  for (size_t c = 0; c < pipeline_->spec.columns.size(); ++c) {
    if (pipeline_->spec.columns[c].type != kPrefixMatchType || state.columns[c] == nullptr)
      continue;
    const auto* matches = static_cast<const weir_prefix_match*>(state.columns[c]);
    if (matches[endpoint].matched_blocks > 0) return true;
  }
  return false;
}

bool Engine::PrepareRequest(const Request& request, DecisionState& state) noexcept {
  Arena& arena = state.arena;
  auto* headers = arena.AllocateArray<weir_header>(request.headers.size());
  state.prompts = arena.AllocateArray<weir_prompt>(request.prompts.size());
  if (headers == nullptr || state.prompts == nullptr) return false;
  for (size_t i = 0; i < request.headers.size(); ++i) {
    headers[i] = {Str(request.headers[i].name), Str(request.headers[i].value)};
  }
  for (size_t p = 0; p < request.prompts.size(); ++p) {
    const Prompt& prompt = request.prompts[p];
    auto* parts = arena.AllocateArray<weir_part>(prompt.parts.size());
    if (parts == nullptr) return false;
    for (size_t i = 0; i < prompt.parts.size(); ++i) {
      parts[i] = {static_cast<uint32_t>(prompt.parts[i].kind), 0, Str(prompt.parts[i].bytes)};
    }
    if (!request.padded_text && prompt.parts.size() == 1 && parts[0].kind == WEIR_PART_TEXT) {
      const auto copy = PaddedCopy(prompt.parts[0].bytes, arena);
      if (!copy) return false;
      parts[0].bytes = Str(*copy);
    }
    state.prompts[p] = {parts, prompt.parts.size(),
                        prompt.tokens.empty() ? nullptr : prompt.tokens.data(),
                        prompt.tokens.size()};
  }
  // Recorded decisions keep these: a client must not make each as large as a body.
  state.request_id = Copy(request.id.substr(0, kNameBytesMax), arena);
  state.model = Copy(request.model.substr(0, kNameBytesMax), arena);
  state.request = {sizeof(weir_request),
                   static_cast<uint32_t>(request.api),
                   request.stream ? uint32_t{WEIR_REQUEST_STREAM} : 0u,
                   request.priority,
                   Str(request.id),
                   Str(request.model),
                   Str(request.cache_salt),
                   Str(request.fairness_id),
                   request.max_output_tokens.value_or(-1),
                   request.size_bytes,
                   headers,
                   request.headers.size(),
                   state.prompts,
                   request.prompts.size()};
  return true;
}

bool Engine::PrepareBatch(DecisionState& state) noexcept {
  const Snapshot& snapshot = *state.snapshot;
  const uint32_t count = snapshot.count();
  Arena& arena = state.arena;
  state.waiting = arena.AllocateArray<uint32_t>(count);
  state.running = arena.AllocateArray<uint32_t>(count);
  state.kv_used = arena.AllocateArray<float>(count);
  state.sample_age_ms = arena.AllocateArray<uint32_t>(count);
  state.unseen = arena.AllocateArray<uint32_t>(count);
  state.unseen_tokens =
      options_.recorder == nullptr ? nullptr : arena.AllocateZeroed<uint32_t>(count);
  state.columns = arena.AllocateZeroed<void*>(pipeline_->spec.columns.size());
  state.request_states = arena.AllocateZeroed<void*>(pipeline_->instances.size());
  if (state.request_states == nullptr || state.columns == nullptr || state.unseen == nullptr ||
      (options_.recorder != nullptr && state.unseen_tokens == nullptr)) {
    return false;
  }
  for (size_t i = 0; i < pipeline_->scraped_columns.size(); ++i) {
    // Nobody writes into a column of another than its own producer.
    state.columns[pipeline_->scraped_columns[i]] =
        const_cast<double*>(snapshot.attributes[i].data());
  }
  ProjectLoad(state);
  const Membership& members = *snapshot.members;
  state.batch = {sizeof(weir_batch),
                 count,
                 members.epoch,
                 members.slots.data(),
                 members.names.data(),
                 members.addresses.data(),
                 state.waiting,
                 state.running,
                 state.kv_used,
                 state.sample_age_ms,
                 snapshot.block_tokens.data(),
                 snapshot.block_count.data(),
                 nullptr};
  state.prepared = true;
  return true;
}

// Endpoints marked in `unseen` show the worst value that one with a sample has, or 0.
void Engine::ReplaceUnsampled(DecisionState& state) noexcept {
  const uint32_t count = state.snapshot->count();
  uint32_t worst_waiting = 0, worst_running = 0;
  float worst_kv_used = 0;
  for (uint32_t i = 0; i < count && options_.unscraped == UnscrapedPolicy::kWorst; ++i) {
    if (state.unseen[i] != 0) continue;
    worst_waiting = std::max(worst_waiting, state.waiting[i]);
    worst_running = std::max(worst_running, state.running[i]);
    worst_kv_used = std::max(worst_kv_used, state.kv_used[i]);
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (state.unseen[i] == 0) continue;
    state.waiting[i] = worst_waiting;
    state.running[i] = worst_running;
    state.kv_used[i] = worst_kv_used;
  }
}

// The load columns as plugins see them: the last sample, plus what was sent since it was taken. An
// endpoint without a sample shows the worst value that a sampled one has, so that it wins nothing.
void Engine::ProjectLoad(DecisionState& state) noexcept {
  const Snapshot& snapshot = *state.snapshot;
  const uint32_t count = snapshot.count();
  const LiveLoad& live = pool_.live_load();
  const int64_t age_max = options_.sample_age_ns_max > 0 ? options_.sample_age_ns_max : INT64_MAX;
  uint32_t unsampled = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const int64_t sampled_ns = snapshot.sample_time[i];
    const bool never = sampled_ns == INT64_MIN;
    const int64_t age_ns = never ? INT64_MAX : std::max<int64_t>(0, state.now_ns - sampled_ns);
    const uint64_t age_ms = static_cast<uint64_t>(age_ns) / 1'000'000;
    state.sample_age_ms[i] =
        never ? WEIR_AGE_NEVER
              : static_cast<uint32_t>(std::min<uint64_t>(age_ms, WEIR_AGE_NEVER - 1));
    state.unseen[i] = never || age_ns > age_max ? 1 : 0;
    unsampled += state.unseen[i];
  }
  std::copy_n(snapshot.waiting.data(), count, state.waiting);
  std::copy_n(snapshot.running.data(), count, state.running);
  std::copy_n(snapshot.kv_used.data(), count, state.kv_used);
  if (unsampled > 0) ReplaceUnsampled(state);
  if (!options_.count_unscraped_requests) {
    std::memset(state.unseen, 0, count * sizeof(uint32_t));
    return;
  }
  // Locals, because the counters' loads are atomic and would have the compiler read all this anew.
  const uint32_t* const slots = snapshot.members->slots.data();
  const float* const kv_ratio_per_token = snapshot.kv_ratio_per_token.data();
  uint32_t* const waiting = state.waiting;
  uint32_t* const running = state.running;
  uint32_t* const unseen = state.unseen;
  uint32_t* const unseen_tokens = state.unseen_tokens;
  float* const kv_used = state.kv_used;
  const bool is_given = !state.given_sent.requests.empty();
  const uint32_t* const given_requests = is_given ? state.given_sent.requests.data() : nullptr;
  const uint32_t* const given_tokens = state.given_sent.tokens.data();
  for (uint32_t i = 0; i < count; ++i) {
    const SlotLoad& load = live[slots[i]];
    const uint32_t requests =
        given_requests == nullptr ? load.unseen_requests() : given_requests[i];
    unseen[i] = requests;
    if (requests == 0) continue;
    const uint32_t tokens = given_requests == nullptr ? load.unseen_tokens() : given_tokens[i];
    if (unseen_tokens != nullptr) unseen_tokens[i] = tokens;
    // Whether the engine queued or started them is not known; each column counts them.
    waiting[i] = SumOrMax(waiting[i], requests);
    running[i] = SumOrMax(running[i], requests);
    const float added = static_cast<float>(tokens) * kv_ratio_per_token[i];
    kv_used[i] = std::max(kv_used[i], std::min(1.0f, kv_used[i] + added));
  }
}

bool Engine::BindColumns(uint32_t plugin, void* const* columns, BoundColumns& bound,
                         weir_batch& batch) const noexcept {
  const std::vector<int32_t>& declared = pipeline_->spec.plugins[plugin].columns;
  uint64_t missing = 0;
  for (size_t i = 0; i < declared.size(); ++i) {
    bound[i] = declared[i] < 0 ? nullptr : columns[declared[i]];
    if (bound[i] == nullptr) missing |= uint64_t{1} << i;
  }
  batch.columns = bound.data();
  return (missing & pipeline_->required_columns[plugin]) == 0;
}

bool Engine::Produce(DecisionState& state) noexcept {
  const uint32_t count = state.batch.count;
  BoundColumns bound;
  for (const uint32_t plugin : pipeline_->spec.producers) {
    const PluginInstance& instance = *pipeline_->instances[plugin];
    const PluginSpec& spec = pipeline_->spec.plugins[plugin];
    const weir_plugin& type = instance.plugin();
    void** writes = state.arena.AllocateZeroed<void*>(spec.columns.size());
    void* request_state = nullptr;
    if (const uint64_t bytes = instance.producer()->request_state_bytes; bytes > 0) {
      request_state = state.arena.AllocateZeroed<std::byte>(bytes);
      if (request_state == nullptr) return false;
    }
    if (writes == nullptr) return false;
    for (size_t a = 0; a < spec.columns.size(); ++a) {
      const int32_t column = spec.columns[a];
      if (column < 0 || (type.attributes[a]->flags & WEIR_ATTRIBUTE_WRITE) == 0) continue;
      const uint64_t bytes = uint64_t{count} * pipeline_->spec.columns[column].element_bytes;
      writes[a] = state.arena.AllocateZeroed<std::byte>(bytes);
      if (writes[a] == nullptr) return false;
    }
    state.call.plugin = plugin;
    state.call.survivors = nullptr;
    const bool bindable = BindColumns(plugin, state.columns, bound, state.batch);
    const weir_code code =
        bindable ? instance.producer()->produce(instance.self(), &state.call, &state.request,
                                                &state.batch, writes, request_state)
                 : WEIR_FAILED_PRECONDITION;
    state.batch.columns = nullptr;
    if (code != WEIR_OK) {
      CountFailure(plugin, "produce", code);
      continue;
    }
    state.request_states[plugin] = request_state;
    for (size_t a = 0; a < spec.columns.size(); ++a) {
      if (writes[a] != nullptr) state.columns[spec.columns[a]] = writes[a];
    }
  }
  return true;
}

Code Engine::RunProfiles(DecisionState& state) noexcept {
  const uint32_t count = static_cast<uint32_t>(pipeline_->profiles.size());
  std::array<uint32_t, kProfilesMax> states = {};
  std::array<uint32_t, kProfilesMax> slots = {};
  state.profiles = state.arena.AllocateArray<ProfileRun>(count);
  if (state.profiles == nullptr) return Code::kResourceExhausted;
  std::fill_n(state.profiles, count, ProfileRun{});
  const weir_profiles view{sizeof(weir_profiles), count, pipeline_->profile_names.data(),
                           states.data(), slots.data()};
  const uint32_t plugin = pipeline_->spec.profile_handler;
  const PluginInstance& handler = *pipeline_->instances[plugin];
  // Each round runs at least one profile that has not run, so this ends.
  for (uint32_t round = 0; round <= count; ++round) {
    uint64_t run = 0;
    state.call.plugin = plugin;
    state.call.survivors = nullptr;
    const weir_code code =
        handler.profile_handler()->next(handler.self(), &state.call, &state.request, &view, &run);
    if (code != WEIR_OK) {
      CountFailure(plugin, "next", code);
      state.refusal = kNoResult;
      return Code::kInternal;
    }
    bool ran = false;
    for (uint32_t p = 0; p < count; ++p) {
      if (((run >> p) & 1) == 0 || states[p] != WEIR_PROFILE_NOT_RUN) continue;
      ran = true;
      if (const Code result = RunProfile(p, state); result != Code::kOk) return result;
      states[p] = state.profiles[p].state;
      if (states[p] == WEIR_PROFILE_PICKED) {
        slots[p] = state.snapshot->members->slots[state.profiles[p].picks[0]];
      }
    }
    if (!ran) break;
  }
  uint32_t primary = count;
  state.refusal = kNoResult;
  state.call.plugin = plugin;
  const weir_code code = handler.profile_handler()->finish(handler.self(), &state.call,
                                                           &state.request, &view, &primary);
  if (code != WEIR_OK) {
    const bool dropped = std::any_of(states.begin(), states.begin() + count,
                                     [](uint32_t s) { return s == WEIR_PROFILE_FAILED; });
    if (dropped) {
      state.refusal = kAllDropped;
      return Code::kResourceExhausted;
    }
    CountFailure(plugin, "finish", code);
    return Code::kInternal;
  }
  if (primary >= count || states[primary] != WEIR_PROFILE_PICKED) {
    counters_[plugin].invalid_results.fetch_add(1, std::memory_order_relaxed);
    return Code::kInternal;
  }
  state.primary_profile = primary;
  state.refusal = kNoMemory;
  return Code::kOk;
}

Code Engine::RunProfile(uint32_t index, DecisionState& state) noexcept {
  const Pipeline::Profile& profile = pipeline_->profiles[index];
  ProfileRun& run = state.profiles[index];
  if (!Filter(profile, state, run)) return Code::kResourceExhausted;
  if (run.survivor_count == 0) {
    run.state = WEIR_PROFILE_FAILED;
    return Code::kOk;
  }
  if (state.any_endpoint) {
    PickAny(state, run);
    return Code::kOk;
  }
  weir_batch batch = state.batch;
  void** columns = state.columns;
  if (run.survivors != nullptr) {
    columns = state.arena.AllocateZeroed<void*>(pipeline_->spec.columns.size());
    if (columns == nullptr || !Compact(profile, state, run, &batch, columns)) {
      return Code::kResourceExhausted;
    }
  }
  if (!Score(profile, state, run, batch, columns)) return Code::kResourceExhausted;
  Pick(profile, state, run, batch, columns);
  run.state = run.pick_count > 0 ? WEIR_PROFILE_PICKED : WEIR_PROFILE_FAILED;
  return Code::kOk;
}

bool Engine::Filter(const Pipeline::Profile& profile, DecisionState& state,
                    ProfileRun& run) noexcept {
  const uint32_t count = state.batch.count;
  run.survivor_count = count;
  if (profile.filters.empty() && state.allowed == nullptr) return true;
  const uint32_t words = MaskWords(count);
  auto* keep = state.arena.AllocateArray<uint64_t>(words);
  auto* given = state.arena.AllocateArray<uint64_t>(words);
  run.dropped_by = state.arena.AllocateZeroed<uint8_t>(count);
  if (keep == nullptr || given == nullptr || run.dropped_by == nullptr) return false;
  SetAll(keep, count);
  if (state.allowed != nullptr) {
    std::copy_n(state.allowed, words, keep);
    run.survivor_count = CountBits(keep, count);
    for (uint32_t i = 0; i < count; ++i) {
      if (((keep[i / 64] >> (i % 64)) & 1) == 0) run.dropped_by[i] = kDroppedBySubset;
    }
  }
  BoundColumns bound;
  for (size_t f = 0; f < profile.filters.size() && run.survivor_count > 0; ++f) {
    const uint32_t plugin = profile.filters[f];
    const PluginInstance& instance = *pipeline_->instances[plugin];
    std::copy(keep, keep + words, given);
    state.call.plugin = plugin;
    state.call.survivors = nullptr;
    const bool bindable = BindColumns(plugin, state.columns, bound, state.batch);
    const weir_code code = bindable ? instance.filter()->apply(instance.self(), &state.call,
                                                               &state.request, &state.batch, keep)
                                    : WEIR_FAILED_PRECONDITION;
    state.batch.columns = nullptr;
    if (code != WEIR_OK) {
      CountFailure(plugin, "apply", code);
      std::copy(given, given + words, keep);
      continue;
    }
    bool set_bits = false;
    for (uint32_t w = 0; w < words; ++w) {
      set_bits |= (keep[w] & ~given[w]) != 0;
      keep[w] &= given[w];
      for (uint64_t dropped = given[w] & ~keep[w]; dropped != 0; dropped &= dropped - 1) {
        run.dropped_by[w * 64 + __builtin_ctzll(dropped)] = static_cast<uint8_t>(f + 1);
      }
    }
    if (set_bits) counters_[plugin].invalid_results.fetch_add(1, std::memory_order_relaxed);
    run.survivor_count = CountBits(keep, count);
  }
  if (run.survivor_count == count || run.survivor_count == 0) return true;
  auto* survivors = state.arena.AllocateArray<uint32_t>(run.survivor_count);
  if (survivors == nullptr) return false;
  ListBits(keep, count, survivors);
  run.survivors = survivors;
  return true;
}

// Scorers and pickers see the survivors only, as dense columns.
bool Engine::Compact(const Pipeline::Profile& profile, DecisionState& state, const ProfileRun& run,
                     weir_batch* batch, void** columns) noexcept {
  const uint32_t count = run.survivor_count;
  Arena& arena = state.arena;
  const auto gather = [&](auto** column) {
    const uint32_t bytes = sizeof(**column);
    void* dense = arena.Allocate(uint64_t{count} * bytes);
    if (dense == nullptr) return false;
    Gather(*column, run.survivors, count, bytes, dense);
    *column = static_cast<std::remove_reference_t<decltype(*column)>>(dense);
    return true;
  };
  batch->count = count;
  if (!gather(&batch->slots) || !gather(&batch->names) || !gather(&batch->addresses) ||
      !gather(&batch->waiting_requests) || !gather(&batch->running_requests) ||
      !gather(&batch->kv_used_ratio) || !gather(&batch->sample_age_ms) ||
      !gather(&batch->kv_block_tokens) || !gather(&batch->kv_block_count)) {
    return false;
  }
  for (const uint32_t column : profile.columns) {
    if (state.columns[column] == nullptr) continue;
    const uint32_t bytes = pipeline_->spec.columns[column].element_bytes;
    columns[column] = arena.Allocate(uint64_t{count} * bytes);
    if (columns[column] == nullptr) return false;
    Gather(state.columns[column], run.survivors, count, bytes, columns[column]);
  }
  return true;
}

bool Engine::Score(const Pipeline::Profile& profile, DecisionState& state, ProfileRun& run,
                   weir_batch& batch, void* const* columns) noexcept {
  const size_t scorer_count = profile.scorers.size();
  run.raw = state.arena.AllocateZeroed<double*>(scorer_count);
  run.nan_scores = state.arena.AllocateZeroed<uint32_t>(scorer_count);
  run.total = state.arena.AllocateZeroed<double>(batch.count);
  if (run.raw == nullptr || run.nan_scores == nullptr || run.total == nullptr) return false;
  BoundColumns bound;
  for (size_t s = 0; s < scorer_count; ++s) {
    const auto& [plugin, weight] = profile.scorers[s];
    const PluginInstance& instance = *pipeline_->instances[plugin];
    double* raw = state.arena.AllocateZeroed<double>(batch.count);
    if (raw == nullptr) return false;
    const bool bindable = BindColumns(plugin, columns, bound, batch);
    state.call.plugin = plugin;
    state.call.survivors = run.survivors;
    const weir_code code = bindable ? instance.scorer()->score(instance.self(), &state.call,
                                                               &state.request, &batch, raw)
                                    : WEIR_FAILED_PRECONDITION;
    if (code != WEIR_OK) {
      CountFailure(plugin, "score", code);
      continue;
    }
    run.raw[s] = raw;
    run.nan_scores[s] = Accumulate(raw, weight, batch.count, run.total);
    if (run.nan_scores[s] > 0) {
      counters_[plugin].invalid_results.fetch_add(run.nan_scores[s], std::memory_order_relaxed);
    }
  }
  return true;
}

// Draws one of the survivors, each as likely as the others.
void Engine::PickAny(DecisionState& state, ProfileRun& run) noexcept {
  const auto place = static_cast<uint32_t>(state.call.Draw() * run.survivor_count);
  run.picks[0] = run.survivors == nullptr ? place : run.survivors[place];
  run.pick_count = 1;
  run.state = WEIR_PROFILE_PICKED;
}

void Engine::Pick(const Pipeline::Profile& profile, DecisionState& state, ProfileRun& run,
                  weir_batch& batch, void* const* columns) noexcept {
  const PluginInstance& instance = *pipeline_->instances[profile.picker];
  std::array<uint32_t, kTargetsMax> picked = {};
  uint32_t picked_count = 0;
  BoundColumns bound;
  const bool bindable = BindColumns(profile.picker, columns, bound, batch);
  state.call.plugin = profile.picker;
  state.call.survivors = run.survivors;
  const weir_code code =
      bindable ? instance.picker()->pick(instance.self(), &state.call, &state.request, &batch,
                                         run.total, picked.data(), kTargetsMax, &picked_count)
               : WEIR_FAILED_PRECONDITION;
  if (code != WEIR_OK) {
    CountFailure(profile.picker, "pick", code);
    return;
  }
  uint32_t invalid = picked_count > kTargetsMax ? 1 : 0;
  for (uint32_t i = 0; i < std::min(picked_count, kTargetsMax); ++i) {
    if (picked[i] >= batch.count) {
      ++invalid;
      continue;
    }
    const uint32_t endpoint = run.survivors == nullptr ? picked[i] : run.survivors[picked[i]];
    const auto end = run.picks.begin() + run.pick_count;
    if (std::find(run.picks.begin(), end, endpoint) != end) {
      ++invalid;
      continue;
    }
    run.picks[run.pick_count++] = endpoint;
  }
  if (invalid > 0) {
    counters_[profile.picker].invalid_results.fetch_add(invalid, std::memory_order_relaxed);
  }
}

bool Engine::Conclude(DecisionState& state) noexcept {
  const ProfileRun& run = state.profiles[state.primary_profile];
  const Membership& members = *state.snapshot->members;
  size_t header_bytes = 0;
  for (uint32_t i = 0; i < run.pick_count; ++i) {
    const Membership::Row& row = members.rows[run.picks[i]];
    state.targets[i] = {run.picks[i], row.id, row.full_name, row.address};
    header_bytes += row.address.size() + 1;
  }
  state.target_count = run.pick_count;
  char* value = state.arena.AllocateArray<char>(header_bytes);
  if (value == nullptr) return false;
  char* next = value;
  for (const Target& target : state.chosen()) {
    if (next != value) *next++ = ',';
    next = std::copy(target.address.begin(), target.address.end(), next);
  }
  state.headers[0] = {kDestinationHeader, {value, static_cast<size_t>(next - value)}};
  return true;
}

void Engine::Observe(const Request& request, DecisionState& state, Code code) noexcept {
  const uint32_t count = state.prepared ? state.batch.count : 0;
  Prompt* prompts = state.arena.AllocateArray<Prompt>(request.prompts.size());
  if (prompts == nullptr) return;
  std::copy(request.prompts.begin(), request.prompts.end(), prompts);
  for (size_t p = 0; state.prepared && p < request.prompts.size(); ++p) {
    if (state.prompts[p].tokens == nullptr) continue;
    prompts[p].tokens = {state.prompts[p].tokens, state.prompts[p].token_count};
  }
  std::array<DecisionObservation::Profile, kProfilesMax> profiles;
  std::array<double, size_t{kProfilesMax} * kTargetsMax> scores;
  uint32_t profile_count = 0;
  for (uint32_t p = 0; state.profiles != nullptr && p < pipeline_->profiles.size(); ++p) {
    const ProfileRun& run = state.profiles[p];
    if (run.state == WEIR_PROFILE_NOT_RUN) continue;
    double* const of_picks = &scores[size_t{profile_count} * kTargetsMax];
    for (uint32_t i = 0; i < run.pick_count; ++i) {
      const uint32_t* const end = run.survivors + run.survivor_count;
      const auto place = run.survivors == nullptr
                             ? run.picks[i]
                             : std::lower_bound(run.survivors, end, run.picks[i]) - run.survivors;
      of_picks[i] = run.total == nullptr ? 0 : run.total[place];
    }
    profiles[profile_count++] = {p,
                                 run.state == WEIR_PROFILE_FAILED,
                                 {run.picks.data(), run.pick_count},
                                 {of_picks, run.pick_count}};
  }
  state.record = options_.recorder->OnDecision({.request = request,
                                                .prompts = {prompts, request.prompts.size()},
                                                .snapshot = *state.snapshot,
                                                .snapshot_given = state.snapshot_given,
                                                .sent_requests = {state.unseen, count},
                                                .sent_tokens = {state.unseen_tokens, count},
                                                .now_ns = state.now_ns,
                                                .seed = state.seed,
                                                .draws = state.call.draws,
                                                .code = code,
                                                .primary_profile = state.primary_profile,
                                                .profiles = {profiles.data(), profile_count}});
}

}  // namespace weir::internal
