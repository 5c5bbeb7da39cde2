// weir/sim/hardware.h: what a simulated server runs on and what it serves. Start at FindHardware()
// and FindModel().
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "weir/status.h"

namespace weir::sim {

// One accelerator. Rates are per device and per second; the efficiencies say which share of a data
// sheet's peak a serving engine reaches.
struct Hardware {
  std::string_view name;       // lower case, for example "h100"
  double flops_bf16 = 0;       // dense peak, FLOP/s
  double flops_fp8 = 0;        // dense peak, FLOP/s; equal to flops_bf16 where FP8 has no units
  double hbm_bytes_per_s = 0;  // memory bandwidth
  double memory_gib = 0;       // device memory
  double compute_ratio = 0.6;  // share of the FLOP peak in prefill, 0..1
  double weight_ratio = 0.85;  // share of the bandwidth when weights stream, 0..1
  double kv_ratio = 0.8;       // share of the bandwidth when KV blocks are read, 0..1
  double link_bytes_per_s = 300e9;    // effective all-reduce bandwidth between devices
  bool large_batch_defaults = false;  // the engine picks its large token budget on this device
};

// The shape of a decoder-only transformer with grouped-query attention.
struct ModelShape {
  std::string_view name;  // lower case, for example "llama-3.1-8b"
  uint32_t layers = 0;
  uint32_t hidden = 0;
  uint32_t heads = 0;
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;
  uint32_t ffn_hidden = 0;  // per expert where experts > 0
  uint32_t vocabulary = 0;
  bool tied_embeddings = false;  // the output head is the embedding table
  uint32_t experts = 0;          // 0: dense
  uint32_t experts_active = 0;   // per token, 1..experts where experts > 0

  // Parameters of the linear maps of all layers that one token passes through. [concurrent]
  double active_linear_params() const noexcept;
  // The same, counting `experts` of each layer; `experts` is ignored for a dense model.
  // [concurrent]
  double linear_params(double expert_count) const noexcept;
  // Parameters that occupy memory: all layers, the embedding and the output head. [concurrent]
  double total_params() const noexcept;
  // Bytes of keys and values that one token adds, over all layers, at two bytes a value.
  // [concurrent]
  double kv_bytes_per_token() const noexcept;
};

// Width of weights and of the matrix units' inputs. Keys and values stay at 16 bits.
enum class Precision : uint8_t { kBf16, kFp8 };

// The built-in tables, sorted by name; they live forever. [concurrent]
std::span<const Hardware> HardwarePresets() noexcept;
std::span<const ModelShape> ModelPresets() noexcept;

// Looks a preset up by name, ignoring case. Errors: kNotFound; the text lists the known names.
// [control, concurrent]
absl::StatusOr<Hardware> FindHardware(std::string_view name);
absl::StatusOr<ModelShape> FindModel(std::string_view name);

// How an engine divides device memory.
struct MemoryPlan {
  double utilization_ratio = 0.9;  // share of device memory that the engine may use, 0..1
};

// KV blocks of `block_tokens` tokens that fit beside weights, activations and runtime on
// `tensor_parallel` devices; 0 if the weights alone do not fit. [control, concurrent]
// REQUIRES: tensor_parallel >= 1, block_tokens >= 1
uint64_t KvBlockCapacity(const ModelShape& model, const Hardware& hardware,
                         uint32_t tensor_parallel, Precision precision, const MemoryPlan& plan,
                         uint32_t block_tokens);

}  // namespace weir::sim
