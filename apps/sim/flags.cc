#include "flags.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "config_file.h"

namespace weir::sim {
namespace {

constexpr char kExamples[] =
    "Examples:\n"
    "  weir-sim --model m --instances 4 --port 8000\n"
    "      four vLLM servers of a Llama 8B on H100, ports 8000 to 8003\n"
    "  weir-sim --model Qwen/Qwen3-32B --tensor-parallel-size 2 --engine sglang --enable-metrics\n";

// Flags of simulators and engines that manifests carry and that have no effect here. `wants_value`
// is false for switches.
struct Ignored {
  const char* name;
  bool wants_value;
  const char* why;
};
constexpr const char* kLater = "comes with a later version";
constexpr const char* kNoMeaning = "has no meaning for a simulated server";
constexpr Ignored kIgnored[] = {
    {"zmq-endpoint", true, kLater},
    {"event-batch-size", true, kLater},
    {"use-vllm-map-event-format", false, kLater},
    {"kv-events-replay-endpoint", true, kLater},
    {"kv-events-replay-queue-size", true, kLater},
    {"kv-events-config", true, kLater},
    {"kv-transfer-config", true, kLater},
    {"hash-seed", true, kLater},
    {"global-cache-hit-threshold", true, kLater},
    {"data-parallel-size", true, kLater},
    {"data-parallel-rank", true, kLater},
    {"fake-metrics", true, kLater},
    {"fake-metrics-refresh-interval", true, kLater},
    {"max-tool-call-integer-param", true, kLater},
    {"min-tool-call-integer-param", true, kLater},
    {"max-tool-call-number-param", true, kLater},
    {"min-tool-call-number-param", true, kLater},
    {"max-tool-call-array-param-length", true, kLater},
    {"min-tool-call-array-param-length", true, kLater},
    {"tool-call-not-required-param-probability", true, kLater},
    {"object-tool-call-not-required-field-probability", true, kLater},
    {"tool-call-extra-call-probability", true, kLater},
    {"skip-tool-validation", false, kLater},
    {"dataset-path", true, kLater},
    {"dataset-url", true, kLater},
    {"dataset-in-memory", false, kLater},
    {"dataset-table-name", true, kLater},
    {"ssl-certfile", true, kLater},
    {"ssl-keyfile", true, kLater},
    {"self-signed-certs", false, kLater},
    {"mm-encoder-only", false, kLater},
    {"omni", false, kLater},
    {"image-emission-rate", true, kLater},
    {"time-to-generate-image", true, kLater},
    {"time-to-generate-image-std-dev", true, kLater},
    {"log-http", false, kLater},
    {"render-url", true, "is not needed: text is split without model files"},
    {"render-timeout", true, "is not needed: text is split without model files"},
    {"mm-render-timeout", true, "is not needed: text is split without model files"},
    {"force-dummy-tokenizer", false, "is always on"},
    {"max-cpu-loras", true, kNoMeaning},
    {"mm-processor-kwargs", true, kNoMeaning},
    {"ec-transfer-config", true, kNoMeaning},
    {"enforce-eager", false, kNoMeaning},
    {"no-enforce-eager", false, kNoMeaning},
    {"enable-prefix-caching", false, "is always on; --no-enable-prefix-caching turns it off"},
};

// Values that are text on the command line and something else in the options.
struct Texts {
  std::string engine = "vllm";
  std::string dtype = "bf16";
  std::string jitter = "real";
  std::string policy = "fcfs";
  std::string schedule = "fcfs";
  std::string cpu_costs = "real";
  std::string startup = "0";
  std::vector<std::string> loras;
  bool no_prefix_caching = false;
};

struct DurationFlag {
  const char* name;
  const char* help;
  int64_t* ns;
  std::string text;
};

class Reader {
 public:
  explicit Reader(CommandLine& line) : line_(line), options_(line.options) {
    app_.description("weir-sim: model servers that think in virtual time and answer over HTTP.");
    app_.footer(kExamples);
    app_.option_defaults()->always_capture_default();
    app_.set_config("--config", "", "YAML file: flag names as keys");
    app_.config_formatter(std::make_shared<YamlConfig>());
    app_.allow_config_extras(CLI::config_extras_mode::error);
    app_.add_flag("--validate", line_.validate, "check flags and files, then leave");
    AddServing();
    AddEngine();
    AddScheduler();
    AddTime();
    AddLegacy();
    AddFailures();
    AddIgnored();
  }

