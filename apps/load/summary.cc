#include "load/summary.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace weir::load {
namespace {

double Ms(double ns) { return ns / 1e6; }

Quantiles QuantilesOf(const Histogram& histogram) {
  const auto at = [&](double quantile) {
    return Ms(static_cast<double>(histogram.Quantile(quantile)));
  };
  return {histogram.count(), at(0), Ms(histogram.mean()), at(0.5), at(0.9), at(0.95),
          at(0.99),          at(1)};
}

double PerSecond(uint64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
}

double Ratio(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

nlohmann::json QuantilesJson(const Quantiles& q) {
  return {{"count", q.count}, {"min", q.min}, {"mean", q.mean}, {"p50", q.p50},
          {"p90", q.p90},     {"p95", q.p95}, {"p99", q.p99},   {"max", q.max}};
}

// Reads members of one object; keeps the first complaint and goes on.
class Reader {
 public:
  Reader(const nlohmann::json& object, std::string path)
      : object_(object), path_(std::move(path)) {}

  template <typename T>
  Reader& Number(const char* member, T* out) {
    const auto found = object_.find(member);
    if (found == object_.end()) return *this;
    // A count must be a whole number that fits; a figure any finite number.
    if (!found->is_number() || (std::is_integral_v<T> && !found->is_number_unsigned())) {
      return Complain(member, std::is_integral_v<T> ? "a whole number >= 0" : "a number");
    }
    *out = found->get<T>();
    return *this;
  }
  Reader& Text(const char* member, std::string* out) {
    const auto found = object_.find(member);
    if (found == object_.end()) return *this;
    if (!found->is_string()) return Complain(member, "a text");
    *out = found->get<std::string>();
    return *this;
  }
  // Calls fn(element) for each element of an array that is an object.
  template <typename Fn>
  Reader& Objects(const char* member, Fn fn) {
    const auto found = object_.find(member);
    if (found == object_.end()) return *this;
    if (!found->is_array()) return Complain(member, "a list of objects");
    for (const nlohmann::json& element : *found) {
      if (!element.is_object()) return Complain(member, "a list of objects");
      Reader reader(element, path_ + member + "[].");
      fn(reader);
      if (status_.ok()) status_ = reader.status();
    }
    return *this;
  }
  template <typename Fn>
  Reader& Object(const char* member, Fn fn) {
    const auto found = object_.find(member);
    if (found == object_.end()) return *this;
    if (!found->is_object()) return Complain(member, "an object");
    Reader reader(*found, path_ + member + ".");
    fn(reader);
    if (status_.ok()) status_ = reader.status();
    return *this;
  }
  Reader& Complain(const char* member, const char* expected) {
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError(absl::StrCat(path_, member, ": expected ", expected));
    }
    return *this;
  }
  const nlohmann::json& object() const { return object_; }
  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json& object_;
  const std::string path_;
  absl::Status status_;
};

void ReadQuantiles(Reader& reader, const char* member, Quantiles* q) {
  reader.Object(member, [q](Reader& in) {
    in.Number("count", &q->count).Number("min", &q->min).Number("mean", &q->mean);
    in.Number("p50", &q->p50).Number("p90", &q->p90).Number("p95", &q->p95);
    in.Number("p99", &q->p99).Number("max", &q->max);
  });
}

void ReadCdf(Reader& reader, Summary* summary) {
  const auto found = reader.object().find("ttft_cdf");
  if (found == reader.object().end()) return;
  const auto is_point = [](const nlohmann::json& point) {
    return point.is_array() && point.size() == 2 && point[0].is_number() && point[1].is_number();
  };
  if (!found->is_array() || !std::all_of(found->begin(), found->end(), is_point)) {
    reader.Complain("ttft_cdf", "a list of [ms, share]");
    return;
  }
  for (const nlohmann::json& point : *found) {
    summary->ttft_cdf.emplace_back(point[0].get<double>(), point[1].get<double>());
  }
}

void ReadRates(Reader& reader, Summary* s) {
  reader.Number("seed", &s->seed).Number("requests", &s->requests).Number("errors", &s->errors);
  reader.Number("warmup_requests", &s->warmup_requests).Number("unsent", &s->unsent);
  reader.Number("waited_for_turn", &s->waited_for_turn);
  reader.Number("unfinished", &s->unfinished).Number("token_events", &s->token_events);
  reader.Number("token_events_per_s", &s->token_events_per_s);
  reader.Number("duration_s", &s->duration_s);
  reader.Number("offered_requests_per_s", &s->offered_requests_per_s);
  reader.Number("requests_per_s", &s->requests_per_s);
  reader.Number("output_tokens_per_s", &s->output_tokens_per_s);
  reader.Number("input_tokens_per_s", &s->input_tokens_per_s);
  reader.Number("prompt_tokens", &s->prompt_tokens).Number("cached_tokens", &s->cached_tokens);
  reader.Number("output_tokens", &s->output_tokens);
  reader.Number("prefix_hit_ratio", &s->prefix_hit_ratio);
  reader.Object("goodput", [s](Reader& in) {
    const auto limit = [&in](const char* member, int64_t* ns) {
      double ms = 0;
      in.Number(member, &ms);
      *ns = static_cast<int64_t>(std::clamp(ms, 0.0, 1e9) * 1e6);
    };
    limit("ttft_ms_max", &s->slo.ttft_ns);
    limit("itl_ms_max", &s->slo.itl_ns);
    limit("e2e_ms_max", &s->slo.e2e_ns);
    in.Number("requests_per_s", &s->goodput_requests_per_s).Number("ratio", &s->good_ratio);
  });
}

}  // namespace

