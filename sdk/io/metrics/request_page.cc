// The page of RequestMetrics: sums over threads, once by the names of today, once by those that
// older dashboards have.
#include <algorithm>
#include <map>

#include "weir/io/metrics/request_metrics.h"

namespace weir::io {
namespace {

using Workers = std::vector<std::unique_ptr<WorkerMetrics>>;
using Values = SeriesNames::Values;

// Indices in the label set of a request.
constexpr size_t kModel = 0, kTarget = 1, kFairness = 2, kPriority = 3;

struct HistogramRow {
  const char* name;
  const char* help;
  const char* twin;  // empty: none
  HistogramView (*view)(const RequestCounters&);
};

constexpr HistogramRow kHistograms[] = {
    {"llm_d_epp_request_duration_seconds",
     "[ALPHA] From the headers of a request to the end of its response, in seconds.",
     "inference_objective_request_duration_seconds",
     [](const RequestCounters& c) { return c.duration.view(); }},
    {"llm_d_epp_request_size_bytes", "[ALPHA] Bytes of request bodies.",
     "inference_objective_request_sizes",
     [](const RequestCounters& c) { return c.request_bytes.view(); }},
    {"llm_d_epp_response_size_bytes", "[ALPHA] Bytes of response bodies.",
     "inference_objective_response_sizes",
     [](const RequestCounters& c) { return c.response_bytes.view(); }},
    {"llm_d_epp_request_input_tokens",
     "[ALPHA] Prompt tokens of a request, as servers report them.",
     "inference_objective_input_tokens",
     [](const RequestCounters& c) { return c.input_tokens.view(); }},
    {"llm_d_epp_request_cached_tokens",
     "[ALPHA] Prompt tokens of a request that a server found in its cache.",
     "inference_objective_prompt_cached_tokens",
     [](const RequestCounters& c) { return c.cached_tokens.view(); }},
    {"llm_d_epp_request_output_tokens",
     "[ALPHA] Generated tokens of a request, as servers report them.",
     "inference_objective_output_tokens",
     [](const RequestCounters& c) { return c.output_tokens.view(); }},
    {"llm_d_epp_request_ntpot_seconds",
     "[ALPHA] Duration of a request divided by its generated tokens, in seconds.",
     "inference_objective_normalized_time_per_output_token_seconds",
     [](const RequestCounters& c) { return c.ntpot.view(); }},
    {"llm_d_epp_request_streaming_tpot_seconds",
     "[ALPHA] Seconds per generated token after the first, of streamed responses.", "",
     [](const RequestCounters& c) { return c.tpot.view(); }},
    {"llm_d_epp_request_streaming_itl_seconds",
     "[ALPHA] Seconds between two pieces of a streamed response.", "",
     [](const RequestCounters& c) { return c.itl.view(); }},
};

std::string TwinHelp(std::string_view name, std::string_view help) {
  constexpr std::string_view kAlpha = "[ALPHA] ";
  return std::string(kAlpha) + "[Deprecated: Use " + std::string(name) + "] " +
         std::string(help.substr(kAlpha.size()));
}

std::vector<MetricLabel> RequestLabelsOf(const Values& set) {
  return {{"model_name", set[kModel]},
          {"target_model_name", set[kTarget]},
          {"fairness_id", set[kFairness]},
          {"priority", set[kPriority]}};
}

// The labels that the twins have in common.
std::vector<MetricLabel> ModelLabels(const Values& set) {
  return {{"model_name", set[kModel]}, {"target_model_name", set[kTarget]}};
}

// Writes the requests' families; knows the workers and the label sets of the moment.
class RequestPage {
 public:
  RequestPage(const Workers& workers, std::vector<Values> sets, MetricsText& text)
      : workers_(workers), sets_(std::move(sets)), text_(text) {}

  void Write() {
    WriteRequests();
    WriteErrors();
    WriteRunning();
    for (const HistogramRow& row : kHistograms) WriteHistogram(row);
    WriteTtft();
  }

 private:
  // The sum of what `value` gives of each thread that knows the series.
  template <class Value>
  uint64_t Sum(uint32_t series, const Value& value) const {
    uint64_t sum = 0;
    for (const auto& worker : workers_) {
      const RequestCounters* counters = worker->request(series);
      if (counters != nullptr) sum += value(*counters);
    }
    return sum;
  }

  HistogramTotals SumHistogram(uint32_t series,
                               HistogramView (*view)(const RequestCounters&)) const {
    HistogramTotals totals;
    for (const auto& worker : workers_) {
      const RequestCounters* counters = worker->request(series);
      if (counters != nullptr) totals.Add(view(*counters));
    }
    return totals;
  }

