#include "metrics_page.h"

namespace weir::epp {
namespace {

using io::MetricKind;

// `counter` picks one counter out of a server's.
template <class Pick>
double Sum(std::span<const std::unique_ptr<Worker>> workers, const Pick& counter) {
  uint64_t sum = 0;
  for (const auto& worker : workers) sum += counter(worker->counters()).value();
  return static_cast<double>(sum);
}

}  // namespace

void WriteTransportMetrics(std::span<const std::unique_ptr<Worker>> workers,
                           const io::HeldBytes& held, io::MetricsText& text) {
  struct Row {
    const char* name;
    const char* help;
    MetricKind kind;
    io::Counter io::GrpcCounters::*counter;
  };
  using io::GrpcCounters;
  static constexpr Row kRows[] = {
      {"weir_epp_connections", "Open connections of proxies.", MetricKind::kGauge,
       &GrpcCounters::connections},
      {"weir_epp_streams", "Open streams, and other calls.", MetricKind::kGauge,
       &GrpcCounters::calls_in_flight},
      {"weir_epp_received_messages_total", "Messages read from proxies.", MetricKind::kCounter,
       &GrpcCounters::messages_in},
      {"weir_epp_sent_messages_total", "Messages written to proxies.", MetricKind::kCounter,
       &GrpcCounters::messages_out},
      {"weir_epp_received_bytes_total", "Bytes read from proxies.", MetricKind::kCounter,
       &GrpcCounters::bytes_in},
      {"weir_epp_sent_bytes_total", "Bytes written to proxies.", MetricKind::kCounter,
       &GrpcCounters::bytes_out}};
  for (const Row& row : kRows) {
    text.One(row.kind, row.name, row.help,
             Sum(
                 workers, [&](const GrpcCounters& c) -> const auto& { return c.*row.counter; }));
  }
  text.Family(MetricKind::kCounter, "weir_epp_streams_total",
              "Streams and other calls that have ended, by how.");
  for (uint32_t i = 0; i < io::kGrpcEndCount; ++i) {
    text.Value({{"end", GrpcEndName(static_cast<io::GrpcEnd>(i))}},
               Sum(
                   workers, [i](const GrpcCounters& c) -> const auto& { return c.calls[i]; }));
  }
  text.Family(MetricKind::kCounter, "weir_epp_refused_total",
              "Connections and calls that were refused, by reason.");
  for (uint32_t i = 0; i < io::kGrpcRefusalCount; ++i) {
    text.Value({{"reason", GrpcRefusalName(static_cast<io::GrpcRefusal>(i))}},
               Sum(
                   workers, [i](const GrpcCounters& c) -> const auto& { return c.refused[i]; }));
  }
  text.One(MetricKind::kGauge, "weir_epp_held_body_bytes",
           "Bytes of headers and bodies held for requests.", static_cast<double>(held.held()));
}

void WriteCertificateMetrics(std::initializer_list<const Certificates*> certificates,
                             io::MetricsText& text) {
  uint64_t taken = 0;
  uint64_t refused = 0;
  for (const Certificates* one : certificates) {
    if (one == nullptr) continue;
    taken += one->reloads();
    refused += one->reload_failures();
  }
  text.Family(MetricKind::kCounter, "weir_epp_certificate_reloads_total",
              "Changes of certificate files, taken or refused.");
  text.Value({{"result", "ok"}}, static_cast<double>(taken));
  text.Value({{"result", "refused"}}, static_cast<double>(refused));
}

void WriteInfo(io::MetricsText& text) {
  const io::MetricLabel labels[] = {{"commit", WEIR_COMMIT}, {"build_ref", "weir-" WEIR_VERSION}};
  text.Family(MetricKind::kGauge, "llm_d_epp_info", "[ALPHA] The build of this picker.");
  text.Value(labels, 1);
  text.Family(MetricKind::kGauge, "inference_extension_info",
              "[ALPHA] [Deprecated: Use llm_d_epp_info] The build of this picker.");
  text.Value(labels, 1);
}

}  // namespace weir::epp
