#include "weir/io/decision_log/replayer.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weir/random.h"

namespace weir::io {
namespace {

std::pair<std::string, std::string> SplitName(const std::string& full_name) {
  const size_t slash = full_name.find('/');
  if (slash == std::string::npos) return {"", full_name};
  return {full_name.substr(0, slash), full_name.substr(slash + 1)};
}

bool SamePicks(const std::vector<LoggedDecision::Pick>& a,
               const std::vector<LoggedDecision::Pick>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return x.row == y.row; });
}

bool SameScores(const std::vector<LoggedDecision::Profile>& a,
                const std::vector<LoggedDecision::Profile>& b) {
  const auto same_pick = [](const LoggedDecision::Pick& x, const LoggedDecision::Pick& y) {
    return x.row == y.row && std::bit_cast<uint64_t>(x.score) == std::bit_cast<uint64_t>(y.score);
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](const auto& x, const auto& y) {
    return x.index == y.index && x.failed == y.failed &&
           std::equal(x.picks.begin(), x.picks.end(), y.picks.begin(), y.picks.end(), same_pick);
  });
}

const std::vector<LoggedDecision::Pick>* PicksOf(
    const std::vector<LoggedDecision::Profile>& profiles, uint32_t index) {
  for (const auto& profile : profiles) {
    if (profile.index == index) return &profile.picks;
  }
  return nullptr;
}

// As many tokens, equal to those of another prompt exactly where its blocks have the same hashes.
void MakeTokens(const LoggedPrompt& prompt, uint32_t block_tokens, std::vector<uint32_t>* tokens) {
  tokens->resize(prompt.token_count);
  uint64_t state = 0;
  for (size_t i = 0; i < tokens->size(); ++i) {
    const size_t block = i / block_tokens;
    if (i % block_tokens == 0 && block < prompt.block_hashes.size()) {
      state = prompt.block_hashes[block];
    }
    (*tokens)[i] = static_cast<uint32_t>(SplitMix64(state));
  }
}

}  // namespace

DecisionReplayer::DecisionReplayer(const LogHeader& header, const ReplayOptions& options)
    : options_(options), prompt_block_tokens_(std::max(1u, header.prompt_block_tokens)) {}

DecisionReplayer::~DecisionReplayer() = default;

absl::StatusOr<std::unique_ptr<DecisionReplayer>> DecisionReplayer::Create(
    const LogHeader& header, const ReplayOptions& options) {
  std::unique_ptr<DecisionReplayer> replayer(new DecisionReplayer(header, options));
  const RouterOptions router{.count_unscraped_requests = header.count_unscraped_requests,
                             .unscraped = header.unscraped,
                             .sample_age_ns_max = header.sample_age_ns_max,
                             .allow_experimental_plugins = header.allow_experimental_plugins,
                             .plugin_files = header.plugin_files,
                             .seed = 1,
                             .clock = &replayer->clock_,
                             .log = options.log,
                             .recorder = replayer.get(),
                             .decisions_kept = 0};
  const bool own = options.pipeline_text.empty();
  auto made = Router::FromText(own ? header.pipeline_text : options.pipeline_text,
                               own ? header.pipeline_name : options.pipeline_name, router);
  if (!made.ok()) return made.status();
  replayer->router_ = *std::move(made);
  return replayer;
}

absl::StatusOr<const ReplayedDecision*> DecisionReplayer::Apply(const LogRecord& record) {
  if (const auto* delta = std::get_if<PoolDelta>(&record)) {
    if (absl::Status status = ApplyPool(*delta); !status.ok()) return status;
  } else if (const auto* decision = std::get_if<LoggedDecision>(&record)) {
    if (absl::Status status = ApplyDecision(*decision); !status.ok()) return status;
    return &result_;
  } else if (const auto* begin = std::get_if<LoggedBegin>(&record)) {
    ApplyBegin(*begin);
  } else if (const auto* first = std::get_if<LoggedFirstToken>(&record)) {
    if (const auto flight = flights_.find(first->flight); flight != flights_.end()) {
      flight->second.FirstToken();
    }
  } else if (const auto* end = std::get_if<LoggedEnd>(&record)) {
    if (const auto flight = flights_.find(end->flight); flight != flights_.end()) {
      flight->second.Finish(end->usage, end->end);
      flights_.erase(flight);
    }
  } else if (const auto* gap = std::get_if<LoggedGap>(&record)) {
    missing_ += gap->dropped;
  }
  return nullptr;
}

