#include "options.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fault.h"

namespace weir::sim {
namespace {

constexpr uint32_t kLegacyRunningRequests = 5;
constexpr uint32_t kLegacyModelTokens = 1024;
constexpr uint32_t kModelTokens = 131072;
constexpr double kStdDevRatioMax = 0.3;
constexpr int64_t kDurationMaxNs = int64_t{24} * 3600 * 1'000'000'000;

absl::Status Refuse(std::string_view flag, const std::string& value, std::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("--", std::string(flag), ": ", value, ", expected ", std::string(expected)));
}

absl::Status CheckSpread(std::string_view flag, const LatencyOption& latency) {
  if (static_cast<double>(latency.std_dev_ns) <=
      kStdDevRatioMax * static_cast<double>(latency.mean_ns)) {
    return absl::OkStatus();
  }
  return Refuse(flag, absl::StrCat(latency.std_dev_ns, " ns"), "at most 30 % of the mean");
}

absl::Status CheckLatency(const LegacyLatency& latency) {
  if (latency.calculator != "" && latency.calculator != "constant" &&
      latency.calculator != "per-token") {
    return Refuse("latency-calculator", latency.calculator, "constant or per-token");
  }
  if (!(latency.time_factor_under_load >= 1) || !std::isfinite(latency.time_factor_under_load)) {
    return Refuse("time-factor-under-load", absl::StrCat(latency.time_factor_under_load), ">= 1");
  }
  absl::Status status = CheckSpread("time-to-first-token-std-dev", latency.time_to_first_token);
  if (status.ok()) status = CheckSpread("inter-token-latency-std-dev", latency.inter_token);
  if (status.ok()) status = CheckSpread("kv-cache-transfer-latency-std-dev", latency.kv_transfer);
  return status;
}

absl::Status CheckLoras(const SimOptions& options) {
  for (const LoraModule& lora : options.loras) {
    if (!lora.base_model_name.empty() && lora.base_model_name != options.model &&
        std::find(options.served_names.begin(), options.served_names.end(), lora.base_model_name) ==
            options.served_names.end()) {
      return Refuse("lora-modules", absl::StrCat("base_model_name \"", lora.base_model_name, "\""),
                    "a served model");
    }
  }
  if (options.loras.size() > kLorasMax) {
    return Refuse("lora-modules", absl::StrCat(options.loras.size()), "at most 1024");
  }
  if (options.loras_max < 1) return Refuse("max-loras", "0", ">= 1");
  return absl::OkStatus();
}

absl::Status CheckServer(const SimOptions& options) {
  if (options.port > 65535) return Refuse("port", absl::StrCat(options.port), "0..65535");
  if (options.instances < 1 || options.instances > kInstancesMax) {
    return Refuse("instances", absl::StrCat(options.instances), "1..512");
  }
  if (options.port != 0 && options.port + options.instances - 1 > 65535) {
    return Refuse("instances", absl::StrCat(options.instances), "ports up to 65535");
  }
  if (!(options.time_scale >= 0.01 && options.time_scale <= 10000)) {
    return Refuse("time-scale", absl::StrCat(options.time_scale), "0.01..10000");
  }
  if (options.body_mib_max < 1 || options.body_mib_max > 512) {
    return Refuse("max-request-body-size-mb", absl::StrCat(options.body_mib_max), "1..512");
  }
  if (options.embedding_dimensions < 1 || options.embedding_dimensions > 65536) {
    return Refuse("default-embedding-dimensions", absl::StrCat(options.embedding_dimensions),
                  "1..65536");
  }
  if (options.failure_ratio_percent > 100) {
    return Refuse("failure-injection-rate", absl::StrCat(options.failure_ratio_percent), "0..100");
  }
  for (const std::string& type : options.failure_types) {
    if (!IsFailureType(type)) return Refuse("failure-types", type, FailureTypeNames());
  }
  return absl::OkStatus();
}

absl::Status FindShape(SimOptions& options) {
  if (options.model_shape.empty()) {
    // "meta-llama/Llama-3.1-8B-Instruct" is a "llama-3.1-8b".
    std::string name = options.model;
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    options.model_shape = "llama-3.1-8b";
    for (const ModelShape& shape : ModelPresets()) {
      if (name.find(shape.name) != std::string::npos) options.model_shape = shape.name;
    }
  }
  if (absl::Status status = FindModel(options.model_shape).status(); !status.ok()) return status;
  return FindHardware(options.hardware).status();
}

}  // namespace

