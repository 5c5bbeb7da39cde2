#include "weir/sim/fleet.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <queue>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

namespace weir::sim {
namespace {

constexpr uint32_t kEventsPerQuestion = 1024;  // between two calls of keep_going

class Loop final : public ClusterObserver {
 public:
  Loop(const FleetOptions& options, const Workload& workload, const Router& router,
       ManualClock& clock, const FleetHooks& hooks)
      : options_(options),
        workload_(workload),
        router_(router),
        clock_(clock),
        hooks_(hooks),
        clock_start_ns_(clock.now_ns()),
        flights_(workload.size()),
        cached_groups_(options.cluster.engine_count) {}

  absl::Status Start();
  absl::Status Run();
  FleetRun TakeRun();

  void OnToken(uint32_t /*engine*/, const TokenReport& token) override {
    if (token.index == 0) flights_[token.id].FirstToken();
  }
  void OnFinished(uint32_t engine, const FinishReport& finish) override;
  void OnBlocksStored(uint32_t engine, const StoreReport& store) override;
  void OnBlockRemoved(uint32_t engine, int64_t /*at_ns*/, BlockHash hash) override;
  void OnScrape(uint32_t engine, const EngineStats& stats, int64_t sampled_ns) override;

 private:
  using Arrival = std::pair<int64_t, uint32_t>;  // time, request

  void Arrive(uint32_t index);
  absl::StatusOr<uint32_t> Place(uint32_t index);
  void End(uint32_t index, int64_t at_ns);
  void KeepSample(const LoadSample& sample);