Summary Summarize(const Figures& figures, const Slo& slo) {
  Summary summary;
  summary.requests = figures.requests;
  summary.errors = figures.errors;
  summary.warmup_requests = figures.warmup_requests;
  summary.unfinished = figures.unfinished;
  summary.token_events = figures.token_events;
  summary.token_events_per_s =
      PerSecond(figures.token_events,
                static_cast<double>(figures.last_event_ns - figures.first_event_ns) / 1e9);
  summary.duration_s = figures.duration_s();
  const uint64_t completed = figures.requests - figures.errors;
  const double window_s = static_cast<double>(figures.last_due_ns - figures.first_due_ns) / 1e9;
  // n arrivals span n - 1 gaps.
  if (figures.requests > 1) {
    summary.offered_requests_per_s = PerSecond(figures.requests - 1, window_s);
  }
  summary.requests_per_s = PerSecond(completed, summary.duration_s);
  summary.output_tokens_per_s = PerSecond(figures.output_tokens, summary.duration_s);
  summary.input_tokens_per_s = PerSecond(figures.prompt_tokens, summary.duration_s);
  summary.prompt_tokens = figures.prompt_tokens;
  summary.cached_tokens = figures.cached_tokens;
  summary.output_tokens = figures.output_tokens;
  summary.prefix_hit_ratio = Ratio(figures.cached_tokens, figures.prompt_tokens);
  summary.slo = slo;
  if (slo.any()) {
    summary.goodput_requests_per_s = PerSecond(figures.good, summary.duration_s);
    summary.good_ratio = Ratio(figures.good, figures.requests);
  }
  summary.ttft_ms = QuantilesOf(figures.ttft);
  summary.itl_ms = QuantilesOf(figures.itl);
  summary.tpot_ms = QuantilesOf(figures.tpot);
  summary.e2e_ms = QuantilesOf(figures.e2e);
  summary.lateness_ms = QuantilesOf(figures.lateness);
  summary.errors_by_kind.assign(figures.errors_by_kind.begin(), figures.errors_by_kind.end());
  summary.servers.assign(figures.requests_by_server.begin(), figures.requests_by_server.end());
  for (const auto& [ns, share] : figures.ttft.Cumulative(kCdfPointsMax)) {
    summary.ttft_cdf.emplace_back(Ms(static_cast<double>(ns)), share);
  }
  const double step_s = static_cast<double>(figures.series_step_ns) / 1e9;
  for (size_t i = 0; i < figures.series.size(); ++i) {
    const SeriesBucket& bucket = figures.series[i];
    summary.series.push_back(
        {static_cast<double>(i) * step_s, PerSecond(bucket.completed, step_s),
         PerSecond(bucket.output_tokens, step_s), PerSecond(bucket.errors, step_s),
         Ms(static_cast<double>(bucket.ttft_ns.Quantile(0.5))),
         Ms(static_cast<double>(bucket.ttft_ns.Quantile(0.9))), bucket.ttft_ns.count()});
  }
  return summary;
}

