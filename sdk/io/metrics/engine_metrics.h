// weir/io/metrics/engine_metrics.h: what the engine counts by itself, on a metrics page.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "weir/endpoint.h"
#include "weir/io/metrics/text.h"
#include "weir/resources.h"
#include "weir/router.h"

namespace weir::io {

// Decisions, flights, memory, failures of plugins: the families weir_... [control, concurrent]
void WriteEngineMetrics(const RouterStats& stats, MetricsText& text);

struct PoolMetricsOptions {
  std::string pool_name;             // label "name"
  int64_t stale_ns = 2'000'000'000;  // older samples do not count
};

// Averages, deviations and queues of the endpoints with fresh samples, by the names that llm-d's
// picker gives them. `now_ns` is of the clock that stamps samples. [control, concurrent]
void WritePoolMetrics(const PoolSnapshot& pool, int64_t now_ns, const PoolMetricsOptions& options,
                      MetricsText& text);

// How often each target of a model rewrite was chosen, by the same names. [control, concurrent]
void WriteRewriteMetrics(std::span<const RewriteCount> counts, MetricsText& text);

}  // namespace weir::io
