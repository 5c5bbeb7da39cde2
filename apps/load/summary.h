// load/summary.h: the outcome of a run as a document: what --json writes and `compare` reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "load/result.h"

namespace weir::load {

inline constexpr char kSchema[] = "weir-load/1";
inline constexpr size_t kCdfPointsMax = 200;
inline constexpr size_t kSummaryBytesMax = 64 << 20;  // of a file given to `compare`

struct Quantiles {  // milliseconds
  uint64_t count = 0;
  double min = 0, mean = 0, p50 = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
};

struct SeriesPoint {
  double time_s = 0;  // since the start of the run
  double requests_per_s = 0, output_tokens_per_s = 0, errors_per_s = 0;
  double ttft_ms_p50 = 0, ttft_ms_p90 = 0;  // of the requests due in this stretch
  uint64_t ttft_count = 0;
};

// CPU and memory of a process during the measured part of a run.
struct ProcessUse {
  std::string name;
  double cpu_s = 0;
  double us_per_request = 0, us_per_event = 0;
  uint64_t resident_bytes_max = 0;
};

struct Summary {
  std::string name;      // the policy, in `compare`
  std::string workload;  // one line for people
  std::string started_at;
  std::vector<std::string> targets;
  uint64_t seed = 0;
  uint64_t requests = 0, errors = 0, warmup_requests = 0, unsent = 0, unfinished = 0;
  uint64_t waited_for_turn = 0;  // arrivals that found no conversation ready, warm-up included
  uint64_t token_events = 0;     // events with text while measuring, of unfinished requests too
  double token_events_per_s = 0;
  double duration_s = 0;
  double offered_requests_per_s = 0, requests_per_s = 0;
  double output_tokens_per_s = 0, input_tokens_per_s = 0;
  uint64_t prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
  double prefix_hit_ratio = 0;
  Slo slo;
  double goodput_requests_per_s = 0, good_ratio = 0;  // 0 without limits
  Quantiles ttft_ms, itl_ms, tpot_ms, e2e_ms, lateness_ms;
  std::vector<std::pair<std::string, uint64_t>> errors_by_kind;
  std::vector<std::pair<std::string, uint64_t>> servers;  // by name
  std::vector<std::pair<double, double>> ttft_cdf;        // ms, share of requests
  std::vector<SeriesPoint> series;
  std::vector<ProcessUse> processes;  // this program first
};

// The figures part; name, workload, targets and processes are the caller's.
Summary Summarize(const Figures& figures, const Slo& slo);

nlohmann::json ToJson(const Summary& summary);

// Reads what ToJson() made. Unknown members are ignored.
// Errors: kInvalidArgument, naming the member and what was expected.
absl::StatusOr<Summary> ParseSummary(std::string_view text);

}  // namespace weir::load