nlohmann::json ToJson(const Summary& s) {
  nlohmann::json json = {{"schema", kSchema},
                         {"name", s.name},
                         {"workload", s.workload},
                         {"started_at", s.started_at},
                         {"targets", s.targets},
                         {"seed", s.seed},
                         {"requests", s.requests},
                         {"errors", s.errors},
                         {"warmup_requests", s.warmup_requests},
                         {"unsent", s.unsent},
                         {"waited_for_turn", s.waited_for_turn},
                         {"unfinished", s.unfinished},
                         {"token_events", s.token_events},
                         {"token_events_per_s", s.token_events_per_s},
                         {"duration_s", s.duration_s},
                         {"offered_requests_per_s", s.offered_requests_per_s},
                         {"requests_per_s", s.requests_per_s},
                         {"output_tokens_per_s", s.output_tokens_per_s},
                         {"input_tokens_per_s", s.input_tokens_per_s},
                         {"prompt_tokens", s.prompt_tokens},
                         {"cached_tokens", s.cached_tokens},
                         {"output_tokens", s.output_tokens},
                         {"prefix_hit_ratio", s.prefix_hit_ratio},
                         {"ttft_ms", QuantilesJson(s.ttft_ms)},
                         {"itl_ms", QuantilesJson(s.itl_ms)},
                         {"tpot_ms", QuantilesJson(s.tpot_ms)},
                         {"e2e_ms", QuantilesJson(s.e2e_ms)},
                         {"lateness_ms", QuantilesJson(s.lateness_ms)}};
  if (s.slo.any()) {
    const auto limit = [](int64_t ns) { return Ms(static_cast<double>(ns)); };
    json["goodput"] = {{"ttft_ms_max", limit(s.slo.ttft_ns)},
                       {"itl_ms_max", limit(s.slo.itl_ns)},
                       {"e2e_ms_max", limit(s.slo.e2e_ns)},
                       {"requests_per_s", s.goodput_requests_per_s},
                       {"ratio", s.good_ratio}};
  }
  json["errors_by_kind"] = nlohmann::json::array();
  for (const auto& [kind, count] : s.errors_by_kind) {
    json["errors_by_kind"].push_back({{"kind", kind}, {"count", count}});
  }
  json["servers"] = nlohmann::json::array();
  for (const auto& [name, count] : s.servers) {
    json["servers"].push_back({{"name", name}, {"requests", count}});
  }
  json["ttft_cdf"] = nlohmann::json::array();
  for (const auto& [ms, share] : s.ttft_cdf) json["ttft_cdf"].push_back({ms, share});
  json["series"] = nlohmann::json::array();
  for (const SeriesPoint& point : s.series) {
    json["series"].push_back({{"time_s", point.time_s},
                              {"requests_per_s", point.requests_per_s},
                              {"output_tokens_per_s", point.output_tokens_per_s},
                              {"errors_per_s", point.errors_per_s},
                              {"ttft_ms_p50", point.ttft_ms_p50},
                              {"ttft_ms_p90", point.ttft_ms_p90},
                              {"ttft_count", point.ttft_count}});
  }
  json["processes"] = nlohmann::json::array();
  for (const ProcessUse& use : s.processes) {
    json["processes"].push_back({{"name", use.name},
                                 {"cpu_s", use.cpu_s},
                                 {"us_per_request", use.us_per_request},
                                 {"us_per_event", use.us_per_event},
                                 {"resident_bytes_max", use.resident_bytes_max}});
  }
  return json;
}

absl::StatusOr<Summary> ParseSummary(std::string_view text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("not a JSON object");
  Summary s;
  std::string schema;
  Reader reader(json, "");
  reader.Text("schema", &schema).Text("name", &s.name).Text("workload", &s.workload);
  reader.Text("started_at", &s.started_at);
  if (reader.status().ok() && schema != kSchema) {
    return absl::InvalidArgumentError(absl::StrCat("schema: \"", schema, "\", expected \"", kSchema,
                                                   "\": a file written by weir-load --json"));
  }
  ReadRates(reader, &s);
  ReadQuantiles(reader, "ttft_ms", &s.ttft_ms);
  ReadQuantiles(reader, "itl_ms", &s.itl_ms);
  ReadQuantiles(reader, "tpot_ms", &s.tpot_ms);
  ReadQuantiles(reader, "e2e_ms", &s.e2e_ms);
  ReadQuantiles(reader, "lateness_ms", &s.lateness_ms);
  reader.Objects("errors_by_kind", [&s](Reader& in) {
    s.errors_by_kind.emplace_back();
    in.Text("kind", &s.errors_by_kind.back().first)
        .Number("count", &s.errors_by_kind.back().second);
  });
  reader.Objects("servers", [&s](Reader& in) {
    s.servers.emplace_back();
    in.Text("name", &s.servers.back().first).Number("requests", &s.servers.back().second);
  });
  ReadCdf(reader, &s);
  reader.Objects("series", [&s](Reader& in) {
    SeriesPoint& point = s.series.emplace_back();
    in.Number("time_s", &point.time_s).Number("requests_per_s", &point.requests_per_s);
    in.Number("output_tokens_per_s", &point.output_tokens_per_s);
    in.Number("errors_per_s", &point.errors_per_s).Number("ttft_ms_p50", &point.ttft_ms_p50);
    in.Number("ttft_ms_p90", &point.ttft_ms_p90).Number("ttft_count", &point.ttft_count);
  });
  reader.Objects("processes", [&s](Reader& in) {
    ProcessUse& use = s.processes.emplace_back();
    in.Text("name", &use.name).Number("cpu_s", &use.cpu_s);
    in.Number("us_per_request", &use.us_per_request).Number("us_per_event", &use.us_per_event);
    in.Number("resident_bytes_max", &use.resident_bytes_max);
  });
  if (!reader.status().ok()) return reader.status();
  return s;
}

}  // namespace weir::load
