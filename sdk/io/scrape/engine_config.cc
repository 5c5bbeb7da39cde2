#include "weir/io/scrape/engine_config.h"

#include <array>
#include <cctype>

#include "absl/strings/str_cat.h"
#include "weir/io/scrape/exposition.h"

namespace weir::io {
namespace {

// A new engine is one row here and one golden page under tests/golden/scrape/.
constexpr std::array kBuiltinEngines = {
    BuiltinEngine{.name = "vllm",
                  .waiting = "vllm:num_requests_waiting",
                  .running = "vllm:num_requests_running",
                  .kv_used = "vllm:kv_cache_usage_perc",
                  .lora = "vllm:lora_requests_info",
                  .cache_info = "vllm:cache_config_info",
                  .block_tokens_label = "block_size",
                  .block_count_label = "num_gpu_blocks"},
    BuiltinEngine{.name = "sglang",
                  .waiting = "sglang:num_queue_reqs",
                  .running = "sglang:num_running_reqs",
                  .kv_used = "sglang:token_usage",
                  .cache_info = "sglang:cache_config_info",
                  .block_tokens_label = "page_size",
                  .block_count_label = "num_pages"},
    BuiltinEngine{.name = "trtllm-serve",
                  .waiting = "trtllm_num_requests_waiting",
                  .running = "trtllm_num_requests_running",
                  .kv_used = "trtllm_kv_cache_utilization",
                  .block_tokens = "trtllm_kv_cache_tokens_per_block",
                  .block_count = "trtllm_kv_cache_max_blocks"},
    BuiltinEngine{
        .name = "triton-tensorrt-llm",
        .waiting = "nv_trt_llm_request_metrics{request_type=waiting}",
        .running = "nv_trt_llm_request_metrics{request_type=scheduled}",
        .kv_used = "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}",
        .block_tokens = "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=tokens_per}",
        .block_count = "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=max}"},
    BuiltinEngine{.name = "triton",
                  .waiting = "nv_inference_pending_request_count",
                  .note = "nv_inference_exec_count counts executions since start, so weir does not "
                          "read it as running requests; requests in flight are counted by weir"},
};

std::string_view Trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) {
    text.remove_prefix(1);
  }
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) {
    text.remove_suffix(1);
  }
  return text;
}

bool IsName(std::string_view text, bool colon_allowed) {
  if (text.empty() || (text.front() >= '0' && text.front() <= '9')) return false;
  for (const char c : text) {
    if (!IsMetricNameByte(c) || (c == ':' && !colon_allowed)) return false;
  }
  return true;
}

absl::Status SpecError(std::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", std::string(text.substr(0, 128)),
                   "\", expected name or name{label=value,label=\"value\"}"));
}

}  // namespace

std::span<const BuiltinEngine> BuiltinEngines() noexcept { return kBuiltinEngines; }

absl::StatusOr<MetricSpec> ParseMetricSpec(std::string_view text) {
  if (text.size() > kMetricSpecBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "metric specification of ", text.size(), " bytes, expected at most ", kMetricSpecBytesMax));
  }
  MetricSpec spec;
  std::string_view rest = Trim(text);
  const size_t brace = rest.find('{');
  spec.name = std::string(Trim(rest.substr(0, brace)));
  if (!IsName(spec.name, true)) return SpecError(text);
  if (brace == std::string_view::npos) return spec;
  if (rest.back() != '}') return SpecError(text);
  rest = Trim(rest.substr(brace + 1, rest.size() - brace - 2));
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    const std::string_view pair = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view() : Trim(rest.substr(comma + 1));
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) return SpecError(text);
    const std::string_view name = Trim(pair.substr(0, equals));
    std::string_view value = Trim(pair.substr(equals + 1));
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
      value = value.substr(1, value.size() - 2);
    }
    if (!IsName(name, false) || value.find_first_of("\"{}") != std::string_view::npos) {
      return SpecError(text);
    }
    if (spec.labels.size() == kMetricSpecLabelsMax) {
      return absl::InvalidArgumentError(absl::StrCat("\"", std::string(text.substr(0, 128)),
                                                     "\", expected at most ", kMetricSpecLabelsMax,
                                                     " labels"));
    }
    spec.labels.push_back({std::string(name), std::string(value)});
  }
  return spec;
}

}  // namespace weir::io