  const FleetOptions& options_;
  const Workload& workload_;
  const Router& router_;
  ManualClock& clock_;
  const FleetHooks& hooks_;
  const int64_t clock_start_ns_;
  std::unique_ptr<Cluster> cluster_;
  std::vector<EndpointId> endpoints_;
  absl::flat_hash_map<uint64_t, uint32_t> server_of_slot_;
  std::priority_queue<Arrival, std::vector<Arrival>, std::greater<>> arrivals_;
  std::vector<Flight> flights_;
  uint32_t unfinished_ = 0;
  uint64_t samples_seen_ = 0;
  uint64_t sample_stride_ = 1;  // rounds of scrapes per round that is kept
  std::vector<absl::flat_hash_map<BlockHash, uint32_t>> cached_groups_;  // by server
  FleetRun run_;
};

absl::Status Loop::Start() {
  auto cluster = Cluster::Create(options_.cluster, *this);
  if (!cluster.ok()) return cluster.status();
  cluster_ = *std::move(cluster);
  run_.server_count = cluster_->engine_count();
  run_.group_count = workload_.group_count();
  run_.records.resize(workload_.size());
  run_.cached_tokens.resize(size_t{run_.server_count} * run_.group_count);

  // Emptied first: what the router remembers of an earlier fleet must not count for this one.
  if (absl::Status status = router_.pool().Replace({}); !status.ok()) return status;
  for (uint32_t i = 0; i < run_.server_count; ++i) {
    const auto added = router_.pool().Upsert(
        {.name = absl::StrCat(options_.name_prefix, i),
         .address = absl::StrCat("10.", i >> 16, ".", i >> 8 & 255, ".", i & 255, ":8000")});
    if (!added.ok()) return added.status();
    endpoints_.push_back(*added);
    server_of_slot_[added->slot] = i;
  }
  for (uint32_t i = 0; i < workload_.size(); ++i) {
    const Workload::Entry& entry = workload_.entries()[i];
    if (entry.follows == kNone) arrivals_.emplace(entry.arrival_ns, i);
  }
  unfinished_ = workload_.size();
  return absl::OkStatus();
}

absl::Status Loop::Run() {
  for (uint64_t event = 0; unfinished_ > 0; ++event) {
    if (hooks_.keep_going && event % kEventsPerQuestion == 0 && !hooks_.keep_going()) {
      return absl::CancelledError("the run was interrupted");
    }
    int64_t next_ns = cluster_->NextEventTime();
    if (!arrivals_.empty()) next_ns = std::min(next_ns, arrivals_.top().first);
    clock_.Set(clock_start_ns_ + next_ns);
    cluster_->AdvanceTo(next_ns);
    while (!arrivals_.empty() && arrivals_.top().first <= next_ns) {
      const uint32_t index = arrivals_.top().second;
      arrivals_.pop();
      Arrive(index);
    }
  }
  return absl::OkStatus();
}

FleetRun Loop::TakeRun() {
  const uint32_t block_tokens = cluster_->engine(0).options().block_tokens;
  for (uint32_t server = 0; server < run_.server_count; ++server) {
    for (const auto& [hash, group] : cached_groups_[server]) {
      run_.cached_tokens[size_t{server} * run_.group_count + group] += block_tokens;
    }
  }
  return std::move(run_);
}

void Loop::Arrive(uint32_t index) {
  FleetRecord& record = run_.records[index];
  record.arrival_ns = cluster_->now_ns();
  const absl::StatusOr<uint32_t> server = Place(index);
  if (server.ok()) return;
  if (run_.first_failure.empty()) run_.first_failure = std::string(server.status().message());
  End(index, record.arrival_ns);
}

// Decides and submits. Returns the server.
absl::StatusOr<uint32_t> Loop::Place(uint32_t index) {
  const Workload::Entry& entry = workload_.entries()[index];
  FleetRecord& record = run_.records[index];
  const std::string id = absl::StrCat(index);
  const std::string session = entry.session == kNone ? id : absl::StrCat(entry.session);
  const std::string group = absl::StrCat(entry.group);
  const std::array<Header, 2> headers = {Header{"x-session-id", session}, {"x-group", group}};
  const Prompt prompt{.parts = {}, .tokens = workload_.prompt(index)};
  Request request;
  request.api = Api::kGenerate;
  request.id = id;
  request.model = options_.model;
  request.stream = true;
  request.max_output_tokens = entry.output_tokens;
  request.size_bytes = prompt.tokens.size_bytes();
  request.headers = headers;
  request.prompts = {&prompt, 1};

  absl::StatusOr<Decision> decision = router_.Decide(request);
  if (!decision.ok()) return decision.status();
  const auto server = server_of_slot_.find(decision->primary().id.slot);
  if (server == server_of_slot_.end() ||
      endpoints_[server->second] != decision->primary().id) {  // a plugin changed the pool
    return absl::InternalError(
        absl::StrCat("endpoint ", std::string(decision->primary().name), ": not of this fleet"));
  }
  record.outcome = Outcome::kRejected;
  record.server = server->second;
  flights_[index] = router_.Begin(*decision);
  decision->ReleaseRequest();

  const std::span<const uint32_t> answer = workload_.answer(index);
  const absl::Status submitted = cluster_->Submit(
      record.server, {.id = index,
                      .prompt_tokens = {prompt.tokens.begin(), prompt.tokens.end()},
                      .output_tokens = {answer.begin(), answer.end()}});
  if (hooks_.on_decision) {
    hooks_.on_decision(index, *std::move(decision));
  } else {
    router_.Record(*std::move(decision));
  }
  if (!submitted.ok()) {
    flights_[index].Finish({}, weir::End::kFailed);
    return submitted;
  }
  return record.server;
}

void Loop::OnFinished(uint32_t /*engine*/, const FinishReport& finish) {
  const auto index = static_cast<uint32_t>(finish.id);
  FleetRecord& record = run_.records[index];
  record.outcome = Outcome::kServed;
  record.first_token_ns = finish.first_token_ns;
  record.cached_tokens = finish.cached_tokens;
  record.output_tokens = finish.output_tokens;
  flights_[index].Finish({.prompt_tokens = finish.prompt_tokens,
                          .cached_tokens = finish.cached_tokens,
                          .output_tokens = finish.output_tokens});
  End(index, finish.at_ns);
}

// The session goes on, whatever became of this request.
void Loop::End(uint32_t index, int64_t at_ns) {
  run_.records[index].end_ns = at_ns;
  run_.end_ns = std::max(run_.end_ns, at_ns);
  --unfinished_;
  const uint32_t next = workload_.entries()[index].followed_by;
  if (next == kNone) return;
  const Workload::Entry& entry = workload_.entries()[next];
  arrivals_.emplace(std::max(entry.arrival_ns, at_ns + entry.pause_ns), next);
}

void Loop::OnBlocksStored(uint32_t engine, const StoreReport& store) {
  const uint32_t group = workload_.entries()[store.id].group;
  for (const BlockHash hash : store.hashes) cached_groups_[engine].try_emplace(hash, group);
}

void Loop::OnBlockRemoved(uint32_t engine, int64_t /*at_ns*/, BlockHash hash) {
  cached_groups_[engine].erase(hash);
}

void Loop::OnScrape(uint32_t engine, const EngineStats& stats, int64_t sampled_ns) {
  const double used_ratio =
      stats.block_count == 0 ? 0 : static_cast<double>(stats.used_blocks) / stats.block_count;
  const MetricsUpdate update{
      .id = endpoints_[engine],
      .metrics = {.waiting_requests = stats.waiting_requests,
                  .running_requests = stats.running_requests,
                  .kv_used_ratio = used_ratio,
                  .kv_block_tokens = cluster_->engine(engine).options().block_tokens,
                  .kv_block_count = stats.block_count}};
  router_.pool().SampleStarted(update.id);
  router_.pool().ApplySamples({&update, 1});
  KeepSample({.time_ns = sampled_ns,
              .server = engine,
              .waiting_requests = stats.waiting_requests,
              .running_requests = stats.running_requests,
              .kv_used_ratio = static_cast<float>(used_ratio)});
}

// Keeps whole rounds of scrapes, so that all servers have samples of the same times.
void Loop::KeepSample(const LoadSample& sample) {
  const uint64_t round = samples_seen_++ / run_.server_count;
  if (round % sample_stride_ != 0) return;
  if (run_.samples.size() >= kLoadSamplesMax) {
    size_t kept = 0;
    for (size_t i = 0; i < run_.samples.size(); ++i) {
      if (i / run_.server_count % 2 == 0) run_.samples[kept++] = run_.samples[i];
    }
    run_.samples.resize(kept);
    sample_stride_ *= 2;
    if (round % sample_stride_ != 0) return;
  }
  run_.samples.push_back(sample);
}

}  // namespace

absl::StatusOr<FleetRun> RunFleet(const FleetOptions& options, const Workload& workload,
                                  const Router& router, ManualClock& clock,
                                  const FleetHooks& hooks) {
  if (workload.size() == 0) {
    return absl::InvalidArgumentError("workload: no requests, expected one or more");
  }
  if (options.cluster.scrape_delay_ns != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("scrape_delay_ns: ", options.cluster.scrape_delay_ns,
                     ", expected 0: a fleet's samples come at once"));
  }
  const uint64_t cells = uint64_t{options.cluster.engine_count} * workload.group_count();
  if (cells > kCacheMapCellsMax) {
    return absl::InvalidArgumentError(absl::StrCat("engine_count times groups: ", cells,
                                                   ", expected at most ", kCacheMapCellsMax));
  }
  Loop loop(options, workload, router, clock, hooks);
  if (absl::Status status = loop.Start(); !status.ok()) return status;
  if (absl::Status status = loop.Run(); !status.ok()) return status;
  return loop.TakeRun();
}

}  // namespace weir::sim
