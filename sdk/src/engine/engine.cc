#include "engine/engine.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/fork_salt.h"
#include "weir/decision_recorder.h"

namespace weir::internal {
namespace {

// A decision that needed more scratch memory gives it back: few do, and each could keep the most
// that one may have.
constexpr uint64_t kArenaBytesKept = 1 << 20;

RouterNeeds NeedsOf(const Pipeline& pipeline) {
  RouterNeeds needs;
  std::set<uint32_t> used(pipeline.spec.producers.begin(), pipeline.spec.producers.end());
  for (const Pipeline::Profile& profile : pipeline.profiles) {
    used.insert(profile.filters.begin(), profile.filters.end());
    for (const Pipeline::Scorer& scorer : profile.scorers) used.insert(scorer.plugin);
    used.insert(profile.picker);
  }
  for (const uint32_t plugin : used) {
    const weir_plugin& type = pipeline.instances[plugin]->plugin();
    uint64_t load = WEIR_HAS(weir_plugin, &type, load_columns) ? type.load_columns : 0;
    if (load == 0) load = ~uint64_t{0};
    needs.waiting_requests |= (load & WEIR_LOAD_WAITING_REQUESTS) != 0;
    needs.running_requests |= (load & WEIR_LOAD_RUNNING_REQUESTS) != 0;
    needs.kv_used_ratio |= (load & WEIR_LOAD_KV_USED_RATIO) != 0;
    needs.kv_blocks |= (load & WEIR_LOAD_KV_BLOCKS) != 0;
    needs.adapters |= (load & WEIR_LOAD_ADAPTERS) != 0;
  }
  for (const uint32_t plugin : pipeline.spec.data_layer) {
    const PluginSpec& spec = pipeline.spec.plugins[plugin];
    needs.data_layer.push_back({spec.type, spec.name, spec.parameters.ToJson()});
  }
  for (const uint32_t index : pipeline.scraped_columns) {
    const ColumnSpec& column = pipeline.spec.columns[index];
    needs.attributes.push_back({column.name, column.producer_name});
  }
  for (const PluginSpec& plugin : pipeline.spec.plugins) {
    needs.report_served_endpoint |= plugin.type == "destination-endpoint-served-verifier";
  }
  needs.discovery_plugin = pipeline.spec.discovery_plugin;
  needs.resources_file = pipeline.spec.resources_file;
  return needs;
}

}  // namespace

Engine::Engine(const RouterOptions& options, const Resources& resources)
    : options_(options),
      clock_(options.clock == nullptr ? SystemClock() : *options.clock),
      pool_(clock_, [this](uint32_t slot) { SlotFreed(slot); }),
      resources_(resources),
      next_seed_(options.seed != 0 ? options.seed : static_cast<uint64_t>(clock_.now_ns())),
      recorded_(new std::atomic<DecisionState*>[std::max(1u, options.decisions_kept)]()) {
  WatchForks();
}

absl::StatusOr<std::shared_ptr<Engine>> Engine::Create(std::string_view text,
                                                       const std::string& name,
                                                       const RouterOptions& options) {
  if (options.decisions_kept > kDecisionsKeptMax) {
    return absl::InvalidArgumentError(absl::StrCat("decisions_kept: ", options.decisions_kept,
                                                   ", expected 0..", kDecisionsKeptMax));
  }
  PluginRegistry registry = PluginRegistry::WithBuiltins();
  for (const std::string& file : options.plugin_files) {
    if (absl::Status status = registry.LoadFile(file); !status.ok()) return status;
  }
  for (const weir_module* module : options.plugin_modules) {
    if (absl::Status status = registry.AddModule(module, "this process"); !status.ok()) {
      return status;
    }
  }
  absl::StatusOr<PipelineSpec> spec = LoadPipelineSpec(text, name, registry, options);
  if (!spec.ok()) return spec.status();

  std::shared_ptr<Engine> engine(new Engine(options, spec->resources));
  static_cast<weir_host&>(engine->host_) = ParamHost();
  SetHotSlots(&engine->host_);
  engine->host_.engine = engine.get();
  engine->host_.log = [](const weir_host* host, uint32_t level, weir_str line) {
    const std::string_view text(line.data, std::min<uint64_t>(line.size, 1024));
    static_cast<const Host*>(host)->engine->Log(
        static_cast<LogLevel>(std::min<uint32_t>(level, WEIR_LOG_ERROR)), text);
  };
  auto pipeline = Pipeline::Create(*std::move(spec), engine->host_);
  if (!pipeline.ok()) return pipeline.status();
  engine->pipeline_ = *std::move(pipeline);
  engine->counters_.reset(new PluginCounters[engine->pipeline_->instances.size()]);
  engine->needs_ = NeedsOf(*engine->pipeline_);
  if (const size_t count = engine->needs_.attributes.size(); count > 0) {
    engine->pool_.DeclareAttributes(static_cast<uint32_t>(count));
  }
  for (const std::string& warning : engine->pipeline_->spec.warnings) {
    engine->Log(LogLevel::kWarning, warning);
  }
  if (options.recorder != nullptr) {
    const auto attribute_count = static_cast<uint32_t>(engine->needs_.attributes.size());
    const RouterDescription router{name, text, options, attribute_count};
    if (absl::Status status = options.recorder->Start(router); !status.ok()) return status;
  }
  return engine;
}

Engine::~Engine() = default;

absl::StatusOr<DecisionState*> Engine::DecideNow(const Request& request) {
  uint64_t mixed = next_seed_.fetch_add(1, std::memory_order_relaxed);
  if (options_.seed == 0) mixed ^= fork_salt.load(std::memory_order_relaxed) << 32;
  return Decide(request, nullptr, clock_.now_ns(), SplitMix64(mixed));
}

absl::StatusOr<DecisionState*> Engine::Decide(const Request& request,
                                              std::shared_ptr<const Snapshot> snapshot,
                                              int64_t now_ns, uint64_t seed, const SentLoad& sent) {
  DecisionState* state = decisions_.Take();
  if (state == nullptr) {
    return absl::ResourceExhaustedError("too many decisions exist at one time, or memory ran out");
  }
  state->engine = this;
  state->arena.Reset();
  if (snapshot != nullptr) {
    state->snapshot = std::move(snapshot);
    state->snapshot_given = true;
  } else if (state->snapshot == nullptr || state->snapshot->version_number != pool_.version()) {
    state->snapshot = pool_.Current();
    state->snapshot_given = false;
  }
  state->call = {{sizeof(weir_call), 0, &host_, now_ns},
                 state,
                 /*plugin=*/0,
                 /*survivors=*/nullptr,
                 &state->arena,
                 Random(seed)};
  state->now_ns = now_ns;
  state->seed = seed;
  state->target_count = 0;
  state->given_sent = sent;
  state->prepared = false;
  state->profiles = nullptr;
  state->record = 0;
  decision_count_.fetch_add(1, std::memory_order_relaxed);
  const Code code = Run(request, *state);
  if (options_.recorder != nullptr) Observe(request, *state, code);
  if (code == Code::kOk) return state;
  if (code == Code::kUnavailable) no_endpoint_count_.fetch_add(1, std::memory_order_relaxed);
  if (code == Code::kResourceExhausted) all_dropped_count_.fetch_add(1, std::memory_order_relaxed);
  const std::string_view refusal = state->refusal;
  Release(state);
  return absl::Status(static_cast<absl::StatusCode>(code), {refusal.data(), refusal.size()});
}

void Engine::Release(DecisionState* state) noexcept {
  if (state->arena.bytes_held() > kArenaBytesKept) state->arena.Free();
  // It may lie for hours before it is taken again.
  if (state->snapshot_given || state->snapshot->version_number != pool_.version()) {
    state->snapshot.reset();
  }
  decisions_.Return(state);
}

FlightState* Engine::Begin(const DecisionState& state, uint32_t target_index) noexcept {
  if (WEIR_BUG_IF(target_index >= state.target_count)) return nullptr;
  FlightState* flight = flights_.Take();
  if (flight == nullptr) {
    flights_refused_.fetch_add(1, std::memory_order_relaxed);
    return nullptr;
  }
  flight->engine = this;
  flight->first_token_seen = false;
  flight->observed = false;
  flight->record = state.record == 0
                       ? 0
                       : options_.recorder->OnBegin(state.record, target_index, clock_.now_ns());
  flight->observer_bytes.fill(std::byte{0});
  std::array<uint32_t, kProfilesMax> slots, indices;
  std::array<weir_str, kProfilesMax> names;
  uint32_t count = 0;
  int64_t tokens = 0;
  for (uint64_t p = 0; p < state.request.prompt_count; ++p) tokens += state.prompts[p].token_count;
  const auto tokens32 = static_cast<int32_t>(std::min<int64_t>(tokens, 1 << 24));
  const Membership& members = *state.snapshot->members;
  flight->share_count = 0;
  // An endpoint removed since the decision is not counted: its slot may be another's by now, and
  // nothing that observers note there would ever be taken back.
  const auto add = [&](uint32_t profile, uint32_t endpoint) {
    const SlotShare share = pool_.live_load().Begin(members.ids[endpoint], tokens32);
    if (!share.counted) return;
    flight->shares[flight->share_count++] = share;
    indices[count] = endpoint;
    slots[count] = members.slots[endpoint];
    names[count] = pipeline_->profile_names[profile];
    ++count;
  };
  flights_begun_.fetch_add(1, std::memory_order_relaxed);
  add(state.primary_profile, state.targets[target_index].endpoint_index);
  if (count == 0) return flight;
  flight->observed = true;
  for (uint32_t p = 0; p < pipeline_->profiles.size(); ++p) {
    if (p != state.primary_profile && state.profiles[p].state == WEIR_PROFILE_PICKED) {
      add(p, state.profiles[p].picks[0]);
    }
  }
  TellBegun(state, {sizeof(weir_choice), count, slots.data(), indices.data(), names.data()},
            *flight);
  return flight;
}

// Others may begin the same decision or read it meanwhile, so nothing of it is written.
void Engine::TellBegun(const DecisionState& state, const weir_choice& choice,
                       FlightState& flight) noexcept {
  CallState call = {{sizeof(weir_call), 0, &host_, state.now_ns}, &state};
  call.random = Random(~state.seed);
  weir_batch batch = state.batch;
  BoundColumns bound;
  for (const auto& [plugin, offset] : pipeline_->observers) {
    const PluginInstance& instance = *pipeline_->instances[plugin];
    if (instance.observer()->begin == nullptr) continue;
    call.plugin = plugin;
    BindColumns(plugin, state.columns, bound, batch);  // told in any case: an end will follow
    instance.observer()->begin(instance.self(), &call, &state.request, &batch, &choice,
                               state.request_states[plugin], &flight.observer_bytes[offset]);
  }
}

void Engine::FirstToken(FlightState* flight) noexcept {
  if (flight->first_token_seen) return;
  flight->first_token_seen = true;
  if (flight->record != 0) options_.recorder->OnFirstToken(flight->record, clock_.now_ns());
  if (!flight->observed) return;
  for (const auto& [plugin, offset] : pipeline_->observers) {
    const PluginInstance& instance = *pipeline_->instances[plugin];
    if (instance.observer()->first_token == nullptr) continue;
    instance.observer()->first_token(instance.self(), &flight->observer_bytes[offset]);
  }
}

void Engine::Finish(FlightState* flight, const Usage& usage, End end) noexcept {
  if (flight->record != 0) options_.recorder->OnEnd(flight->record, clock_.now_ns(), usage, end);
  const weir_usage report{sizeof(weir_usage), static_cast<uint32_t>(end), usage.prompt_tokens,
                          usage.cached_tokens, usage.output_tokens};
  for (const auto& [plugin, offset] : pipeline_->observers) {
    const PluginInstance& instance = *pipeline_->instances[plugin];
    if (!flight->observed || instance.observer()->end == nullptr) continue;
    instance.observer()->end(instance.self(), &flight->observer_bytes[offset], &report);
  }
  for (uint32_t i = 0; i < flight->share_count; ++i) pool_.live_load().End(flight->shares[i]);
  flights_ended_.fetch_add(1, std::memory_order_relaxed);
  flights_.Return(flight);
}

void Engine::Record(DecisionState* state) noexcept {
  if (options_.decisions_kept == 0) {
    Release(state);
    return;
  }
  const uint64_t place = next_record_.fetch_add(1, std::memory_order_relaxed);
  DecisionState* old = recorded_[place % options_.decisions_kept].exchange(state);
  if (old != nullptr) Release(old);
}

std::vector<Explanation> Engine::RecentDecisions() {
  std::vector<Explanation> explanations;
  const uint64_t next = next_record_.load();
  for (uint32_t back = 1; back <= options_.decisions_kept && back <= next; ++back) {
    std::atomic<DecisionState*>& place = recorded_[(next - back) % options_.decisions_kept];
    // Taken out while it is read; if a newer one came meanwhile, this one goes back to the list.
    DecisionState* state = place.exchange(nullptr);
    if (state == nullptr) continue;
    explanations.push_back(Explain(*state));
    DecisionState* empty = nullptr;
    if (!place.compare_exchange_strong(empty, state)) Release(state);
  }
  return explanations;
}

RouterStats Engine::Stats() {
  RouterStats stats;
  stats.decisions = decision_count_.load(std::memory_order_relaxed);
  stats.decisions_no_endpoint = no_endpoint_count_.load(std::memory_order_relaxed);
  stats.decisions_all_dropped = all_dropped_count_.load(std::memory_order_relaxed);
  stats.flights_begun = flights_begun_.load(std::memory_order_relaxed);
  stats.flights_ended = flights_ended_.load(std::memory_order_relaxed);
  stats.flights_refused = flights_refused_.load(std::memory_order_relaxed);
  stats.memory_bytes = uint64_t{decisions_.size()} * sizeof(DecisionState) +
                       uint64_t{flights_.size()} * sizeof(FlightState);
  for (uint32_t i = 0; i < decisions_.size(); ++i) {
    stats.memory_bytes += decisions_.At(i).arena.bytes_held();
  }
  for (size_t p = 0; p < pipeline_->instances.size(); ++p) {
    RouterStats::Plugin& plugin = stats.plugins.emplace_back();
    plugin.name = pipeline_->spec.plugins[p].name;
    plugin.type = pipeline_->spec.plugins[p].type;
    plugin.failures = counters_[p].failures.load(std::memory_order_relaxed);
    plugin.invalid_results = counters_[p].invalid_results.load(std::memory_order_relaxed);
    for (const auto& counter : counters_[p].own) {
      plugin.counters.push_back(counter.load(std::memory_order_relaxed));
    }
  }
  return stats;
}

std::string Engine::Describe() const {
  const PipelineSpec& spec = pipeline_->spec;
  std::string text = absl::StrCat("pipeline ", spec.file, "\n");
  const auto name = [&](uint32_t plugin) {
    const PluginSpec& one = spec.plugins[plugin];
    std::string described = one.name;
    if (one.name != one.type) absl::StrAppend(&described, " (", one.type, ")");
    if (one.added) absl::StrAppend(&described, " [added]");
    return described;
  };
  for (const uint32_t plugin : spec.producers) {
    absl::StrAppend(&text, "  producer ", name(plugin), "\n");
  }
  absl::StrAppend(&text, "  profile handler ", name(spec.profile_handler), "\n");
  for (const Pipeline::Profile& profile : pipeline_->profiles) {
    absl::StrAppend(&text, "  profile ", profile.name, "\n");
    for (const uint32_t filter : profile.filters) {
      absl::StrAppend(&text, "    filter ", name(filter), "\n");
    }
    for (const Pipeline::Scorer& scorer : profile.scorers) {
      absl::StrAppend(&text, "    scorer ", name(scorer.plugin), " weight ", scorer.weight, "\n");
    }
    absl::StrAppend(&text, "    picker ", name(profile.picker), "\n");
  }
  if (!spec.resources.objectives.empty() || !spec.resources.rewrites.empty()) {
    absl::StrAppend(&text, "  objectives ", spec.resources.objectives.size(), ", model rewrites ",
                    spec.resources.rewrites.size(), "\n");
  }
  if (spec.resources_file.has_value()) {
    absl::StrAppend(&text, "  resources file ", spec.resources_file->path,
                    spec.resources_file->watch_file ? " [watched]" : "", "\n");
  }
  return text;
}

void Engine::CountPlugin(uint32_t plugin, uint32_t counter, uint64_t delta) noexcept {
  if (counter < kPluginCountersMax) {
    counters_[plugin].own[counter].fetch_add(delta, std::memory_order_relaxed);
  }
}

void Engine::CountFailure(uint32_t plugin, std::string_view call, weir_code code) noexcept {
  if (counters_[plugin].failures.fetch_add(1, std::memory_order_relaxed) != 0) return;
  const std::string_view name =
      std::string_view(pipeline_->spec.plugins[plugin].name).substr(0, kNameBytesMax);
  const std::string_view code_name = CodeName(static_cast<Code>(code));
  std::array<char, 1024> text;  // this is hot, and memory may be what the plugin lacked
  const int size =
      std::snprintf(text.data(), text.size(),
                    "plugin \"%.*s\": %.*s failed with %.*s; later failures are only counted",
                    static_cast<int>(name.size()), name.data(), static_cast<int>(call.size()),
                    call.data(), static_cast<int>(code_name.size()), code_name.data());
  Log(LogLevel::kError, {text.data(), std::min<size_t>(size, text.size() - 1)});
}

void Engine::Log(LogLevel level, std::string_view text) const {
  if (options_.log) options_.log(level, text);
}

void Engine::SlotFreed(uint32_t slot) noexcept {
  if (pipeline_ == nullptr) return;
  for (const auto& [plugin, offset] : pipeline_->observers) {
    const PluginInstance& instance = *pipeline_->instances[plugin];
    if (instance.observer()->endpoint_removed == nullptr) continue;
    instance.observer()->endpoint_removed(instance.self(), slot);
  }
}

}  // namespace weir::internal
