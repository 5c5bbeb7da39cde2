// Latency per request, as simulators without an engine model have it: each running request sleeps
// alone. For manifests and tests written for such simulators.
#pragma once

#include <memory>

#include "backend.h"
#include "weir/random.h"

namespace weir::sim {

// Draws times, in whole milliseconds.
class LatencyCalculator {
 public:
  // REQUIRES: running_requests_max >= 1
  LatencyCalculator(const LegacyLatency& latency, uint32_t running_requests_max)
      : latency_(latency), running_requests_max_(running_requests_max) {}

  // 1 for one running request, time_factor_under_load when all slots run.
  double LoadFactor(uint32_t running_requests) const noexcept;
  // Until the first token. `remote_prefill`: the prompt's KV blocks come over the network.
  int64_t FirstTokenNs(Random& random, uint32_t running_requests, uint32_t prompt_tokens,
                       uint32_t cached_tokens, bool remote_prefill) const;
  int64_t InterTokenNs(Random& random, uint32_t running_requests) const;

 private:
  int64_t Draw(Random& random, double mean_ns, double std_dev_ns) const;

  LegacyLatency latency_;
  uint32_t running_requests_max_;
};

// Serves at most options.running_requests_max requests at a time, in order of arrival; with a KV
// cache, prompts occupy blocks and hit leading ones. Borrows `observer`.
// REQUIRES: Resolve(options) succeeded
std::unique_ptr<Backend> CreateLegacyBackend(const SimOptions& options, uint32_t index,
                                             EngineObserver& observer);

}  // namespace weir::sim
