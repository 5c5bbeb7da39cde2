#include "weir/io/decision_log/log_metrics.h"

namespace weir::io {

void WriteDecisionLogMetrics(const DecisionLogStats& stats, MetricsText& text) {
  const auto number = [](uint64_t value) { return static_cast<double>(value); };
  text.One(MetricKind::kGauge, "weir_record_active",
           "1 while decisions are recorded, 0 once recording has ended.", stats.recording ? 1 : 0);
  text.One(MetricKind::kGauge, "weir_record_file_bytes", "Size of the decision log.",
           number(stats.bytes));
  text.One(MetricKind::kCounter, "weir_record_decisions_total", "Decisions in the decision log.",
           number(stats.decisions));
  text.Family(MetricKind::kCounter, "weir_record_dropped_total",
              "Decisions and events that the decision log lacks, by reason.");
  text.Value({{"reason", "ring_full"}}, number(stats.dropped_ring_full));
  text.Value({{"reason", "stopped"}}, number(stats.dropped_stopped));
}

}  // namespace weir::io
