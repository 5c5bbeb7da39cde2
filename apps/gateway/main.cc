#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <string>

#include "gateway.h"
#include "weir/io/loop/signals.h"
#include "weir/io/loop/socket.h"

namespace weir::gateway {
namespace {

struct Flags {
  GatewayOptions options;
  double scrape_interval_ms = 0;
  double connect_timeout_s = 3, first_byte_timeout_s = 600, idle_timeout_s = 300;
  double total_timeout_s = 0, drain_timeout_s = 30;
  uint64_t body_mib_max = 16;
  bool validate = false;
  bool no_scrape = false;
  bool no_endpoint_header = false;
  bool peer_load_view = false;
  std::string log_level = "info";
};

constexpr double kTimeoutSecondsMax = 1e6;  // eleven days

constexpr char kExamples[] = R"(Examples:
  weir-gateway --endpoint http://10.0.0.1:8000 --endpoint http://10.0.0.2:8000
  weir-gateway --config pipeline.yaml --plugin ./libzone.so --listen :8080 --admin-listen 127.0.0.1:9090
)";

void AddRoutingFlags(CLI::App& app, Flags& flags) {
  GatewayOptions& options = flags.options;
  auto* where = app.add_option_group("Model servers");
  where->add_option("--endpoint", options.fleet.endpoint_urls,
                    "A model server, http://host:port or https://host:port; repeat for more");
  where
      ->add_option("--engine", options.fleet.default_engine,
                   "Whose metrics servers without an engine label speak: vllm, sglang, ...")
      ->default_str("vllm");
  where
      ->add_option("--scrape-interval-ms", flags.scrape_interval_ms,
                   "Time between two reads of a server's metrics, 10..60000; an interval of the "
                   "pipeline's data source goes before it")
      ->check(CLI::Range(10.0, 60000.0))
      ->default_str("50");
  where->add_flag("--no-scrape", flags.no_scrape, "Do not read metrics; count own requests only");

  auto* routing = app.add_option_group("Routing");
  routing->add_option(
      "--config", options.config_file,
      "Pipeline file (EndpointPickerConfig); without one: queue 2, KV cache 2, prefix 3");
  routing->add_option("--plugin", options.router.plugin_files,
                      "A plugin library (.so) to load; repeat for more");
  routing->add_flag("--allow-experimental-plugins", options.router.allow_experimental_plugins,
                    "Accept plugin types of stability alpha");
  routing->add_flag("--peer-load-view", flags.peer_load_view,
                    "As llm-d's picker: no count of requests sent since the last scrape, and a "
                    "server never scraped looks idle");
  routing->add_option("--seed", options.router.seed, "Seed of all random draws; 0: from the clock")
      ->default_str("0");
}

void AddListeningFlags(CLI::App& app, Flags& flags) {
  GatewayOptions& options = flags.options;
  auto* listening = app.add_option_group("Listening");
  listening->add_option("--listen", options.listen, "Address for clients")->capture_default_str();
  listening->add_option("--admin-listen", options.admin_listen,
                        "Own address for /metrics and /debug; without it they are on --listen");
  listening
      ->add_option("--threads", options.threads,
                   "Worker threads, 1..64; 0: one per core, at most 4")
      ->capture_default_str();
  listening->add_option("--tls-cert", options.tls_cert_file, "PEM certificate chain: serve TLS");
  listening->add_option("--tls-key", options.tls_key_file, "PEM key of --tls-cert");
  listening->add_option("--upstream-ca", options.upstream_ca_file,
                        "PEM file that signs https servers; without it the system's");
  listening->add_flag("--upstream-insecure", options.upstream_insecure,
                      "Do not check certificates of https servers");
}

void AddLimitFlags(CLI::App& app, Flags& flags) {
  GatewayOptions& options = flags.options;
  auto* limits = app.add_option_group("Limits");
  limits->add_option("--body-mib-max", flags.body_mib_max, "Largest request body in MiB, 1..64")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  limits
      ->add_option("--connections-max", options.relay.connections_max, "Clients per worker thread")
      ->check(CLI::Range(1u, 1'000'000u))
      ->capture_default_str();
  limits->add_option("--connect-timeout-s", flags.connect_timeout_s, "To reach a server")
      ->check(CLI::Range(0.0, kTimeoutSecondsMax))
      ->capture_default_str();
  limits
      ->add_option("--first-byte-timeout-s", flags.first_byte_timeout_s,
                   "From there to its response head; 0: none")
      ->check(CLI::Range(0.0, kTimeoutSecondsMax))
      ->capture_default_str();
  limits
      ->add_option("--idle-timeout-s", flags.idle_timeout_s,
                   "Between two pieces of a response; 0: none")
      ->check(CLI::Range(0.0, kTimeoutSecondsMax))
      ->capture_default_str();
  limits->add_option("--total-timeout-s", flags.total_timeout_s, "Of a whole request; 0: none")
      ->check(CLI::Range(0.0, kTimeoutSecondsMax))
      ->capture_default_str();
  limits
      ->add_option("--drain-timeout-s", flags.drain_timeout_s,
                   "How long requests may end after SIGTERM")
      ->check(CLI::Range(0.0, kTimeoutSecondsMax))
      ->capture_default_str();
}

void AddRecordFlags(CLI::App& app, Flags& flags) {
  io::DecisionLogOptions& record = flags.options.record;
  auto* recording = app.add_option_group("Recording");
  recording->add_option("--record", record.path,
                        "Write a log of decisions that tools can replay; no prompts are in it. "
                        "An earlier FILE becomes FILE.1");
  recording
      ->add_option("--record-bytes-max", record.bytes_max,
                   "Size in bytes at which recording stops, at least 4 MiB")
      ->check(CLI::Range(io::kDecisionLogBytesMaxMin, uint64_t{1} << 50))
      ->capture_default_str();
  recording->add_option("--record-header", record.headers,
                        "A request header to record, lower case; repeat for more. Always: "
                        "x-llm-d-*, x-gateway-*, x-weir-*");
  recording
      ->add_option("--record-block-tokens", record.prompt_block_tokens,
                   "Tokens of a prompt per recorded hash, 16..4096; divides the pipeline's block "
                   "size where replays are to be exact")
      ->capture_default_str();
}

void AddOtherFlags(CLI::App& app, Flags& flags) {
  GatewayOptions& options = flags.options;
  auto* more = app.add_option_group("More");
  more->add_flag("--validate", flags.validate,
                 "Check flags and pipeline, print the pipeline, exit");
  more->add_option("--decisions-kept", options.router.decisions_kept,
                   "Decisions that /debug/decisions shows, 0..1024")
      ->capture_default_str();
  more->add_flag("--no-endpoint-header", flags.no_endpoint_header,
                 "Do not say in x-weir-endpoint which server answered");
  more->add_option("--log-level", flags.log_level, "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
}

// "nan" passes every range check.
int64_t Nanoseconds(double seconds) {
  return seconds > 0 ? static_cast<int64_t>(seconds * 1e9) : 0;
}

void FinishOptions(Flags& flags) {
  GatewayOptions& options = flags.options;
  options.fleet.scrape = !flags.no_scrape;
  options.fleet.scrape_interval_ns = Nanoseconds(flags.scrape_interval_ms * 1e-3);
  options.endpoint_header = !flags.no_endpoint_header;
  options.relay.body_bytes_max = flags.body_mib_max << 20;
  options.relay.connect_ns = Nanoseconds(flags.connect_timeout_s);
  options.relay.first_byte_ns = Nanoseconds(flags.first_byte_timeout_s);
  options.relay.upstream_idle_ns = Nanoseconds(flags.idle_timeout_s);
  options.relay.total_ns = Nanoseconds(flags.total_timeout_s);
  options.drain_ns = Nanoseconds(flags.drain_timeout_s);
  if (flags.peer_load_view) {
    options.router.count_unscraped_requests = false;
    options.router.unscraped = UnscrapedPolicy::kIdle;
  }
  options.samples_expire = !flags.peer_load_view;
  options.router.log = [](LogLevel level, std::string_view text) {
    static constexpr spdlog::level::level_enum kLevels[] = {
        spdlog::level::debug, spdlog::level::info, spdlog::level::warn, spdlog::level::err};
    spdlog::log(kLevels[static_cast<uint32_t>(level)], "{}", text);
  };
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}

int Serve(const Flags& flags) {
  io::RaiseDescriptorLimit();
  auto loop = io::EventLoop::Create();
  if (!loop.ok()) return Fail(loop.status());
  std::unique_ptr<Gateway> gateway;
  // The first signal drains, the second ends at once.
  uint32_t signal_count = 0;
  auto signals = io::SignalWatcher::Open(**loop, {SIGTERM, SIGINT}, [&](int) {
    ++signal_count;
    if (gateway != nullptr) gateway->Drain();
  });
  if (!signals.ok()) return Fail(signals.status());
  auto started = Gateway::Start(**loop, flags.options, [](LogLevel level, const std::string& text) {
    spdlog::log(level == LogLevel::kError ? spdlog::level::err : spdlog::level::info, "{}", text);
  });
  if (!started.ok()) return Fail(started.status());
  gateway = *std::move(started);
  std::printf("listening on http%s://%s\n", flags.options.tls_cert_file.empty() ? "" : "s",
              gateway->address().c_str());
  if (!flags.options.admin_listen.empty()) {
    std::printf("admin pages on http://%s\n", gateway->admin_address().c_str());
  }
  std::printf("buffers at most %.0f MiB per thread, bodies at most %.0f MiB\n",
              static_cast<double>(flags.options.relay.buffered_bytes_max >> 20),
              static_cast<double>(flags.options.relay.body_bytes_max >> 20));
  if (!flags.options.record.path.empty()) {
    std::printf("recording decisions in %s, at most %.0f MiB\n", flags.options.record.path.c_str(),
                static_cast<double>(flags.options.record.bytes_max >> 20));
  }
  std::fflush(stdout);
  while (!gateway->drained() && signal_count < 2) (*loop)->RunOnce(100'000'000);
  return 0;
}

}  // namespace
}  // namespace weir::gateway

int main(int argc, char** argv) {
  using namespace weir::gateway;
  spdlog::set_default_logger(spdlog::stderr_logger_mt("weir-gateway"));
  CLI::App app{
      "A streaming reverse proxy that sends each LLM request to the server that suits it."};
  app.footer(kExamples);
  Flags flags;
  AddRoutingFlags(app, flags);
  AddListeningFlags(app, flags);
  AddLimitFlags(app, flags);
  AddRecordFlags(app, flags);
  AddOtherFlags(app, flags);
  CLI11_PARSE(app, argc, argv);
  spdlog::set_level(spdlog::level::from_str(flags.log_level));
  FinishOptions(flags);
  if (flags.validate) {
    const auto router = LoadRouter(flags.options);
    if (!router.ok()) return Fail(router.status());
    std::fputs(router->Describe().c_str(), stdout);
    return 0;
  }
  return Serve(flags);
}