  int Parse(int argc, const char* const* argv) {
    try {
      app_.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return app_.exit(error);
    }
    absl::Status status = Convert();
    if (status.ok()) status = Resolve(options_);
    if (!status.ok()) {
      std::cerr << "weir-sim: " << std::string(status.message()) << "\n";
      return 1;
    }
    return -1;
  }

 private:
  void AddServing() {
    const char* group = "What is served";
    app_.add_option("--model", options_.model, "model name")
        ->envname("SIM_MODEL")
        ->group(group)
        ->required();
    app_.add_option("--served-model-name", options_.served_names,
                    "names that requests may use; the first appears in answers and metrics")
        ->group(group);
    app_.add_option("--engine", texts_.engine, "vllm or sglang")
        ->check(CLI::IsMember({"vllm", "sglang"}))
        ->group(group);
    app_.add_option("--mode", options_.mode, "answers: random words, or echo of the last message")
        ->check(CLI::IsMember({"random", "echo"}))
        ->group(group);
    app_.add_option("--lora-modules", texts_.loras,
                    "adapters, each as JSON: {\"name\",\"path\",\"base_model_name\"}")
        ->group(group);
    app_.add_option("--max-loras", options_.loras_max, "adapters in use at a time")->group(group);
    app_.add_option("--seed", options_.seed, "same seed, same answers and same times")
        ->group(group);
    app_.add_option("--default-embedding-dimensions", options_.embedding_dimensions)->group(group);
    group = "Where";
    app_.add_option("--host", options_.host, "address to listen on")->group(group);
    app_.add_option("--port", options_.port, "of the first instance; 0: any free one for each")
        ->group(group);
    app_.add_option("--instances", options_.instances, "servers in this process, on ports in a row")
        ->group(group);
    app_.add_option("--ports-file", options_.ports_file,
                    "write one line of JSON per instance here, when all listen")
        ->group(group);
    app_.add_option("--max-request-body-size-mb", options_.body_mib_max)->group(group);
    app_.add_flag("--enable-request-id-headers", options_.request_id_headers, "return X-Request-Id")
        ->group(group);
    app_.add_flag("--enable-sleep-mode", options_.sleep_mode,
                  "with VLLM_SERVER_DEV_MODE=1, /sleep drops the cache")
        ->group(group);
    app_.add_flag("--enable-metrics", options_.enable_metrics, "SGLang: serve /metrics")
        ->group(group);
    app_.add_flag("--old-metric-names", options_.old_metric_names,
                  "vLLM: also vllm:gpu_cache_usage_perc")
        ->group(group);
  }

  void AddEngine() {
    const char* group = "Hardware and memory";
    app_.add_option("--hardware", options_.hardware, "a100, h100, h200 or l40s")->group(group);
    app_.add_option("--model-shape", options_.model_shape,
                    "a preset; by the model's name if empty, else llama-3.1-8b")
        ->group(group);
    app_.add_option("--dtype", texts_.dtype, "bf16 or fp8")
        ->check(CLI::IsMember({"bf16", "fp8"}))
        ->group(group);
    app_.add_option("--tensor-parallel-size", options_.tensor_parallel, "devices")->group(group);
    app_.add_option("--gpu-memory-utilization", options_.gpu_memory_utilization, "above 0, to 1")
        ->group(group);
    app_.add_option("--block-size", options_.block_tokens,
                    "tokens per KV block; 0: 16 for vLLM, 1 for SGLang")
        ->group(group);
    app_.add_option("--num-gpu-blocks-override", options_.block_count,
                    "KV blocks; 0: what fits on the hardware")
        ->group(group);
    app_.add_flag("--no-enable-prefix-caching", texts_.no_prefix_caching)->group(group);
  }