  void WriteRequests() {
    constexpr const char* kName = "llm_d_epp_request_total";
    constexpr const char* kHelp = "[ALPHA] Requests that were routed.";
    std::map<Values, double> twins;
    text_.Family(MetricKind::kCounter, kName, kHelp);
    for (uint32_t i = 0; i < sets_.size(); ++i) {
      const auto count =
          static_cast<double>(Sum(i, [](const RequestCounters& c) { return c.requests.value(); }));
      if (count == 0) continue;
      text_.Value(RequestLabelsOf(sets_[i]), count);
      twins[{sets_[i][kModel], sets_[i][kTarget], sets_[i][kPriority]}] += count;
    }
    const std::string help = TwinHelp(kName, kHelp);
    text_.Family(MetricKind::kCounter, "inference_objective_request_total", help);
    for (const auto& [set, count] : twins) {
      text_.Value({{"model_name", set[0]}, {"target_model_name", set[1]}, {"priority", set[2]}},
                  count);
    }
  }

  void WriteErrors() {
    constexpr const char* kName = "llm_d_epp_request_error_total";
    constexpr const char* kHelp = "[ALPHA] Requests that ended in error, by its code.";
    std::map<Values, double> twins;
    text_.Family(MetricKind::kCounter, kName, kHelp);
    for (uint32_t i = 0; i < sets_.size(); ++i) {
      for (size_t code = 0; code < kErrorCodes.size(); ++code) {
        const auto count = static_cast<double>(
            Sum(i, [code](const RequestCounters& c) { return c.errors[code].value(); }));
        if (count == 0) continue;
        std::vector<MetricLabel> labels = RequestLabelsOf(sets_[i]);
        labels.push_back({"error_code", kErrorCodes[code]});
        text_.Value(labels, count);
        twins[{sets_[i][kModel], sets_[i][kTarget], std::string(kErrorCodes[code])}] += count;
      }
    }
    const std::string help = TwinHelp(kName, kHelp);
    text_.Family(MetricKind::kCounter, "inference_objective_request_error_total", help);
    for (const auto& [set, count] : twins) {
      text_.Value({{"model_name", set[0]}, {"target_model_name", set[1]}, {"error_code", set[2]}},
                  count);
    }
  }

  void WriteRunning() {
    constexpr const char* kName = "llm_d_epp_request_running";
    constexpr const char* kHelp = "[ALPHA] Requests that were routed and have not ended.";
    std::map<std::string, double> twins;
    text_.Family(MetricKind::kGauge, kName, kHelp);
    for (uint32_t i = 0; i < sets_.size(); ++i) {
      if (Sum(i, [](const RequestCounters& c) { return c.requests.value(); }) == 0) continue;
      const auto running =
          static_cast<double>(Sum(i, [](const RequestCounters& c) { return c.running.value(); }));
      text_.Value(RequestLabelsOf(sets_[i]), running);
      twins[sets_[i][kModel]] += running;
    }
    const std::string help = TwinHelp(kName, kHelp);
    text_.Family(MetricKind::kGauge, "inference_objective_running_requests", help);
    for (const auto& [model, running] : twins) text_.Value({{"model_name", model}}, running);
  }

  void WriteHistogram(const HistogramRow& row) {
    const std::span<const double> bounds = row.view(RequestCounters()).bounds;
    std::map<Values, HistogramTotals> twins;
    text_.Family(MetricKind::kHistogram, row.name, row.help);
    for (uint32_t i = 0; i < sets_.size(); ++i) {
      const HistogramTotals totals = SumHistogram(i, row.view);
      if (totals.empty()) continue;
      text_.Histogram(RequestLabelsOf(sets_[i]), bounds, totals.counts, totals.sum);
      if (*row.twin == '\0') continue;
      twins[{sets_[i][kModel], sets_[i][kTarget]}].Add(totals);
    }
    const std::string help = TwinHelp(row.name, row.help);
    text_.Family(MetricKind::kHistogram, row.twin, help);
    for (const auto& [set, totals] : twins) {
      text_.Histogram(ModelLabels(set), bounds, totals.counts, totals.sum);
    }
  }

  void WriteTtft() {
    text_.Family(
        MetricKind::kHistogram, "llm_d_epp_request_ttft_seconds",
        "[ALPHA] From the headers of a request to the first byte of its response, in seconds.");
    for (uint32_t i = 0; i < sets_.size(); ++i) {
      WriteTtft(i, "false", [](const RequestCounters& c) { return c.ttft[0].view(); });
      WriteTtft(i, "true", [](const RequestCounters& c) { return c.ttft[1].view(); });
    }
  }
  void WriteTtft(uint32_t series, std::string_view streaming,
                 HistogramView (*view)(const RequestCounters&)) {
    const HistogramTotals totals = SumHistogram(series, view);
    if (totals.empty()) return;
    std::vector<MetricLabel> labels = RequestLabelsOf(sets_[series]);
    labels.push_back({"streaming", streaming});
    text_.Histogram(labels, kFirstByteBounds, totals.counts, totals.sum);
  }

