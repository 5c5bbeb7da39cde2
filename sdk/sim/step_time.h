// weir/sim/step_time.h: how long one scheduler step of an engine takes.
#pragma once

#include <cstdint>
#include <span>

#include "weir/sim/hardware.h"

namespace weir::sim {

// What one request contributes to a step.
struct StepItem {
  uint32_t new_tokens = 0;       // tokens computed in this step, >= 1
  uint32_t computed_tokens = 0;  // tokens whose keys and values exist already
  bool decode = false;           // reads its whole context to produce one token
};

// A roofline per step: compute or weight streaming, whichever is slower, plus KV reads, all-reduce
// and host overhead. Immutable after construction.
class StepTimeModel {
 public:
  // Host overhead of a step; a fit to published latencies of vLLM.
  static constexpr double kStepOverheadUs = 126;
  static constexpr double kLayerOverheadUs = 32;
  static constexpr double kRequestOverheadUs = 4.4;
  // Share of the reads of a shared block that the cache of the device serves.
  static constexpr double kSharedReadRatio = 0.5;

  // REQUIRES: tensor_parallel >= 1
  StepTimeModel(const ModelShape& model, const Hardware& hardware, uint32_t tensor_parallel,
                Precision precision);

  // Duration of a step over `items` in milliseconds; 0 for no items. `distinct_tokens` is how many
  // tokens the blocks in use hold: contexts that share blocks are read once for that part.
  // O(items), no allocation. [hot, concurrent]
  double StepMs(std::span<const StepItem> items, uint64_t distinct_tokens) const noexcept;

 private:
  double WeightBytes(double tokens) const noexcept;

  ModelShape model_;
  double bytes_per_weight_;
  double linear_params_;
  double kv_bytes_per_token_;
  double attention_flops_;     // per (new token, context token)
  double flops_per_s_;         // all devices, efficiency applied
  double weight_bytes_per_s_;  // all devices, efficiency applied
  double kv_bytes_per_s_;      // all devices, efficiency applied
  double link_s_per_token_;    // all-reduce
  double fixed_overhead_s_;    // per step
};

}  // namespace weir::sim
