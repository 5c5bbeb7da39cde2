// The counters of one simulated server and their text on /metrics.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "weir/sim/engine.h"

namespace weir::sim {

// A Prometheus histogram.
class Histogram {
 public:
  // `bounds` ascend; they are copied.
  explicit Histogram(std::span<const double> bounds);
  void Observe(double value) noexcept;
  // Appends buckets, sum and count; `labels` are those of each line, without braces.
  void Append(std::string& out, std::string_view name, std::string_view labels) const;

 private:
  std::vector<double> bounds_;
  std::vector<uint64_t> counts_;  // one more than bounds
  double sum_ = 0;
  uint64_t count_ = 0;
};

// What a page shows besides what was observed.
struct MetricsPage {
  Personality personality = Personality::kVllm;
  std::string model_name;
  EngineStats stats;
  uint32_t block_tokens = 16;
  bool old_names = false;     // vllm:gpu_cache_usage_perc too
  uint32_t loras_max = 0;     // 0: no adapter lines
  std::string running_loras;  // comma lists
  std::string waiting_loras;
  double unix_s = 0;
};

class Metrics {
 public:
  // `model_tokens_max` bounds the histograms of token counts.
  explicit Metrics(uint32_t model_tokens_max);

  void OnStep(const StepReport& step);
  // `previous_ns` is the time of the token before it, or the arrival for the first one.
  void OnToken(const TokenReport& token, int64_t previous_ns);
  // `limit_tokens`: what the client asked for at most, 0 if nothing.
  void OnFinished(const FinishReport& finish, uint32_t limit_tokens, uint32_t choices);

  std::string Text(const MetricsPage& page) const;

 private:
  std::string VllmText(const MetricsPage& page) const;
  std::string SglangText(const MetricsPage& page) const;

  Histogram iteration_tokens_, first_token_, inter_token_, e2e_, queue_, inference_, prefill_,
      decode_, prompt_tokens_, output_tokens_, max_output_tokens_, params_n_, params_max_tokens_;
  Histogram sglang_first_token_, sglang_inter_token_, sglang_e2e_, sglang_prompt_, sglang_output_;
  uint64_t cached_tokens_ = 0;
  int64_t last_step_ns_ = 0;
  double tokens_per_s_ = 0;
};

}  // namespace weir::sim
