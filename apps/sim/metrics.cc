#include "metrics.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "json_text.h"

namespace weir::sim {
namespace {

constexpr double kFirstTokenBounds[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                        1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
constexpr double kInterTokenBounds[] = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                                        .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
constexpr double kLatencyBounds[] = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                     30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
constexpr double kIterationBounds[] = {1,   8,    16,   32,   64,   128,  256,
                                       512, 1024, 2048, 4096, 8192, 16384};
constexpr double kParamsNBounds[] = {1, 2, 5, 10, 20};
constexpr double kSglangFirstTokenBounds[] = {.1, .2, .4, .6, .8, 1,  2,   4,   6,
                                              8,  10, 20, 40, 60, 80, 100, 200, 400};
constexpr double kSglangInterTokenBounds[] = {.002, .004, .006, .008, .01, .015, .02, .025,
                                              .03,  .035, .04,  .06,  .08, .1,   .2,  .4,
                                              .6,   .8,   1,    2,    4,   6,    8};
constexpr double kSglangE2eBounds[] = {.1, .2, .4, .6, .8,  1,   2,   4,   6,    8,    10,
                                       20, 40, 60, 80, 100, 200, 400, 600, 1200, 1800, 2400};
constexpr double kSglangTokenBounds[] = {
    100,   300,   500,   700,   1000,  1500,   2000,   3000,   4000,   5000,
    6000,  7000,  8000,  9000,  10000, 12000,  15000,  20000,  22000,  25000,
    30000, 35000, 40000, 66000, 99000, 132000, 300000, 600000, 900000, 1100000};

// 1 2 5 10 20 50 ... up to `most`.
std::vector<double> OneTwoFive(uint32_t most) {
  std::vector<double> bounds;
  for (double decade = 1;; decade *= 10) {
    for (const double step : {1.0, 2.0, 5.0}) {
      if (decade * step > most) return bounds;
      bounds.push_back(decade * step);
    }
  }
}

double Seconds(int64_t ns) { return static_cast<double>(ns) / 1e9; }

void AppendNumber(std::string& out, double value) {
  char text[352];  // the longest double without an exponent
  const auto end = std::to_chars(text, text + sizeof(text), value, std::chars_format::fixed);
  out.append(text, end.ptr);
}

void AppendLine(std::string& out, std::string_view name, std::string_view labels, double value) {
  out += name;
  out += '{';
  out += labels;
  out += "} ";
  AppendNumber(out, value);
  out += '\n';
}

void AppendType(std::string& out, std::string_view name, std::string_view type) {
  out += "# TYPE ";
  out += name;
  out += ' ';
  out += type;
  out += '\n';
}

void AppendOne(std::string& out, std::string_view name, std::string_view type,
               std::string_view labels, double value) {
  AppendType(out, name, type);
  AppendLine(out, name, labels, value);
}

void AppendLabel(std::string& labels, std::string_view name, std::string_view value) {
  if (!labels.empty()) labels += ',';
  labels += name;
  labels += "=";
  AppendJsonString(labels, value);
}

double UsedRatio(const EngineStats& stats) {
  return stats.block_count == 0 ? 0 : static_cast<double>(stats.used_blocks) / stats.block_count;
}

}  // namespace

Histogram::Histogram(std::span<const double> bounds)
    : bounds_(bounds.begin(), bounds.end()), counts_(bounds.size() + 1) {}

void Histogram::Observe(double value) noexcept {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  ++counts_[static_cast<size_t>(bucket)];
  sum_ += value;
  ++count_;
}

void Histogram::Append(std::string& out, std::string_view name, std::string_view labels) const {
  AppendType(out, name, "histogram");
  uint64_t total = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    total += counts_[i];
    out += name;
    out += "_bucket{";
    out += labels;
    out += ",le=\"";
    if (i < bounds_.size()) {
      AppendNumber(out, bounds_[i]);
    } else {
      out += "+Inf";
    }
    out += "\"} ";
    AppendNumber(out, static_cast<double>(total));
    out += '\n';
  }
  std::string part(name);
  AppendLine(out, part + "_sum", labels, sum_);
  AppendLine(out, part + "_count", labels, static_cast<double>(count_));
}

Metrics::Metrics(uint32_t model_tokens_max)
    : iteration_tokens_(kIterationBounds),
      first_token_(kFirstTokenBounds),
      inter_token_(kInterTokenBounds),
      e2e_(kLatencyBounds),
      queue_(kLatencyBounds),
      inference_(kLatencyBounds),
      prefill_(kLatencyBounds),
      decode_(kLatencyBounds),
      prompt_tokens_(OneTwoFive(model_tokens_max)),
      output_tokens_(OneTwoFive(model_tokens_max)),
      max_output_tokens_(OneTwoFive(model_tokens_max)),
      params_n_(kParamsNBounds),
      params_max_tokens_(OneTwoFive(model_tokens_max)),
      sglang_first_token_(kSglangFirstTokenBounds),
      sglang_inter_token_(kSglangInterTokenBounds),
      sglang_e2e_(kSglangE2eBounds),
      sglang_prompt_(kSglangTokenBounds),
      sglang_output_(kSglangTokenBounds) {}

void Metrics::OnStep(const StepReport& step) {
  const double tokens = step.prefill_tokens + step.decode_requests;
  iteration_tokens_.Observe(tokens);
  tokens_per_s_ = step.decode_requests / Seconds(step.end_ns - step.start_ns);
}

void Metrics::OnToken(const TokenReport& token, int64_t previous_ns) {
  const double seconds = Seconds(token.at_ns - previous_ns);
  (token.index == 0 ? first_token_ : inter_token_).Observe(seconds);
  (token.index == 0 ? sglang_first_token_ : sglang_inter_token_).Observe(seconds);
  if (token.index == 0) cached_tokens_ += token.cached_tokens;
}

void Metrics::OnFinished(const FinishReport& finish, uint32_t limit_tokens, uint32_t choices) {
  const double e2e = Seconds(finish.at_ns - finish.arrival_ns);
  e2e_.Observe(e2e);
  sglang_e2e_.Observe(e2e);
  if (finish.scheduled_ns >= 0) {
    queue_.Observe(Seconds(finish.scheduled_ns - finish.arrival_ns));
    inference_.Observe(Seconds(finish.at_ns - finish.scheduled_ns));
  }
  if (finish.first_token_ns >= 0) {
    prefill_.Observe(Seconds(finish.first_token_ns - finish.scheduled_ns));
    decode_.Observe(Seconds(finish.at_ns - finish.first_token_ns));
  }
  prompt_tokens_.Observe(finish.prompt_tokens);
  output_tokens_.Observe(finish.output_tokens);
  sglang_prompt_.Observe(finish.prompt_tokens);
  sglang_output_.Observe(finish.output_tokens);
  max_output_tokens_.Observe(finish.output_tokens);
  params_n_.Observe(choices);
  if (limit_tokens > 0) params_max_tokens_.Observe(limit_tokens);
}

std::string Metrics::Text(const MetricsPage& page) const {
  return page.personality == Personality::kVllm ? VllmText(page) : SglangText(page);
}

std::string Metrics::VllmText(const MetricsPage& page) const {
  const EngineStats& stats = page.stats;
  std::string labels;
  AppendLabel(labels, "engine", "0");
  AppendLabel(labels, "model_name", page.model_name);
  std::string out;
  out.reserve(16 * 1024);
  const auto gauge = [&](std::string_view name, double value) {
    AppendOne(out, name, "gauge", labels, value);
  };
  const auto counter = [&](std::string_view name, uint64_t value) {
    AppendOne(out, name, "counter", labels, static_cast<double>(value));
  };
  gauge("vllm:num_requests_running", stats.running_requests);
  gauge("vllm:num_requests_waiting", stats.waiting_requests);
  gauge("vllm:kv_cache_usage_perc", UsedRatio(stats));
  if (page.old_names) gauge("vllm:gpu_cache_usage_perc", UsedRatio(stats));
  counter("vllm:prefix_cache_queries_total", stats.prefix_queried_tokens);
  counter("vllm:prefix_cache_hits_total", stats.prefix_hit_tokens);
  counter("vllm:num_preemptions_total", stats.preemptions);
  counter("vllm:prompt_tokens_total", stats.prompt_tokens);
  counter("vllm:generation_tokens_total", stats.output_tokens);
  AppendType(out, "vllm:request_success_total", "counter");
  constexpr std::string_view kReasons[] = {"stop", "length", "abort"};
  for (size_t i = 0; i < std::size(kReasons); ++i) {
    std::string reason = labels;
    AppendLabel(reason, "finished_reason", kReasons[i]);
    AppendLine(out, "vllm:request_success_total", reason,
               static_cast<double>(stats.finished_requests[i]));
  }
  iteration_tokens_.Append(out, "vllm:iteration_tokens_total", labels);
  first_token_.Append(out, "vllm:time_to_first_token_seconds", labels);
  inter_token_.Append(out, "vllm:inter_token_latency_seconds", labels);
  inter_token_.Append(out, "vllm:time_per_output_token_seconds", labels);
  e2e_.Append(out, "vllm:e2e_request_latency_seconds", labels);
  queue_.Append(out, "vllm:request_queue_time_seconds", labels);
  inference_.Append(out, "vllm:request_inference_time_seconds", labels);
  prefill_.Append(out, "vllm:request_prefill_time_seconds", labels);
  decode_.Append(out, "vllm:request_decode_time_seconds", labels);
  prompt_tokens_.Append(out, "vllm:request_prompt_tokens", labels);
  output_tokens_.Append(out, "vllm:request_generation_tokens", labels);
  max_output_tokens_.Append(out, "vllm:request_max_num_generation_tokens", labels);
  params_n_.Append(out, "vllm:request_params_n", labels);
  params_max_tokens_.Append(out, "vllm:request_params_max_tokens", labels);
  if (page.loras_max > 0) {
    std::string lora;
    AppendLabel(lora, "max_lora", std::to_string(page.loras_max));
    AppendLabel(lora, "running_lora_adapters", page.running_loras);
    AppendLabel(lora, "waiting_lora_adapters", page.waiting_loras);
    AppendOne(out, "vllm:lora_requests_info", "gauge", lora, page.unix_s);
  }
  std::string cache = labels;
  AppendLabel(cache, "block_size", std::to_string(page.block_tokens));
  AppendLabel(cache, "num_gpu_blocks", std::to_string(stats.block_count));
  AppendOne(out, "vllm:cache_config_info", "gauge", cache, 1);
  return out;
}

std::string Metrics::SglangText(const MetricsPage& page) const {
  const EngineStats& stats = page.stats;
  std::string labels;
  AppendLabel(labels, "model_name", page.model_name);
  std::string out;
  out.reserve(12 * 1024);
  const auto gauge = [&](std::string_view name, double value) {
    AppendOne(out, name, "gauge", labels, value);
  };
  const auto counter = [&](std::string_view name, uint64_t value) {
    AppendOne(out, name, "counter", labels, static_cast<double>(value));
  };
  const double queried = static_cast<double>(stats.prefix_queried_tokens);
  gauge("sglang:num_running_reqs", stats.running_requests);
  gauge("sglang:num_queue_reqs", stats.waiting_requests);
  gauge("sglang:num_used_tokens", static_cast<double>(stats.used_blocks) * page.block_tokens);
  gauge("sglang:token_usage", UsedRatio(stats));
  gauge("sglang:max_total_num_tokens", static_cast<double>(stats.block_count) * page.block_tokens);
  gauge("sglang:cache_hit_rate",
        queried == 0 ? 0 : static_cast<double>(stats.prefix_hit_tokens) / queried);
  gauge("sglang:gen_throughput", stats.running_requests == 0 ? 0 : tokens_per_s_);
  gauge("sglang:num_retracted_reqs", static_cast<double>(stats.preemptions));
  for (const std::string_view name :
       {"sglang:num_prefill_prealloc_queue_reqs", "sglang:num_prefill_inflight_queue_reqs",
        "sglang:num_decode_prealloc_queue_reqs", "sglang:num_decode_transfer_queue_reqs",
        "sglang:kv_transfer_speed_gb_s", "sglang:kv_transfer_latency_ms"}) {
    gauge(name, 0);
  }
  counter("sglang:prompt_tokens_total", stats.prompt_tokens);
  counter("sglang:generation_tokens_total", stats.output_tokens);
  counter("sglang:cached_tokens_total", cached_tokens_);
  counter("sglang:num_requests_total", stats.finished_requests[0] + stats.finished_requests[1]);
  counter("sglang:num_aborted_requests_total", stats.finished_requests[2]);
  sglang_first_token_.Append(out, "sglang:time_to_first_token_seconds", labels);
  sglang_inter_token_.Append(out, "sglang:inter_token_latency_seconds", labels);
  sglang_e2e_.Append(out, "sglang:e2e_request_latency_seconds", labels);
  sglang_prompt_.Append(out, "sglang:prompt_tokens_histogram", labels);
  sglang_output_.Append(out, "sglang:generation_tokens_histogram", labels);
  std::string cache = labels;
  AppendLabel(cache, "page_size", std::to_string(page.block_tokens));
  AppendLabel(cache, "num_pages", std::to_string(stats.block_count));
  AppendOne(out, "sglang:cache_config_info", "gauge", cache, 1);
  return out;
}

}  // namespace weir::sim
