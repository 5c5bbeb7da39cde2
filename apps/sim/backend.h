// Where the times of a simulated server come from: an engine model, or a latency per request.
#pragma once

#include <cstdint>
#include <memory>

#include "options.h"
#include "weir/sim/engine.h"
#include "weir/status.h"

namespace weir::sim {

// Virtual time, reports through an EngineObserver; the members mean what they mean for Engine.
class Backend {
 public:
  virtual ~Backend() = default;
  // REQUIRES: AdvanceTo(now_ns) has been called
  virtual absl::Status Submit(RequestSpec spec, int64_t now_ns) = 0;
  virtual bool Cancel(RequestId id) = 0;
  virtual int64_t NextEventTime() const = 0;
  virtual void AdvanceTo(int64_t now_ns) = 0;
  virtual EngineStats stats() const = 0;
  virtual bool ResetPrefixCache() = 0;
  virtual void Restart() = 0;
  virtual void set_step_time_factor(double factor) = 0;
  virtual uint32_t block_tokens() const = 0;
  // Replaces the latencies of requests from now on. False if there are none to replace.
  virtual bool SetLatency(const LegacyLatency&) { return false; }
};

// Borrows `observer` until the backend is destroyed. Errors: those of Engine::Create().
absl::StatusOr<std::unique_ptr<Backend>> CreateModelBackend(const EngineOptions& options,
                                                            EngineObserver& observer);

}  // namespace weir::sim
