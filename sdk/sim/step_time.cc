#include "weir/sim/step_time.h"

#include <algorithm>
#include <cmath>

namespace weir::sim {
namespace {
constexpr double kActivationBytes = 2;
}  // namespace

StepTimeModel::StepTimeModel(const ModelShape& model, const Hardware& hardware,
                             uint32_t tensor_parallel, Precision precision)
    : model_(model),
      bytes_per_weight_(precision == Precision::kFp8 ? 1 : 2),
      linear_params_(model.active_linear_params()),
      kv_bytes_per_token_(model.kv_bytes_per_token()),
      attention_flops_(4.0 * model.layers * model.heads * model.head_dim),
      flops_per_s_(tensor_parallel * hardware.compute_ratio *
                   (precision == Precision::kFp8 ? hardware.flops_fp8 : hardware.flops_bf16)),
      weight_bytes_per_s_(tensor_parallel * hardware.hbm_bytes_per_s * hardware.weight_ratio),
      kv_bytes_per_s_(tensor_parallel * hardware.hbm_bytes_per_s * hardware.kv_ratio),
      link_s_per_token_(2.0 * model.layers * model.hidden * kActivationBytes * 2.0 *
                        (tensor_parallel - 1) / tensor_parallel / hardware.link_bytes_per_s),
      fixed_overhead_s_((kStepOverheadUs + kLayerOverheadUs * model.layers) * 1e-6) {}

// A layer's experts stream only if some token of the step chose them.
double StepTimeModel::WeightBytes(double tokens) const noexcept {
  double params = linear_params_;
  if (model_.experts > 0) {
    const double count = model_.experts;
    const double missed = std::pow((count - model_.experts_active) / count, tokens);
    params = model_.linear_params(count * (1 - missed));
  }
  return (params + static_cast<double>(model_.vocabulary) * model_.hidden) * bytes_per_weight_;
}

double StepTimeModel::StepMs(std::span<const StepItem> items,
                             uint64_t distinct_tokens) const noexcept {
  if (items.empty()) return 0;
  double tokens = 0;
  double attention = 0;  // (new token, context token) pairs of the prefill chunks
  double context = 0;    // tokens that the decodes read
  for (const StepItem& item : items) {
    tokens += item.new_tokens;
    if (item.decode) {
      context += item.computed_tokens;
    } else {
      attention += item.new_tokens * (item.computed_tokens + item.new_tokens / 2.0);
    }
  }
  const double requests = static_cast<double>(items.size());
  const double flops = 2 * linear_params_ * tokens + attention_flops_ * attention +
                       2.0 * model_.vocabulary * model_.hidden * requests;
  const double distinct = std::min(context, static_cast<double>(distinct_tokens));
  const double kv_tokens = distinct + (1 - kSharedReadRatio) * (context - distinct);
  const double seconds = std::max(flops / flops_per_s_, WeightBytes(tokens) / weight_bytes_per_s_) +
                         kv_tokens * kv_bytes_per_token_ / kv_bytes_per_s_ +
                         link_s_per_token_ * tokens + fixed_overhead_s_ +
                         kRequestOverheadUs * 1e-6 * requests;
  return seconds * 1e3;
}

}  // namespace weir::sim