  void AddScheduler() {
    const char* group = "Scheduling";
    app_.add_option("--max-model-len", options_.model_tokens_max,
                    "tokens of prompt and answer; 131072, or 1024 with legacy latency")
        ->group(group);
    app_.add_option("--max-num-seqs", options_.running_requests_max,
                    "requests that run at a time; the engine's default, or 5 with legacy latency")
        ->group(group);
    app_.add_option("--max-waiting-queue-length", options_.waiting_requests_max,
                    "more are refused with 429")
        ->group(group);
    app_.add_option("--max-num-batched-tokens", options_.step_tokens_max,
                    "tokens per step; 0: the engine's default for the hardware")
        ->group(group);
    app_.add_option("--long-prefill-token-threshold", options_.prefill_chunk_tokens_max,
                    "tokens per step of one prompt; 0: no limit")
        ->group(group);
    app_.add_option("--scheduling-policy", texts_.policy, "vLLM: fcfs or priority")
        ->check(CLI::IsMember({"fcfs", "priority"}))
        ->group(group);
    app_.add_option("--schedule-policy", texts_.schedule, "SGLang: fcfs or lpm")
        ->check(CLI::IsMember({"fcfs", "lpm"}))
        ->group(group);
    app_.add_flag("--enable-mixed-chunk", options_.mixed_chunk, "SGLang")->group(group);
  }

  void AddTime() {
    const char* group = "Time";
    app_.add_option("--time-scale", options_.time_scale, "simulated seconds per second")
        ->group(group);
    app_.add_option("--jitter", texts_.jitter, "none, or real: steps vary by 3 %")
        ->check(CLI::IsMember({"none", "real"}))
        ->group(group);
    app_.add_option("--cpu-costs", texts_.cpu_costs,
                    "real, or none: an API server that takes no time (real: 16 ms a request)")
        ->check(CLI::IsMember({"none", "real"}))
        ->group(group);
    app_.add_option("--startup-duration", texts_.startup, "until /health/ready says 200")
        ->group(group);
  }

  void AddLegacy() {
    const char* group = "Legacy latency (instead of the engine model, if any of these is given)";
    app_.add_option("--latency-calculator", options_.latency.calculator, "constant or per-token")
        ->group(group);
    for (DurationFlag& flag : durations_) {
      app_.add_option(absl::StrCat("--", flag.name), flag.text, flag.help)->group(group);
    }
    app_.add_option("--time-factor-under-load", options_.latency.time_factor_under_load,
                    "times grow up to this factor when all slots run")
        ->group(group);
    app_.add_flag("--enable-kvcache", options_.legacy_kv_cache, "prompts occupy KV blocks")
        ->group(group);
    app_.add_option("--kv-cache-size", options_.legacy_kv_blocks, "KV blocks")->group(group);
  }

  void AddFailures() {
    const char* group = "Failures";
    app_.add_option("--failure-injection-rate", options_.failure_ratio_percent,
                    "percent of requests that fail")
        ->group(group);
    app_.add_option("--failure-types", options_.failure_types,
                    "what they fail with; default: all that are an HTTP error")
        ->group(group);
  }

  // They appear in no help text: they are there for manifests written for other programs.
  void AddIgnored() {
    for (const Ignored& ignored : kIgnored) {
      const std::string name = absl::StrCat("--", ignored.name);
      CLI::Option* option = ignored.wants_value
                                ? app_.add_option_function<std::vector<std::string>>(
                                      name, [](const std::vector<std::string>&) {})
                                : app_.add_flag_function(name, [](int64_t) {});
      option->group("");
    }
  }

