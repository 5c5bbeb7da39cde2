// ext_proc_load/load.h: a run of many exchanges, and what it measures.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ext_proc_load/exchange.h"
#include "ext_proc_load/script.h"
#include "load/histogram.h"
#include "weir/io/loop/socket.h"

namespace weir::io {
class TlsContext;
}

namespace weir::bench {

inline constexpr uint32_t kConnectionsMax = 1024;
inline constexpr uint32_t kInFlightMax = 100'000;
inline constexpr size_t kMemorySamplesMax = 512;  // then every other one is dropped

struct LoadPlan {
  weir::io::SocketAddress target;
  const weir::io::TlsContext* tls_or_null = nullptr;  // borrowed
  ScriptOptions script;
  ExchangeOptions exchange;
  uint32_t connections = 2;
  uint32_t concurrency = 16;      // closed loop: requests at a time
  double rate = 0;                // > 0: requests a second, whatever the answers do
  uint32_t in_flight_max = 1000;  // at a rate: more are not sent, and counted
  int64_t warmup_ns = 0;
  int64_t duration_ns = 0;    // of what is measured; 0: until requests_max
  uint64_t requests_max = 0;  // warm-up included; 0: no limit
  int64_t timeout_ns = 0;     // of one exchange, and of connecting
  uint64_t seed = 0;          // runs with different seeds send different prompts
  pid_t server_pid = 0;       // whose CPU and memory are measured; 0: nobody's
};

struct MemorySample {
  uint64_t requests = 0;  // begun by then
  uint64_t resident_bytes = 0;
};

struct LoadResult {
  double seconds = 0;  // measured
  uint64_t requests = 0;
  uint64_t errors = 0;  // of the whole run, warm-up and last answers too
  uint64_t unsent = 0;  // for want of in_flight_max
  std::map<std::string, uint64_t> errors_by_kind;
  double server_cpu_s = 0;
  double client_cpu_s = 0;
  weir::load::Histogram decision_ns, exchange_ns;
  std::vector<MemorySample> memory;
};

// Runs to the end of the plan and waits for the last answers.
// Errors: kInvalidArgument for a plan that cannot be, kNotFound if there is no such process,
// kUnavailable if a connection fails or is lost.  [io]
absl::StatusOr<LoadResult> RunLoad(const LoadPlan& plan);

// Measures the process for `duration_ns` without sending anything. Errors: kNotFound.  [io]
absl::StatusOr<LoadResult> MeasureIdle(pid_t server_pid, int64_t duration_ns);

}  // namespace weir::bench
