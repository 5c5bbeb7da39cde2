// weir/io/decision_log/log_metrics.h: what a decision log counts, on a metrics page.
#pragma once

#include "weir/io/decision_log/writer.h"
#include "weir/io/metrics/text.h"

namespace weir::io {

// Size, decisions and losses: the families weir_record_... [control, concurrent]
void WriteDecisionLogMetrics(const DecisionLogStats& stats, MetricsText& text);

}  // namespace weir::io