  const Workers& workers_;
  const std::vector<Values> sets_;
  MetricsText& text_;
};

struct StreamHistogramRow {
  const char* name;
  const char* help;
  const char* twin;
  HistogramView (*view)(const StreamCounters&);
};

void WriteHistogram(const Workers& workers, const StreamHistogramRow& row, MetricsText& text) {
  HistogramTotals totals;
  for (const auto& worker : workers) totals.Add(row.view(worker->streams()));
  if (totals.empty()) return;
  const std::span<const double> bounds = row.view(StreamCounters()).bounds;
  text.Family(MetricKind::kHistogram, row.name, row.help);
  text.Histogram({}, bounds, totals.counts, totals.sum);
  if (*row.twin == '\0') return;
  const std::string help = TwinHelp(row.name, row.help);
  text.Family(MetricKind::kHistogram, row.twin, help);
  text.Histogram({}, bounds, totals.counts, totals.sum);
}

void WriteAttempts(const Workers& workers, const std::vector<Values>& sets, MetricsText& text) {
  constexpr const char* kName = "llm_d_epp_scheduler_attempts_total";
  constexpr const char* kHelp = "[ALPHA] Attempts to find an endpoint for a request.";
  const std::string twin_help = TwinHelp(kName, kHelp);
  for (const bool twin : {false, true}) {
    text.Family(MetricKind::kCounter, twin ? "inference_extension_scheduler_attempts_total" : kName,
                twin ? std::string_view(twin_help) : kHelp);
    for (uint32_t i = 0; i < sets.size(); ++i) {
      uint64_t count = 0;
      for (const auto& worker : workers) count += worker->attempts(i);
      if (count == 0) continue;
      text.Value({{"status", sets[i][0]},
                  {"target_model_name", sets[i][1]},
                  {twin ? "pod_name" : "endpoint_name", sets[i][2]},
                  {"namespace", sets[i][3]},
                  {"port", sets[i][4]}},
                 static_cast<double>(count));
    }
  }
}

// Names of gRPC's status codes as grpc-go writes them.
constexpr std::string_view kGrpcCodeNames[StreamCounters::kGrpcCodes] = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

void WriteStreams(const Workers& workers, MetricsText& text) {
  uint64_t begun = 0, ended = 0;
  std::array<uint64_t, StreamCounters::kGrpcCodes> by_code = {};
  for (const auto& worker : workers) {
    for (size_t code = 0; code < by_code.size(); ++code) {
      const uint64_t count = worker->streams().ended[code].value();
      by_code[code] += count;
      ended += count;
    }
    begun += worker->streams().begun.value();
  }
  text.One(MetricKind::kGauge, "llm_d_epp_extproc_streams_inflight",
           "[ALPHA] Streams of the proxy that are open.",
           static_cast<double>(begun - std::min(begun, ended)));
  WriteHistogram(workers,
                 {"llm_d_epp_extproc_stream_duration_seconds",
                  "[ALPHA] How long a stream of the proxy was open, in seconds.", "",
                  [](const StreamCounters& c) { return c.stream_duration.view(); }},
                 text);
  text.Family(MetricKind::kCounter, "llm_d_epp_extproc_streams_total",
              "[ALPHA] Streams of the proxy that have ended, by gRPC status.");
  for (size_t code = 0; code < by_code.size(); ++code) {
    if (by_code[code] == 0) continue;
    text.Value({{"code", kGrpcCodeNames[code]}}, static_cast<double>(by_code[code]));
  }
}

}  // namespace

void RequestMetrics::Write(MetricsText& text, bool streams) const {
  RequestPage(workers_, request_names_.All(), text).Write();
  static constexpr StreamHistogramRow kRows[] = {
      {"llm_d_epp_scheduler_e2e_duration_seconds",
       "[ALPHA] Time to decide where one request goes, in seconds.",
       "inference_extension_scheduler_e2e_duration_seconds",
       [](const StreamCounters& c) { return c.scheduler_duration.view(); }},
      {"llm_d_epp_request_processing_duration_seconds",
       "[ALPHA] From the last message of a request to its answer, in seconds.", "",
       [](const StreamCounters& c) { return c.request_processing.view(); }},
      {"llm_d_epp_response_processing_duration_seconds",
       "[ALPHA] From a message of a response to its answer, in seconds.", "",
       [](const StreamCounters& c) { return c.response_processing.view(); }}};
  for (const StreamHistogramRow& row : kRows) WriteHistogram(workers_, row, text);
  WriteAttempts(workers_, attempt_names_.All(), text);
  if (streams) WriteStreams(workers_, text);
}

}  // namespace weir::io