absl::Status Resolve(SimOptions& options) {
  if (options.model.empty()) return Refuse("model", "\"\"", "a model name");
  if (options.served_names.empty()) options.served_names = {options.model};
  if (options.served_names.size() > kServedNamesMax) {
    return Refuse("served-model-name", absl::StrCat(options.served_names.size()), "at most 64");
  }
  if (options.mode != "random" && options.mode != "echo") {
    return Refuse("mode", options.mode, "random or echo");
  }
  if (options.failure_types.empty()) options.failure_types = DefaultFailureTypes();
  if (options.legacy && !options.running_requests_max) {
    options.running_requests_max = kLegacyRunningRequests;
  }
  const uint32_t running = options.running_requests_max.value_or(1);
  if (running < 1 || running > kRunningRequestsMax) {
    return Refuse("max-num-seqs", absl::StrCat(running), "1..16384");
  }
  if (!options.model_tokens_max) {
    options.model_tokens_max = options.legacy ? kLegacyModelTokens : kModelTokens;
  } else if (*options.model_tokens_max < 1 || *options.model_tokens_max > kModelTokensMax) {
    return Refuse("max-model-len", absl::StrCat(*options.model_tokens_max), "1..8388608");
  }
  for (auto check : {CheckLoras, CheckServer}) {
    if (absl::Status status = check(options); !status.ok()) return status;
  }
  if (absl::Status status = CheckLatency(options.latency); !status.ok()) return status;
  if (absl::Status status = FindShape(options); !status.ok()) return status;
  if (options.legacy) return absl::OkStatus();
  EngineObserver nobody;
  return Engine::Create(EngineOptionsOf(options, 0), nobody).status();
}

EngineOptions EngineOptionsOf(const SimOptions& options, uint32_t index) {
  EngineOptions engine;
  engine.personality = options.personality;
  engine.model = *FindModel(options.model_shape);
  engine.hardware = *FindHardware(options.hardware);
  engine.tensor_parallel = options.tensor_parallel;
  engine.precision = options.precision;
  engine.memory.utilization_ratio = options.gpu_memory_utilization;
  engine.block_tokens = options.block_tokens;
  engine.block_count = options.block_count;
  engine.prefix_caching = options.prefix_caching;
  engine.model_tokens_max = std::max(2u, *options.model_tokens_max);
  engine.running_requests_max = options.running_requests_max.value_or(0);
  engine.waiting_requests_max = options.waiting_requests_max;
  engine.step_tokens_max = options.step_tokens_max;
  engine.prefill_chunk_tokens_max = options.prefill_chunk_tokens_max;
  engine.priority_scheduling = options.priority_scheduling;
  engine.mixed_chunk = options.mixed_chunk;
  engine.longest_prefix_first = options.longest_prefix_first;
  engine.loras_max = options.loras_max;
  if (!options.cpu_costs) engine.ingress_ns = engine.token_output_ns = engine.finish_ns = 0;
  engine.jitter = options.jitter;
  engine.seed = options.seed + index;
  return engine;
}

absl::StatusOr<int64_t> ParseDurationNs(const std::string& text) {
  int64_t milliseconds = 0;
  if (absl::SimpleAtoi(text, &milliseconds)) {
    if (milliseconds >= 0 && milliseconds <= kDurationMaxNs / 1'000'000) {
      return milliseconds * 1'000'000;
    }
  } else {
    std::string ascii = text;  // Abseil does not know the micro sign
    for (const char* micro : {"\xC2\xB5s", "\xCE\xBCs"}) {
      for (size_t at; (at = ascii.find(micro)) != std::string::npos;) ascii.replace(at, 3, "us");
    }
    absl::Duration duration;
    if (absl::ParseDuration(ascii, &duration) && duration >= absl::ZeroDuration() &&
        duration <= absl::Nanoseconds(kDurationMaxNs)) {
      return absl::ToInt64Nanoseconds(duration);
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\", expected a duration of 0 to 24h such as 250us, 12ms or 1.5s"));
}

absl::StatusOr<LoraModule> ParseLoraModule(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  const auto field = [&](const char* name) {
    const auto found = json.find(name);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  if (!json.is_object() || field("name").empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--lora-modules: ", text,
                     ", expected {\"name\": ..., \"path\": ..., \"base_model_name\": ...}"));
  }
  return LoraModule{field("name"), field("path"), field("base_model_name")};
}

}  // namespace weir::sim