absl::Status DecisionReplayer::ApplyPool(const PoolDelta& delta) {
  EndpointPool& pool = router_->pool();
  for (const uint32_t row : delta.removed) {
    const auto [namespace_name, name] = SplitName(pool_.endpoints[row].name);
    if (absl::Status status = pool.Remove(name, namespace_name); !status.ok()) return status;
  }
  pool_.Apply(delta);
  std::vector<uint32_t> upserted, sampled;
  for (const PoolDelta::Change& change : delta.changed) {
    constexpr uint32_t kMembership = PoolDelta::kAddress | PoolDelta::kLabels;
    if ((change.fields & kMembership) != 0) upserted.push_back(change.row);
    if ((change.fields & ~kMembership) != 0) sampled.push_back(change.row);
  }
  const auto first_added = static_cast<uint32_t>(pool_.endpoints.size() - delta.added.size());
  for (uint32_t row = first_added; row < pool_.endpoints.size(); ++row) {
    upserted.push_back(row);
    sampled.push_back(row);
  }
  for (const uint32_t row : upserted) {
    const LoggedEndpoint& endpoint = pool_.endpoints[row];
    const auto [namespace_name, name] = SplitName(endpoint.name);
    const auto id = pool.Upsert({.name = name,
                                 .namespace_name = namespace_name,
                                 .address = endpoint.address,
                                 .labels = endpoint.labels});
    if (!id.ok()) return id.status();
  }
  return ApplySamples(std::move(sampled));
}

// A pool takes the time of a sample from its clock, so samples of one time are applied together.
absl::Status DecisionReplayer::ApplySamples(std::vector<uint32_t> rows) {
  EndpointPool& pool = router_->pool();
  const auto snapshot = pool.snapshot();
  if (snapshot->count() != pool_.endpoints.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the log's pool has ", pool_.endpoints.size(),
                                                   " endpoints, two of them of one name"));
  }
  const auto time_of = [this](uint32_t row) { return pool_.endpoints[row].sample_time_ns; };
  std::stable_sort(rows.begin(), rows.end(),
                   [&](uint32_t a, uint32_t b) { return time_of(a) < time_of(b); });
  std::vector<MetricsUpdate> updates;
  for (size_t i = 0; i < rows.size(); ++i) {
    const LoggedEndpoint& endpoint = pool_.endpoints[rows[i]];
    MetricsUpdate& update = updates.emplace_back();
    update.id = snapshot->ids()[rows[i]];
    update.metrics.kv_block_tokens = endpoint.kv_block_tokens;
    update.metrics.kv_block_count = endpoint.kv_block_count;
    update.metrics.adapters = endpoint.adapters;
    for (uint32_t a = 0; a < endpoint.attributes.size(); ++a) {
      if (endpoint.attributes[a]) update.metrics.attributes.push_back({a, *endpoint.attributes[a]});
    }
    if (endpoint.sample_time_ns != INT64_MIN) {
      update.metrics.waiting_requests = endpoint.waiting_requests;
      update.metrics.running_requests = endpoint.running_requests;
      update.metrics.kv_used_ratio = endpoint.kv_used_ratio;
    }
    if (i + 1 < rows.size() && time_of(rows[i + 1]) == endpoint.sample_time_ns) continue;
    clock_.Set(endpoint.sample_time_ns);
    pool.ApplySamples(updates);
    updates.clear();
  }
  return absl::OkStatus();
}

