#include "metrics_page.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <limits>
#include <sstream>

namespace weir::gateway {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Workers = std::span<const std::unique_ptr<Worker>>;

// Families in order; Add() belongs to the last one started.
class Families {
 public:
  void Start(MetricType type, const char* name, const char* help) {
    families_.push_back({name, help, type, {}});
  }
  void Add(uint64_t value, std::vector<ClientMetric::Label> labels = {}) {
    ClientMetric metric;
    metric.label = std::move(labels);
    const auto number = static_cast<double>(value);
    (families_.back().type == MetricType::Counter ? metric.counter.value : metric.gauge.value) =
        number;
    families_.back().metric.push_back(std::move(metric));
  }
  void One(MetricType type, const char* name, const char* help, uint64_t value) {
    Start(type, name, help);
    Add(value);
  }
  void Histogram(const char* name, const char* help, Workers workers,
                 LatencyHistogram WorkerCounters::*member) {
    Start(MetricType::Histogram, name, help);
    ClientMetric metric;
    uint64_t cumulative = 0, sum_ns = 0;
    for (size_t bucket = 0; bucket < LatencyHistogram::kBuckets; ++bucket) {
      for (const auto& worker : workers) cumulative += (worker->counters().*member).count(bucket);
      const double bound = bucket < kLatencyBoundsSeconds.size()
                               ? kLatencyBoundsSeconds[bucket]
                               : std::numeric_limits<double>::infinity();
      metric.histogram.bucket.push_back({cumulative, bound});
    }
    for (const auto& worker : workers) sum_ns += (worker->counters().*member).sum_ns();
    metric.histogram.sample_count = cumulative;
    metric.histogram.sample_sum = static_cast<double>(sum_ns) * 1e-9;
    families_.back().metric.push_back(std::move(metric));
  }
  std::string Text() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, families_);
    return out.str();
  }

 private:
  std::vector<MetricFamily> families_;
};

// `counter` names a RelayCounter of a worker.
template <class Counter>
uint64_t Sum(Workers workers, const Counter& counter) {
  uint64_t sum = 0;
  for (const auto& worker : workers) sum += counter(*worker).value();
  return sum;
}

void AddRefusals(Workers workers, Families& families) {
  families.Start(MetricType::Counter, "weir_gateway_requests_refused_total",
                 "Requests that the gateway refused itself, by reason.");
  for (uint32_t i = 0; i < io::kRelayRejectCount; ++i) {
    const auto count = Sum(
        workers, [i](const Worker& w) -> const auto& { return w.relay_counters().refused[i]; });
    families.Add(count,
                 {{"reason", std::string(RelayRejectName(static_cast<io::RelayReject>(i)))}});
  }
  uint64_t bad_heads = 0;
  for (uint32_t i = 0; i < io::kHeadErrorCount; ++i) {
    bad_heads += Sum(
        workers, [i](const Worker& w) -> const auto& {
          return w.relay_counters().refused_heads[i];
        });
  }
  families.Add(bad_heads, {{"reason", "bad_head"}});
  struct Reason {
    const char* name;
    io::RelayCounter WorkerCounters::*counter;
  };
  static constexpr Reason kReasons[] = {{"bad_body", &WorkerCounters::requests_refused_body},
                                        {"no_endpoint", &WorkerCounters::requests_no_endpoint},
                                        {"all_dropped", &WorkerCounters::requests_all_dropped},
                                        {"unroutable", &WorkerCounters::requests_unroutable},
                                        {"plugin_failed", &WorkerCounters::requests_unscheduled}};
  for (const Reason& reason : kReasons) {
    const auto count = Sum(
        workers, [&](const Worker& w) -> const auto& { return w.counters().*reason.counter; });
    families.Add(count, {{"reason", reason.name}});
  }
}

void AddTraffic(Workers workers, Families& families) {
  struct Row {
    const char* name;
    const char* help;
    MetricType type;
    io::RelayCounter io::RelayCounters::*counter;
  };
  using io::RelayCounters;
  static constexpr Row kRows[] = {
      {"weir_gateway_client_received_bytes_total", "Bytes read from clients.", MetricType::Counter,
       &RelayCounters::client_bytes_in},
      {"weir_gateway_client_sent_bytes_total", "Bytes written to clients.", MetricType::Counter,
       &RelayCounters::client_bytes_out},
      {"weir_gateway_upstream_received_bytes_total", "Bytes read from model servers.",
       MetricType::Counter, &RelayCounters::upstream_bytes_in},
      {"weir_gateway_upstream_sent_bytes_total", "Bytes written to model servers.",
       MetricType::Counter, &RelayCounters::upstream_bytes_out},
      {"weir_gateway_retries_total", "Attempts beyond the first of a request.", MetricType::Counter,
       &RelayCounters::attempt_retries},
      {"weir_gateway_upstream_connects_total", "Connections dialled to model servers.",
       MetricType::Counter, &RelayCounters::upstream_connects},
      {"weir_gateway_upstream_reuses_total", "Attempts that took a pooled connection.",
       MetricType::Counter, &RelayCounters::upstream_reuses},
      {"weir_gateway_client_connections", "Open connections of clients.", MetricType::Gauge,
       &RelayCounters::client_connections},
      {"weir_gateway_upstream_connections", "Open connections to model servers.", MetricType::Gauge,
       &RelayCounters::upstream_connections},
      {"weir_gateway_requests_in_flight", "Requests between their last byte and their end.",
       MetricType::Gauge, &RelayCounters::requests_in_flight}};
  for (const Row& row : kRows) {
    families.One(row.type, row.name, row.help,
                 Sum(
                     workers, [&](const Worker& w) -> const auto& {
                       return w.relay_counters().*row.counter;
                     }));
  }
  families.Start(MetricType::Counter, "weir_gateway_tokens_total",
                 "Tokens that model servers reported in usage, by kind.");
  const auto tokens = [&](const char* kind, io::RelayCounter WorkerCounters::*counter) {
    families.Add(
        Sum(
            workers, [&](const Worker& w) -> const auto& { return w.counters().*counter; }),
        {{"kind", kind}});
  };
  tokens("prompt", &WorkerCounters::prompt_tokens);
  tokens("cached", &WorkerCounters::cached_tokens);
  tokens("output", &WorkerCounters::output_tokens);
}

