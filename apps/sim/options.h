// What a simulated server is told: the flags as values, and their checks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "weir/sim/engine.h"
#include "weir/status.h"

namespace weir::sim {

// Limits of one process.
inline constexpr uint32_t kInstancesMax = 512;
inline constexpr uint32_t kServedNamesMax = 64;
inline constexpr uint32_t kLorasMax = 1024;

// A mean with its standard deviation.
struct LatencyOption {
  int64_t mean_ns = 0;
  int64_t std_dev_ns = 0;
};

// Latencies per request instead of an engine model. Times are the peer's; see legacy_backend.h.
struct LegacyLatency {
  std::string calculator;  // "", "constant" or "per-token"
  LatencyOption time_to_first_token;
  LatencyOption inter_token;
  LatencyOption kv_transfer;
  int64_t prefill_overhead_ns = 0;
  LatencyOption prefill_per_token;
  LatencyOption kv_transfer_per_token;
  double time_factor_under_load = 1;
};

struct LoraModule {
  std::string name;
  std::string path;
  std::string base_model_name;
};

struct SimOptions {
  // What is served.
  std::string model;
  std::vector<std::string> served_names;  // empty: the model
  std::vector<LoraModule> loras;
  uint32_t loras_max = 1;
  Personality personality = Personality::kVllm;
  std::string mode = "random";  // or "echo"

  // Where.
  std::string host = "0.0.0.0";
  uint32_t port = 8000;  // of the first instance; 0: any for each
  uint32_t instances = 1;
  std::string ports_file;

  // The engine model.
  std::string hardware = "h100";
  std::string model_shape;  // empty: by the model's name, else llama-3.1-8b
  uint32_t tensor_parallel = 1;
  Precision precision = Precision::kBf16;
  double gpu_memory_utilization = 0.9;
  uint32_t block_tokens = 0;
  uint32_t block_count = 0;
  bool prefix_caching = true;
  std::optional<uint32_t> model_tokens_max;      // absent: 1024 with legacy latency, else 131072
  std::optional<uint32_t> running_requests_max;  // absent: 5 with legacy latency, else the engine's
  uint32_t waiting_requests_max = 1000;
  uint32_t step_tokens_max = 0;
  uint32_t prefill_chunk_tokens_max = 0;
  bool priority_scheduling = false;
  bool mixed_chunk = false;
  bool longest_prefix_first = false;
  bool cpu_costs = true;
  Jitter jitter = Jitter::kReal;
  double time_scale = 1;  // simulated seconds per second
  uint64_t seed = 0;

  // Legacy latency, used if `legacy` is set.
  bool legacy = false;
  LegacyLatency latency;
  bool legacy_kv_cache = false;
  uint32_t legacy_kv_blocks = 1024;

  // The API.
  uint32_t body_mib_max = 4;
  bool request_id_headers = false;
  bool sleep_mode = false;  // effective only with the development mode of the environment
  bool sleep_mode_allowed = false;
  bool enable_metrics = false;  // SGLang serves /metrics only with it
  bool old_metric_names = false;
  uint32_t embedding_dimensions = 384;
  int64_t startup_ns = 0;
  std::string pod_name;
  std::string pod_namespace;

  // Failures.
  uint32_t failure_ratio_percent = 0;  // of requests, 0..100
  std::vector<std::string> failure_types;
};

// Fills what depends on other fields. Errors: kInvalidArgument, with flag, value and expectation.
// [control]
absl::Status Resolve(SimOptions& options);

// The engine's options of instance `index`. REQUIRES: Resolve() succeeded
EngineOptions EngineOptionsOf(const SimOptions& options, uint32_t index);

// Nanoseconds of a duration such as "1.5s", "250us" or "1h30m"; a bare integer counts milliseconds.
// Errors: kInvalidArgument, with the text.  [control]
absl::StatusOr<int64_t> ParseDurationNs(const std::string& text);

// One adapter from {"name","path","base_model_name"}. Errors: kInvalidArgument.  [control]
absl::StatusOr<LoraModule> ParseLoraModule(const std::string& json);

}  // namespace weir::sim