  absl::Status Convert() {
    options_.personality = texts_.engine == "vllm" ? Personality::kVllm : Personality::kSglang;
    options_.precision = texts_.dtype == "fp8" ? Precision::kFp8 : Precision::kBf16;
    options_.jitter = texts_.jitter == "real" ? Jitter::kReal : Jitter::kNone;
    options_.priority_scheduling = texts_.policy == "priority";
    options_.longest_prefix_first = texts_.schedule == "lpm";
    options_.cpu_costs = texts_.cpu_costs == "real";
    options_.prefix_caching = !texts_.no_prefix_caching;
    const char* development = std::getenv("VLLM_SERVER_DEV_MODE");
    options_.sleep_mode_allowed = development != nullptr && std::string(development) == "1";
    for (const auto& [name, value] : {std::pair{"POD_NAME", &options_.pod_name},
                                      std::pair{"POD_NAMESPACE", &options_.pod_namespace}}) {
      if (const char* text = std::getenv(name)) *value = text;
    }
    for (const std::string& text : texts_.loras) {
      absl::StatusOr<LoraModule> lora = ParseLoraModule(text);
      if (!lora.ok()) return lora.status();
      options_.loras.push_back(*std::move(lora));
    }
    const absl::StatusOr<int64_t> startup = ParseDurationNs(texts_.startup);
    if (!startup.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--startup-duration: ", std::string(startup.status().message())));
    }
    options_.startup_ns = *startup;
    for (const Ignored& ignored : kIgnored) {
      const std::string name = absl::StrCat("--", ignored.name);
      if (app_.count(name) > 0) line_.notes.push_back(absl::StrCat(name, " ", ignored.why));
    }
    return ConvertDurations();
  }

  absl::Status ConvertDurations() {
    for (DurationFlag& flag : durations_) {
      const absl::StatusOr<int64_t> ns = ParseDurationNs(flag.text);
      if (!ns.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat("--", flag.name, ": ", std::string(ns.status().message())));
      }
      *flag.ns = *ns;
      options_.legacy |= app_.count(absl::StrCat("--", flag.name)) > 0;
    }
    for (const char* name : {"--latency-calculator", "--time-factor-under-load", "--enable-kvcache",
                             "--kv-cache-size"}) {
      options_.legacy |= app_.count(name) > 0;
    }
    return absl::OkStatus();
  }

  CommandLine& line_;
  SimOptions& options_;
  Texts texts_;
  CLI::App app_;
  LegacyLatency& latency_ = options_.latency;
  std::vector<DurationFlag> durations_ = {
      {"time-to-first-token", "mean, such as 200ms", &latency_.time_to_first_token.mean_ns, "0"},
      {"time-to-first-token-std-dev", "at most 30 % of the mean",
       &latency_.time_to_first_token.std_dev_ns, "0"},
      {"inter-token-latency", "mean", &latency_.inter_token.mean_ns, "0"},
      {"inter-token-latency-std-dev", "at most 30 % of the mean", &latency_.inter_token.std_dev_ns,
       "0"},
      {"kv-cache-transfer-latency", "instead of a prefill", &latency_.kv_transfer.mean_ns, "0"},
      {"kv-cache-transfer-latency-std-dev", "at most 30 % of the mean",
       &latency_.kv_transfer.std_dev_ns, "0"},
      {"prefill-overhead", "per request", &latency_.prefill_overhead_ns, "0"},
      {"prefill-time-per-token", "of the prompt that is not cached",
       &latency_.prefill_per_token.mean_ns, "0"},
      {"prefill-time-std-dev", "of the sum", &latency_.prefill_per_token.std_dev_ns, "0"},
      {"kv-cache-transfer-time-per-token", "of the prompt", &latency_.kv_transfer_per_token.mean_ns,
       "0"},
      {"kv-cache-transfer-time-std-dev", "of the sum", &latency_.kv_transfer_per_token.std_dev_ns,
       "0"},
  };
};

}  // namespace

int ReadCommandLine(int argc, const char* const* argv, CommandLine& line) {
  return Reader(line).Parse(argc, argv);
}

}  // namespace weir::sim
