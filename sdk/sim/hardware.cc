#include "weir/sim/hardware.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace weir::sim {
namespace {

constexpr double kGib = 1024.0 * 1024.0 * 1024.0;
constexpr double kKvBytesPerValue = 2;

// Memory that is neither weights nor KV blocks, per device.
constexpr double kActivationGibDense = 5.5;
constexpr double kActivationGibExperts = 8;
constexpr double kRuntimeGibOneDevice = 0.15;
constexpr double kRuntimeGibManyDevices = 0.6;

constexpr Hardware kHardware[] = {
    {.name = "a100",
     .flops_bf16 = 312e12,
     .flops_fp8 = 312e12,
     .hbm_bytes_per_s = 2.039e12,
     .memory_gib = 80,
     .compute_ratio = 0.50},
    {.name = "h100",
     .flops_bf16 = 989.5e12,
     .flops_fp8 = 1979e12,
     .hbm_bytes_per_s = 3.35e12,
     .memory_gib = 80,
     .large_batch_defaults = true},
    {.name = "h200",
     .flops_bf16 = 989.5e12,
     .flops_fp8 = 1979e12,
     .hbm_bytes_per_s = 4.8e12,
     .memory_gib = 141,
     .large_batch_defaults = true},
    {.name = "l40s",
     .flops_bf16 = 362.05e12,
     .flops_fp8 = 733e12,
     .hbm_bytes_per_s = 0.864e12,
     .memory_gib = 48,
     .compute_ratio = 0.42},
};

constexpr ModelShape kModels[] = {
    {.name = "llama-3.1-70b",
     .layers = 80,
     .hidden = 8192,
     .heads = 64,
     .kv_heads = 8,
     .head_dim = 128,
     .ffn_hidden = 28672,
     .vocabulary = 128256},
    {.name = "llama-3.1-8b",
     .layers = 32,
     .hidden = 4096,
     .heads = 32,
     .kv_heads = 8,
     .head_dim = 128,
     .ffn_hidden = 14336,
     .vocabulary = 128256},
    {.name = "qwen3-0.6b",
     .layers = 28,
     .hidden = 1024,
     .heads = 16,
     .kv_heads = 8,
     .head_dim = 128,
     .ffn_hidden = 3072,
     .vocabulary = 151936,
     .tied_embeddings = true},
    {.name = "qwen3-30b-a3b",
     .layers = 48,
     .hidden = 2048,
     .heads = 32,
     .kv_heads = 4,
     .head_dim = 128,
     .ffn_hidden = 768,
     .vocabulary = 151936,
     .experts = 128,
     .experts_active = 8},
    {.name = "qwen3-32b",
     .layers = 64,
     .hidden = 5120,
     .heads = 64,
     .kv_heads = 8,
     .head_dim = 128,
     .ffn_hidden = 25600,
     .vocabulary = 151936},
};

template <typename T>
absl::StatusOr<T> Find(std::span<const T> presets, std::string_view kind, std::string_view name) {
  std::string known;
  for (const T& preset : presets) {
    if (absl::EqualsIgnoreCase(absl::string_view(preset.name.data(), preset.name.size()),
                               absl::string_view(name.data(), name.size()))) {
      return preset;
    }
    absl::StrAppend(&known, known.empty() ? "" : ", ", std::string(preset.name));
  }
  return absl::NotFoundError(
      absl::StrCat(std::string(kind), " \"", std::string(name), "\": expected one of ", known));
}

}  // namespace

double ModelShape::linear_params(double expert_count) const noexcept {
  const double attention = 2.0 * hidden * heads * head_dim + 2.0 * hidden * kv_heads * head_dim;
  const double expert = 3.0 * hidden * ffn_hidden;
  const double router = experts > 0 ? static_cast<double>(hidden) * experts : 0.0;
  return layers * (attention + router + expert * (experts > 0 ? expert_count : 1.0));
}

double ModelShape::active_linear_params() const noexcept { return linear_params(experts_active); }

double ModelShape::total_params() const noexcept {
  const double embedding = static_cast<double>(vocabulary) * hidden;
  return linear_params(experts) + embedding * (tied_embeddings ? 1 : 2);
}

double ModelShape::kv_bytes_per_token() const noexcept {
  return 2.0 * layers * kv_heads * head_dim * kKvBytesPerValue;
}

std::span<const Hardware> HardwarePresets() noexcept { return kHardware; }
std::span<const ModelShape> ModelPresets() noexcept { return kModels; }

absl::StatusOr<Hardware> FindHardware(std::string_view name) {
  return Find(HardwarePresets(), "hardware", name);
}

absl::StatusOr<ModelShape> FindModel(std::string_view name) {
  return Find(ModelPresets(), "model shape", name);
}

uint64_t KvBlockCapacity(const ModelShape& model, const Hardware& hardware,
                         uint32_t tensor_parallel, Precision precision, const MemoryPlan& plan,
                         uint32_t block_tokens) {
  const double weight_bytes = model.total_params() * (precision == Precision::kFp8 ? 1 : 2);
  const double other_gib = (model.experts > 0 ? kActivationGibExperts : kActivationGibDense) +
                           (tensor_parallel == 1 ? kRuntimeGibOneDevice : kRuntimeGibManyDevices);
  const double free_bytes_per_device =
      (hardware.memory_gib * plan.utilization_ratio - other_gib) * kGib -
      weight_bytes / tensor_parallel;
  const double block_bytes = model.kv_bytes_per_token() * block_tokens;
  return static_cast<uint64_t>(
      std::max(0.0, free_bytes_per_device * tensor_parallel / block_bytes));
}

}  // namespace weir::sim
