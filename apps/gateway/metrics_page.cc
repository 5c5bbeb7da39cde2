#include "metrics_page.h"

#include "weir/io/decision_log/log_metrics.h"
#include "weir/io/fleet/fleet_metrics.h"
#include "weir/io/metrics/engine_metrics.h"
#include "weir/io/metrics/text.h"

namespace weir::gateway {
namespace {

using io::MetricKind;
using io::MetricsText;
using Workers = std::span<const std::unique_ptr<Worker>>;

void AddHistogram(const char* name, const char* help, Workers workers,
                  io::LatencyHistogram WorkerCounters::*member, MetricsText& text) {
  std::vector<io::HistogramView> views;
  for (const auto& worker : workers) views.push_back((worker->counters().*member).view());
  text.Family(MetricKind::kHistogram, name, help);
  const io::HistogramTotals totals(views);
  text.Histogram({}, io::kLatencyBoundsSeconds, totals.counts, totals.sum);
}

// `counter` names a RelayCounter of a worker.
template <class Counter>
uint64_t Sum(Workers workers, const Counter& counter) {
  uint64_t sum = 0;
  for (const auto& worker : workers) sum += counter(*worker).value();
  return sum;
}

void AddRefusals(Workers workers, MetricsText& text) {
  text.Family(MetricKind::kCounter, "weir_gateway_requests_refused_total",
              "Requests that the gateway refused itself, by reason.");
  for (uint32_t i = 0; i < io::kRelayRejectCount; ++i) {
    const auto count = Sum(
        workers, [i](const Worker& w) -> const auto& { return w.relay_counters().refused[i]; });
    text.Value({{"reason", RelayRejectName(static_cast<io::RelayReject>(i))}},
               static_cast<double>(count));
  }
  uint64_t bad_heads = 0;
  for (uint32_t i = 0; i < io::kHeadErrorCount; ++i) {
    bad_heads += Sum(
        workers, [i](const Worker& w) -> const auto& {
          return w.relay_counters().refused_heads[i];
        });
  }
  text.Value({{"reason", "bad_head"}}, static_cast<double>(bad_heads));
  struct Reason {
    const char* name;
    io::RelayCounter WorkerCounters::*counter;
  };
  static constexpr Reason kReasons[] = {{"bad_body", &WorkerCounters::requests_refused_body},
                                        {"no_endpoint", &WorkerCounters::requests_no_endpoint},
                                        {"all_dropped", &WorkerCounters::requests_all_dropped},
                                        {"not_cached", &WorkerCounters::requests_not_cached},
                                        {"unroutable", &WorkerCounters::requests_unroutable},
                                        {"plugin_failed", &WorkerCounters::requests_unscheduled}};
  for (const Reason& reason : kReasons) {
    const auto count = Sum(
        workers, [&](const Worker& w) -> const auto& { return w.counters().*reason.counter; });
    text.Value({{"reason", reason.name}}, static_cast<double>(count));
  }
}

void AddTraffic(Workers workers, MetricsText& text) {
  struct Row {
    const char* name;
    const char* help;
    MetricKind kind;
    io::RelayCounter io::RelayCounters::*counter;
  };
  using io::RelayCounters;
  static constexpr Row kRows[] = {
      {"weir_gateway_client_received_bytes_total", "Bytes read from clients.", MetricKind::kCounter,
       &RelayCounters::client_bytes_in},
      {"weir_gateway_client_sent_bytes_total", "Bytes written to clients.", MetricKind::kCounter,
       &RelayCounters::client_bytes_out},
      {"weir_gateway_upstream_received_bytes_total", "Bytes read from model servers.",
       MetricKind::kCounter, &RelayCounters::upstream_bytes_in},
      {"weir_gateway_upstream_sent_bytes_total", "Bytes written to model servers.",
       MetricKind::kCounter, &RelayCounters::upstream_bytes_out},
      {"weir_gateway_retries_total", "Attempts beyond the first of a request.",
       MetricKind::kCounter, &RelayCounters::attempt_retries},
      {"weir_gateway_upstream_connects_total", "Connections dialled to model servers.",
       MetricKind::kCounter, &RelayCounters::upstream_connects},
      {"weir_gateway_upstream_reuses_total", "Attempts that took a pooled connection.",
       MetricKind::kCounter, &RelayCounters::upstream_reuses},
      {"weir_gateway_client_handshake_failures_total",
       "Connections of clients that ended before TLS was agreed on.", MetricKind::kCounter,
       &RelayCounters::client_handshakes_failed},
      {"weir_gateway_client_idle_closes_total",
       "Connections of clients closed because no request came for too long.", MetricKind::kCounter,
       &RelayCounters::client_idle_closes},
      {"weir_gateway_client_connections", "Open connections of clients.", MetricKind::kGauge,
       &RelayCounters::client_connections},
      {"weir_gateway_upstream_connections", "Open connections to model servers.",
       MetricKind::kGauge, &RelayCounters::upstream_connections},
      {"weir_gateway_requests_in_flight", "Requests between their last byte and their end.",
       MetricKind::kGauge, &RelayCounters::requests_in_flight}};
  for (const Row& row : kRows) {
    const auto count = Sum(
        workers, [&](const Worker& w) -> const auto& { return w.relay_counters().*row.counter; });
    text.One(row.kind, row.name, row.help, static_cast<double>(count));
  }
  const auto pauses = Sum(
      workers, [](const Worker& w) -> const auto& { return w.accept_pauses(); });
  text.One(MetricKind::kCounter, "weir_gateway_accept_pauses_total",
           "Times that no connection was accepted because descriptors ran out.",
           static_cast<double>(pauses));
  text.Family(MetricKind::kCounter, "weir_gateway_tokens_total",
              "Tokens that model servers reported in usage, by kind.");
  const auto tokens = [&](const char* kind, io::RelayCounter WorkerCounters::*counter) {
    const auto count = Sum(
        workers, [&](const Worker& w) -> const auto& { return w.counters().*counter; });
    text.Value({{"kind", kind}}, static_cast<double>(count));
  };
  tokens("prompt", &WorkerCounters::prompt_tokens);
  tokens("cached", &WorkerCounters::cached_tokens);
  tokens("output", &WorkerCounters::output_tokens);
}

}  // namespace

std::string WriteMetrics(Workers workers, const Router& router, const io::Fleet& fleet,
                         const io::DecisionLogWriter* recorder_or_null) {
  MetricsText text;
  text.Family(MetricKind::kCounter, "weir_gateway_requests_total",
              "Requests that reached routing, by how they ended.");
  for (uint32_t i = 0; i < io::kRelayOutcomeCount; ++i) {
    const auto count = Sum(
        workers, [i](const Worker& w) -> const auto& { return w.relay_counters().requests[i]; });
    text.Value({{"outcome", RelayOutcomeName(static_cast<io::RelayOutcome>(i))}},
               static_cast<double>(count));
  }
  AddRefusals(workers, text);
  AddTraffic(workers, text);
  AddHistogram("weir_decision_seconds", "Time to decide where one request goes.", workers,
               &WorkerCounters::decision_latency, text);
  AddHistogram("weir_gateway_first_byte_seconds",
               "From the whole request to the first byte of its answer.", workers,
               &WorkerCounters::first_byte_latency, text);
  AddHistogram("weir_gateway_request_seconds",
               "From the whole request to the last byte of its answer.", workers,
               &WorkerCounters::request_latency, text);
  io::WriteEngineMetrics(router.stats(), text);
  io::WriteFleetMetrics(fleet, text);
  if (recorder_or_null != nullptr) io::WriteDecisionLogMetrics(recorder_or_null->stats(), text);
  return text.Take();
}

}  // namespace weir::gateway
