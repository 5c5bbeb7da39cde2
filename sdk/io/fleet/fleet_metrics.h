// weir/io/fleet/fleet_metrics.h: what a fleet counts, on a metrics page.
#pragma once

#include "weir/io/fleet/fleet.h"
#include "weir/io/metrics/text.h"

namespace weir::io {

// Endpoints and scrapes: the families weir_... [control, concurrent]
void WriteFleetMetrics(const Fleet& fleet, MetricsText& text);

// Scrapes that failed, by the names that llm-d's picker gives them. [control, concurrent]
void WriteDataLayerMetrics(const Fleet& fleet, MetricsText& text);

}  // namespace weir::io