void AddRouter(const Router& router, Families& families) {
  const RouterStats stats = router.stats();
  families.One(MetricType::Counter, "weir_decisions_total", "Decisions asked for.",
               stats.decisions);
  families.One(MetricType::Gauge, "weir_flights", "Requests counted as in flight at endpoints.",
               stats.flights_begun - std::min(stats.flights_begun, stats.flights_ended));
  families.One(MetricType::Counter, "weir_flights_refused_total",
               "Requests that were served but not counted, above the limit of flights.",
               stats.flights_refused);
  families.One(MetricType::Gauge, "weir_memory_bytes",
               "Memory held for decisions and requests in flight.", stats.memory_bytes);
  families.Start(MetricType::Counter, "weir_plugin_failures_total",
                 "Calls of a plugin that failed.");
  for (const RouterStats::Plugin& plugin : stats.plugins) {
    families.Add(plugin.failures, {{"plugin_name", plugin.name}, {"plugin_type", plugin.type}});
  }
  families.Start(MetricType::Counter, "weir_plugin_invalid_results_total",
                 "NaN scores, set mask bits and bad indices that a plugin returned.");
  for (const RouterStats::Plugin& plugin : stats.plugins) {
    families.Add(plugin.invalid_results,
                 {{"plugin_name", plugin.name}, {"plugin_type", plugin.type}});
  }
}

void AddFleet(const io::Fleet& fleet, Families& families) {
  const io::Fleet::ScrapeTotals& totals = fleet.scrape_totals();
  families.One(MetricType::Gauge, "weir_endpoints", "Model servers in the pool.",
               fleet.endpoint_count());
  families.One(MetricType::Counter, "weir_endpoints_rejected_total",
               "Entries of the endpoint list that were skipped.", fleet.endpoints_rejected());
  families.One(MetricType::Counter, "weir_endpoint_lists_unusable_total",
               "States of the endpoint list that could not be used; the endpoints stayed.",
               fleet.lists_unusable());
  families.One(MetricType::Counter, "weir_scrapes_total", "Metric scrapes begun.",
               totals.scrapes.load());
  families.Start(MetricType::Counter, "weir_scrape_errors_total",
                 "Scrapes that brought no sample, by reason.");
  for (uint32_t i = 0; i < io::kScrapeErrorCount; ++i) {
    families.Add(totals.errors[i].load(),
                 {{"reason", std::string(ScrapeErrorName(static_cast<io::ScrapeError>(i)))}});
  }
  families.One(MetricType::Counter, "weir_scrape_missing_total",
               "Wanted metrics that a page did not have.", totals.missing.load());
  families.One(MetricType::Counter, "weir_scrape_bad_values_total",
               "Values of wanted metrics that were refused.", totals.bad_values.load());
  families.One(MetricType::Counter, "weir_scrape_malformed_lines_total",
               "Lines of metric pages that are no metrics.", totals.malformed_lines.load());
}

}  // namespace

std::string WriteMetrics(Workers workers, const Router& router, const io::Fleet& fleet) {
  Families families;
  families.Start(MetricType::Counter, "weir_gateway_requests_total",
                 "Requests that reached routing, by how they ended.");
  for (uint32_t i = 0; i < io::kRelayOutcomeCount; ++i) {
    const auto count = Sum(
        workers, [i](const Worker& w) -> const auto& { return w.relay_counters().requests[i]; });
    families.Add(count,
                 {{"outcome", std::string(RelayOutcomeName(static_cast<io::RelayOutcome>(i)))}});
  }
  AddRefusals(workers, families);
  AddTraffic(workers, families);
  families.Histogram("weir_decision_seconds", "Time to decide where one request goes.", workers,
                     &WorkerCounters::decision_latency);
  families.Histogram("weir_gateway_first_byte_seconds",
                     "From the whole request to the first byte of its answer.", workers,
                     &WorkerCounters::first_byte_latency);
  families.Histogram("weir_gateway_request_seconds",
                     "From the whole request to the last byte of its answer.", workers,
                     &WorkerCounters::request_latency);
  AddRouter(router, families);
  AddFleet(fleet, families);
  return families.Text();
}

}  // namespace weir::gateway
