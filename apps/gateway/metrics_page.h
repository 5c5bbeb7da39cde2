// metrics_page.h: the gateway's own metrics in the Prometheus text format.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "weir/io/decision_log/writer.h"
#include "weir/io/fleet/fleet.h"
#include "weir/router.h"
#include "worker.h"

namespace weir::gateway {

// Sums the workers' counters and writes them with the router's, the fleet's and the decision log's.
// [concurrent]
std::string WriteMetrics(std::span<const std::unique_ptr<Worker>> workers, const Router& router,
                         const io::Fleet& fleet, const io::DecisionLogWriter* recorder_or_null);

}  // namespace weir::gateway