absl::Status DecisionReplayer::MakeRequest(const LoggedRequest& logged, Replay& replay) const {
  replay.logged = logged;
  const LoggedRequest& from = replay.logged;
  Request& request = replay.request;
  request.api = from.api;
  request.id = from.id;
  request.model = from.model;
  request.incoming_model = from.incoming_model;
  request.objective = from.objective;
  request.cache_salt = from.cache_salt;
  request.fairness_id = from.fairness_id;
  request.priority = from.priority;
  request.if_available = from.if_available;
  request.any_endpoint = from.any_endpoint;
  if (from.subset) {
    replay.subset.assign(from.subset->begin(), from.subset->end());
    request.subset = replay.subset;
  }
  request.stream = from.stream;
  request.include_usage = from.include_usage;
  request.max_output_tokens = from.max_output_tokens;
  request.size_bytes = from.size_bytes;
  for (const auto& [name, value] : from.headers) replay.headers.push_back({name, value});
  request.headers = replay.headers;
  uint64_t tokens_left = kReplayTokensMax;
  replay.tokens.resize(from.prompts.size());
  replay.prompts.resize(from.prompts.size());
  for (size_t p = 0; p < from.prompts.size(); ++p) {
    if (from.prompts[p].estimated && !options_.estimated_tokens) continue;
    if (from.prompts[p].token_count > tokens_left) {
      return absl::InvalidArgumentError(absl::StrCat("request \"", from.id,
                                                     "\": prompts of more than ", kReplayTokensMax,
                                                     " tokens are not made up again"));
    }
    tokens_left -= from.prompts[p].token_count;
    MakeTokens(from.prompts[p], prompt_block_tokens_, &replay.tokens[p]);
    replay.prompts[p].tokens = replay.tokens[p];
  }
  request.prompts = replay.prompts;
  return absl::OkStatus();
}

absl::Status DecisionReplayer::ApplyDecision(const LoggedDecision& logged) {
  auto replay = std::make_unique<Replay>();
  if (absl::Status status = MakeRequest(logged.request, *replay); !status.ok()) return status;
  DecideInputs inputs{router_->pool().snapshot(), logged.now_ns, logged.seed};
  if (logged.has_sent) {
    sent_requests_.assign(pool_.endpoints.size(), 0);
    sent_tokens_.assign(pool_.endpoints.size(), 0);
    for (const LoggedDecision::Sent& sent : logged.sent) {
      sent_requests_[sent.row] = sent.requests;
      sent_tokens_[sent.row] = sent.tokens;
    }
    inputs.sent_requests = sent_requests_;
    inputs.sent_tokens = sent_tokens_;
  }
  clock_.Set(logged.now_ns);
  auto decision = router_->Decide(replay->request, inputs);
  Compare(logged);
  if (!decision.ok()) return absl::OkStatus();
  replay->decision = *std::move(decision);
  replays_[logged.number] = std::move(replay);
  replay_order_.push_back(logged.number);
  if (replay_order_.size() > kReplayDecisionsKept) {
    replays_.erase(replay_order_.front());
    replay_order_.pop_front();
  }
  return absl::OkStatus();
}

uint64_t DecisionReplayer::OnDecision(const DecisionObservation& decision) noexcept {
  result_.code = decision.code;
  result_.primary_profile = decision.primary_profile;
  result_.profiles.resize(decision.profiles.size());
  for (size_t p = 0; p < decision.profiles.size(); ++p) {
    const DecisionObservation::Profile& from = decision.profiles[p];
    LoggedDecision::Profile& profile = result_.profiles[p];
    profile.index = from.index;
    profile.failed = from.failed;
    profile.picks.clear();
    for (size_t i = 0; i < from.picks.size(); ++i) {
      profile.picks.push_back({from.picks[i], from.scores[i]});
    }
  }
  return 0;
}

void DecisionReplayer::Compare(const LoggedDecision& logged) {
  result_.logged = &logged;
  result_.same_targets = result_.code == logged.code;
  if (result_.same_targets && logged.code == Code::kOk) {
    const auto* now = PicksOf(result_.profiles, result_.primary_profile);
    result_.same_targets = result_.primary_profile == logged.primary_profile && now != nullptr &&
                           SamePicks(*now, logged.targets());
  }
  result_.same_scores = result_.same_targets && SameScores(result_.profiles, logged.profiles);
  ++decisions_;
  different_ += result_.same_targets ? 0 : 1;
}

void DecisionReplayer::ApplyBegin(const LoggedBegin& begin) {
  const auto found = replays_.find(begin.decision);
  if (found == replays_.end()) return;
  Replay& replay = *found->second;
  // Another pipeline may have fewer fallbacks.
  const auto target_count = static_cast<uint32_t>(replay.decision.targets().size());
  Flight flight = router_->Begin(replay.decision, std::min(begin.target_index, target_count - 1));
  if (flight) flights_[begin.flight] = std::move(flight);
  replay.decision.ReleaseRequest();
  replay.tokens.clear();
  replay.tokens.shrink_to_fit();
}

}  // namespace weir::io
