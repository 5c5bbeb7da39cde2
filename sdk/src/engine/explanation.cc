// Why a decision came out as it did: as a struct, a text table and JSON.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/engine.h"
#include "sched/columns.h"

namespace weir {
namespace internal {
namespace {

Explanation::EndpointRow RowOf(const DecisionState& state, uint32_t endpoint) {
  const Membership::Row& member = state.snapshot->members->rows[endpoint];
  Explanation::EndpointRow row;
  row.name = member.full_name;
  row.address = member.address;
  row.sample_age_ms = state.sample_age_ms[endpoint] == WEIR_AGE_NEVER
                          ? -1
                          : static_cast<int64_t>(state.sample_age_ms[endpoint]);
  row.waiting_requests = state.waiting[endpoint];
  row.running_requests = state.running[endpoint];
  row.kv_used_ratio = state.kv_used[endpoint];
  row.sent_since_sample = state.unseen[endpoint];
  return row;
}

Explanation::Profile ProfileOf(const DecisionState& state, const Pipeline& pipeline,
                               uint32_t index) {
  const Pipeline::Profile& profile = pipeline.profiles[index];
  const ProfileRun& run = state.profiles[index];
  const auto name_of = [&](uint32_t plugin) { return pipeline.spec.plugins[plugin].name; };
  Explanation::Profile out;
  out.name = profile.name;
  out.primary = index == state.primary_profile;
  out.failed = run.state == WEIR_PROFILE_FAILED;
  out.picker = name_of(profile.picker);
  for (const uint32_t filter : profile.filters) out.filters.push_back(name_of(filter));
  for (size_t s = 0; s < profile.scorers.size(); ++s) {
    const bool scored = run.raw != nullptr;
    out.scorers.push_back({name_of(profile.scorers[s].plugin), profile.scorers[s].weight,
                           scored ? run.nan_scores[s] : 0, scored && run.raw[s] == nullptr});
  }
  for (uint32_t e = 0; e < state.batch.count; ++e) {
    out.endpoints.push_back(RowOf(state, e));
    const uint8_t dropped_by = run.dropped_by == nullptr ? 0 : run.dropped_by[e];
    if (dropped_by == 0) continue;
    out.endpoints[e].dropped_by = dropped_by == kDroppedBySubset
                                      ? std::string("the subset hint")
                                      : name_of(profile.filters[dropped_by - 1]);
  }
  if (run.raw != nullptr) {
    for (uint32_t i = 0; i < run.survivor_count; ++i) {
      const uint32_t e = run.survivors == nullptr ? i : run.survivors[i];
      Explanation::EndpointRow& row = out.endpoints[e];
      row.total = run.total[i];
      for (size_t s = 0; s < profile.scorers.size(); ++s) {
        const double raw = run.raw[s] == nullptr ? 0 : run.raw[s][i];
        double weighted = 0;
        Accumulate(&raw, profile.scorers[s].weight, 1, &weighted);
        row.raw.push_back(raw);
        row.weighted.push_back(weighted);
      }
    }
  }
  for (uint32_t i = 0; i < run.pick_count; ++i) {
    out.endpoints[run.picks[i]].rank = static_cast<int32_t>(i);
  }
  return out;
}

}  // namespace

Explanation Engine::Explain(const DecisionState& state) const {
  Explanation explanation;
  explanation.request_id = state.request_id;
  explanation.model = state.model;
  explanation.time_ns = state.now_ns;
  explanation.seed = state.seed;
  explanation.draws = state.call.draws;
  explanation.first_draw = state.call.first_draw;
  explanation.pool_version = state.snapshot->version_number;
  for (uint64_t p = 0; p < state.request.prompt_count; ++p) {
    explanation.prompt_tokens += state.prompts[p].token_count;
  }
  for (uint32_t p = 0; p < pipeline_->profiles.size(); ++p) {
    if (state.profiles[p].state == WEIR_PROFILE_NOT_RUN) continue;
    explanation.profiles.push_back(ProfileOf(state, *pipeline_, p));
  }
  return explanation;
}

}  // namespace internal

std::string Explanation::ToText() const {
  std::string text =
      absl::StrFormat("request %s model %s prompt_tokens %d pool_version %d seed %d",
                      request_id.empty() ? "-" : request_id, model.empty() ? "-" : model,
                      prompt_tokens, pool_version, seed);
  if (draws > 0) absl::StrAppendFormat(&text, " first_draw %.6f", first_draw);
  text += '\n';
  for (const Profile& profile : profiles) {
    absl::StrAppendFormat(&text, "profile %s%s, picker %s\n", profile.name,
                          profile.primary  ? " (primary)"
                          : profile.failed ? " (failed)"
                                           : "",
                          profile.picker);
    size_t name_width = 8;
    for (const EndpointRow& row : profile.endpoints) {
      name_width = std::max(name_width, row.name.size());
    }
    absl::StrAppendFormat(&text, "  %-*s  rank  total", static_cast<int>(name_width), "endpoint");
    for (const Scorer& scorer : profile.scorers) {
      absl::StrAppendFormat(&text, "  %s*%g", scorer.name, scorer.weight);
    }
    text += "  age_ms  waiting  running  kv_used  sent\n";
    for (const EndpointRow& row : profile.endpoints) {
      absl::StrAppendFormat(&text, "  %-*s", static_cast<int>(name_width), row.name);
      if (!row.dropped_by.empty()) {
        absl::StrAppendFormat(&text, "  dropped by %s\n", row.dropped_by);
        continue;
      }
      const std::string rank = row.rank < 0 ? "-" : absl::StrCat(row.rank);
      absl::StrAppendFormat(&text, "  %4s  %5.3f", rank, row.total);
      for (size_t s = 0; s < row.raw.size(); ++s) {
        const std::string header =
            absl::StrFormat("%s*%g", profile.scorers[s].name, profile.scorers[s].weight);
        absl::StrAppendFormat(&text, "  %*.3f", static_cast<int>(header.size()), row.raw[s]);
      }
      const std::string age = row.sample_age_ms < 0 ? "never" : absl::StrCat(row.sample_age_ms);
      absl::StrAppendFormat(&text, "  %6s  %7d  %7d  %7.3f  %4d\n", age, row.waiting_requests,
                            row.running_requests, row.kv_used_ratio, row.sent_since_sample);
    }
  }
  return text;
}

std::string Explanation::ToJson() const {
  using Json = nlohmann::ordered_json;
  Json json = {{"request_id", request_id},
               {"model", model},
               {"time_ns", time_ns},
               {"seed", seed},
               {"draws", draws},
               {"first_draw", first_draw},
               {"pool_version", pool_version},
               {"prompt_tokens", prompt_tokens},
               {"profiles", Json::array()}};
  for (const Profile& profile : profiles) {
    Json scorers = Json::array();
    for (const Scorer& scorer : profile.scorers) {
      scorers.push_back({{"name", scorer.name},
                         {"weight", scorer.weight},
                         {"nan_scores", scorer.nan_scores},
                         {"failed", scorer.failed}});
    }
    Json endpoints = Json::array();
    for (const EndpointRow& row : profile.endpoints) {
      endpoints.push_back({{"name", row.name},
                           {"address", row.address},
                           {"dropped_by", row.dropped_by},
                           {"raw", row.raw},
                           {"weighted", row.weighted},
                           {"total", row.total},
                           {"rank", row.rank},
                           {"sample_age_ms", row.sample_age_ms},
                           {"waiting_requests", row.waiting_requests},
                           {"running_requests", row.running_requests},
                           {"kv_used_ratio", row.kv_used_ratio},
                           {"sent_since_sample", row.sent_since_sample}});
    }
    json["profiles"].push_back({{"name", profile.name},
                                {"primary", profile.primary},
                                {"failed", profile.failed},
                                {"picker", profile.picker},
                                {"filters", profile.filters},
                                {"scorers", std::move(scorers)},
                                {"endpoints", std::move(endpoints)}});
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace weir
