#include "flags.h"

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "values.h"

namespace weir::epp {
namespace {

constexpr int64_t kRefreshNsMin = 50'000'000;

// Deprecated flags of llm-d, which refuses them too.
constexpr const char* kRefusedFlags[] = {
    "total-queued-requests-metric", "total-running-requests-metric",
    "kv-cache-usage-percentage-metric", "lora-info-metric", "cache-info-metric"};

constexpr char kExamples[] = R"(Examples:
  weir-epp --config-file pipeline.yaml                 # the endpoints come from dataLayer.discovery
  weir-epp --endpoint http://10.0.0.1:8000 --endpoint http://10.0.0.2:8000 --secure-serving=false
Flags that say "no effect" are those of llm-d's picker that this version accepts and does not use.
)";

// Texts and numbers as they were given.
struct Raw {
  Flags flags;
  bool peer_load_view = false;
  bool no_scrape = false;
  int verbosity = 2;
  uint64_t body_mib_max = 16;
  std::string drain_timeout = "30s", stream_timeout = "60s";
  std::string refresh_metrics = "50ms", refresh_gauges = "5s", staleness = "2s";
  std::string receive_size, send_size;
  std::string pool_name, pool_group = "inference.networking.k8s.io", pool_namespace;
  std::string endpoint_selector;
  std::vector<std::string> target_ports;
  std::string tls_version;
  std::vector<std::string> ciphers;
  bool leader_election = false, endpoint_auth = true, tracing = true, pprof = true;
  bool zap_devel = false;
  std::string zap_encoder, zap_level, zap_stacktrace, zap_time;
  std::string refused;  // value of a deprecated flag
};

void AddEndpointFlags(CLI::App& app, Raw& raw) {
  EppOptions& options = raw.flags.options;
  auto* group = app.add_option_group("Endpoints");
  group
      ->add_option("--endpoint", options.fleet.endpoint_urls,
                   "A model server, http://host:port; repeat for more; without "
                   "dataLayer.discovery in the configuration")
      ->take_all();
  group
      ->add_option("--engine", options.fleet.default_engine,
                   "Whose metrics servers without an engine label speak: vllm, sglang, ...")
      ->default_str("vllm");
  group->add_option("--pool-name", raw.pool_name, "Label \"name\" of the pool's metrics")
      ->default_str("epp");
  group->add_option("--pool-group", raw.pool_group, "No effect: there is no Kubernetes")
      ->capture_default_str();
  group->add_option("--pool-namespace", raw.pool_namespace, "No effect: there is no Kubernetes");
  group->add_option("--endpoint-selector", raw.endpoint_selector,
                    "No effect: there is no Kubernetes");
  group
      ->add_option("--endpoint-target-ports", raw.target_ports,
                   "No effect: there is no Kubernetes; 1 to 8 ports with --endpoint-selector")
      ->delimiter(',')
      ->take_all();
  group->add_flag("--disable-endpoint-subset-filter", options.ext_proc.ignore_subset,
                  "Ignore the proxy's hint which endpoints may serve");
}

void AddConfigFlags(CLI::App& app, Raw& raw) {
  EppOptions& options = raw.flags.options;
  auto* group = app.add_option_group("Configuration");
  group->add_option("--config-file", options.config_file,
                    "EndpointPickerConfig, a file; without one a default pipeline");
  group->add_option("--config-text", options.config_text, "The same as text");
  group
      ->add_option("--plugin", options.router.plugin_files,
                   "A plugin library (.so) to load; repeat for more")
      ->take_all();
  group->add_flag("--allow-experimental-plugins", options.router.allow_experimental_plugins,
                  "Accept plugin types of stability alpha");
  group->add_flag("--peer-load-view", raw.peer_load_view,
                  "As llm-d's picker: no count of requests sent since the last scrape, and a "
                  "server never scraped looks idle");
  group->add_option("--seed", options.router.seed, "Seed of all random draws; 0: from the clock")
      ->default_str("0");
  group->add_flag("--validate", raw.flags.validate,
                  "Check flags and configuration, print the pipeline, exit");
}

void AddServingFlags(CLI::App& app, Raw& raw) {
  EppOptions& options = raw.flags.options;
  auto* group = app.add_option_group("Ports");
  group->add_option("--grpc-port", options.grpc_port, "ext_proc")->capture_default_str();
  group->add_option("--grpc-health-port", options.health_port, "Health by gRPC, plaintext")
      ->capture_default_str();
  group->add_option("--metrics-port", options.metrics_port, "HTTP: /metrics, /debug, /readyz")
      ->capture_default_str();
  group->add_option("--bind-address", options.bind_address,
                    "Numeric address of all three; without one all addresses");
  group
      ->add_option("--threads", options.threads,
                   "Worker threads, 1..64; 0: one per core, at most 4")
      ->capture_default_str();
  group->add_flag("--health-checking", options.health_checking,
                  "Answer health checks on the ext_proc port too");
  group->add_flag("--ha-enable-leader-election", raw.leader_election,
                  "Names of health services are told apart; no leader is elected");
  group
      ->add_option("--drain-timeout", raw.drain_timeout,
                   "After SIGTERM: not ready, and serving for this long")
      ->capture_default_str();
  group
      ->add_option("--stream-end-timeout", raw.stream_timeout,
                   "How long streams may then take to end")
      ->capture_default_str();
}

void AddTlsFlags(CLI::App& app, Raw& raw) {
  EppOptions& options = raw.flags.options;
  auto* group = app.add_option_group("TLS");
  group->add_flag("--secure-serving", options.secure_serving, "TLS on the ext_proc port")
      ->default_str("true");
  group->add_option("--cert-path", options.cert_path,
                    "Directory with tls.crt and tls.key; without one a self-signed certificate");
  group->add_flag("--enable-cert-reload", options.cert_reload,
                  "Read the certificate again when its files change");
  group->add_option("--tls-min-version", raw.tls_version, "VersionTLS10 .. VersionTLS13")
      ->default_str("VersionTLS12");
  group
      ->add_option("--tls-cipher-suites", raw.ciphers,
                   "Names as Go has them, for TLS up to 1.2; repeat or join by ','")
      ->delimiter(',')
      ->take_all();
  group->add_option("--metrics-cert-dir", options.metrics_cert_dir,
                    "TLS on the metrics port: directory with tls.crt and tls.key");
  group->add_option("--metrics-client-ca-file", options.metrics_client_ca_file,
                    "Clients of the metrics port must show a certificate signed by this one");
  group->add_flag("--metrics-endpoint-auth", raw.endpoint_auth, "No effect: there is no Kubernetes")
      ->default_str("true");
}

void AddMetricFlags(CLI::App& app, Raw& raw) {
  EppOptions& options = raw.flags.options;
  auto* group = app.add_option_group("Metrics");
  group
      ->add_option("--refresh-metrics-interval", raw.refresh_metrics,
                   "Time between two reads of a server's metrics, 50ms or more; an interval of "
                   "the pipeline's data source goes before it")
      ->capture_default_str();
  group->add_flag("--no-scrape", raw.no_scrape, "Do not read metrics; count own requests only");
  group
      ->add_option("--metrics-staleness-threshold", raw.staleness,
                   "Older values do not count in the pool's metrics")
      ->capture_default_str();
  group
      ->add_option("--refresh-prometheus-metrics-interval", raw.refresh_gauges,
                   "No effect: the pool's metrics are always those of now")
      ->capture_default_str();
  group->add_flag("--enable-grpc-stream-metrics", options.stream_metrics,
                  "Metrics of ext_proc streams");
  group
      ->add_option("--decisions-kept", options.router.decisions_kept,
                   "Decisions that /debug/decisions shows, 0..1024")
      ->capture_default_str();
  group->add_flag("--enable-pprof", raw.pprof, "No effect: there is no pprof")->default_str("true");
  group->add_flag("--tracing", raw.tracing, "No effect: there are no spans")->default_str("true");
  for (const char* name : kRefusedFlags) {
    group->add_option(absl::StrCat("--", name), raw.refused, "Refused: use engineConfigs");
  }
}

void AddProtocolFlags(CLI::App& app, Raw& raw) {
  EppOptions& options = raw.flags.options;
  auto* group = app.add_option_group("Protocol");
  group
      ->add_option("--grpc-max-recv-msg-size", raw.receive_size,
                   "Largest message of a proxy: 4194304, 10Mi, 10MiB, ...")
      ->default_str("4Mi");
  group->add_option("--grpc-max-send-msg-size", raw.send_size,
                    "No effect: answers are 62 KB at most");
  group->add_option("--body-mib-max", raw.body_mib_max, "Largest request body in MiB, 1..64")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  group->add_flag("--emit-endpoint-scores", options.ext_proc.emit_scores,
                  "Metadata with the score of each endpoint");
  group->add_flag("--skip-response-bodies", options.ext_proc.skip_response_bodies,
                  "Ask the proxy to keep response bodies that nobody reads");
  group->add_flag("--echo-headers", options.ext_proc.echo_headers,
                  "As llm-d's picker: answers set all headers again");
  group->add_flag("--mark-responses", options.ext_proc.mark_responses,
                  "As llm-d's picker: x-went-into-resp-headers");
  group->add_flag("--buffer-responses", options.ext_proc.buffer_responses,
                  "As llm-d's picker: responses that are no event streams go on whole");
  group->add_flag("--empty-pool-internal-error", options.ext_proc.empty_pool_internal_error,
                  "As llm-d's picker: 500 for a request without a body, not 503");
}

void AddRecordFlags(CLI::App& app, Raw& raw) {
  io::DecisionLogOptions& record = raw.flags.options.record;
  auto* group = app.add_option_group("Recording");
  group->add_option("--record", record.path,
                    "Write a log of decisions that tools can replay; no prompts are in it. An "
                    "earlier FILE becomes FILE.1");
  group
      ->add_option("--record-bytes-max", record.bytes_max,
                   "Size in bytes at which recording stops, at least 4 MiB")
      ->capture_default_str();
  group->add_option("--record-header", record.headers,
                    "A request header to record, lower case; repeat for more. Always: x-llm-d-*, "
                    "x-gateway-*, x-weir-*");
  group
      ->add_option("--record-block-tokens", record.prompt_block_tokens,
                   "Tokens of a prompt per recorded hash, 16..4096; divides the pipeline's block "
                   "size where replays are to be exact")
      ->capture_default_str();
}

void AddLogFlags(CLI::App& app, Raw& raw) {
  auto* group = app.add_option_group("Log");
  group->add_option("-v,--v", raw.verbosity, "2, 3: info; 4 and more: debug")
      ->capture_default_str();
  group->add_option("--zap-log-level", raw.zap_level,
                    "debug, info, warn, error, or a number as of --v; goes before it");
  group->add_option("--zap-encoder", raw.zap_encoder, "json or console")->default_str("json");
  group->add_flag("--zap-devel", raw.zap_devel, "console, and debug");
  group->add_option("--zap-stacktrace-level", raw.zap_stacktrace, "No effect");
  group->add_option("--zap-time-encoding", raw.zap_time, "No effect: RFC 3339");
}

bool Given(const CLI::App& app, const std::string& name) { return app.count(name) > 0; }

absl::Status FinishPool(const CLI::App& app, Raw& raw) {
  EppOptions& options = raw.flags.options;
  if (!raw.pool_name.empty() && !raw.endpoint_selector.empty()) {
    return absl::InvalidArgumentError("either pool-name or endpoint-selector must be set");
  }
  const auto ports = ParsePorts(raw.target_ports);
  if (!ports.ok()) return ports.status();
  if (!raw.endpoint_selector.empty() && (ports->empty() || ports->size() > kTargetPortsMax)) {
    return absl::InvalidArgumentError(
        "flag \"endpoint-target-ports\" should have length from 1 to 8");
  }
  options.pool_named = Given(app, "--pool-name") || Given(app, "--endpoint-selector");
  if (!raw.pool_name.empty()) options.pool_name = raw.pool_name;
  if (!options.config_file.empty() && !options.config_text.empty()) {
    return absl::InvalidArgumentError(
        "both the \"config-file\" and \"config-text\" flags cannot be set at the same time");
  }
  return absl::OkStatus();
}

absl::Status Readable(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("metrics TLS cert file unreadable: ", path, ": ", std::strerror(errno)));
  }
  ::close(fd);
  return absl::OkStatus();
}

absl::Status FinishTls(Raw& raw) {
  EppOptions& options = raw.flags.options;
  const auto version = ParseTlsVersion(raw.tls_version);
  if (!version.ok()) return version.status();
  options.tls_version_min = *version;
  auto ciphers = ParseCiphers(raw.ciphers);
  if (!ciphers.ok()) return ciphers.status();
  options.ciphers = *std::move(ciphers);
  const std::string& directory = options.metrics_cert_dir;
  const std::string& authority = options.metrics_client_ca_file;
  if (directory.empty()) {
    if (authority.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError("\"metrics-client-ca-file\" requires \"metrics-cert-dir\"");
  }
  if (authority.empty() && !raw.endpoint_auth) {
    return absl::InvalidArgumentError(
        "\"metrics-cert-dir\" enables metrics TLS without authentication; set "
        "\"metrics-client-ca-file\" or \"metrics-endpoint-auth\"");
  }
  std::vector<std::string> files = {directory + "/tls.crt", directory + "/tls.key"};
  if (!authority.empty()) files.push_back(authority);
  for (const std::string& file : files) {
    if (absl::Status status = Readable(file); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status FinishTimes(Raw& raw) {
  EppOptions& options = raw.flags.options;
  int64_t refresh_gauges_ns = 0;
  const struct {
    const char* name;
    const std::string& text;
    int64_t* value;
  } kTimes[] = {
      {"drain-timeout", raw.drain_timeout, &options.drain_ns},
      {"stream-end-timeout", raw.stream_timeout, &options.stream_end_ns},
      {"refresh-metrics-interval", raw.refresh_metrics, &options.fleet.scrape_interval_ns},
      {"refresh-prometheus-metrics-interval", raw.refresh_gauges, &refresh_gauges_ns},
      {"metrics-staleness-threshold", raw.staleness, &options.staleness_ns}};
  for (const auto& time : kTimes) {
    const auto value = ParseDuration(time.name, time.text);
    if (!value.ok()) return value.status();
    *time.value = *value;
  }
  if (options.fleet.scrape_interval_ns < kRefreshNsMin) {
    options.fleet.scrape_interval_ns = kRefreshNsMin;
    raw.flags.notices.push_back(absl::StrCat("refresh-metrics-interval ", raw.refresh_metrics,
                                             " is below 50ms; 50ms is used"));
  }
  options.fleet.scrape = !raw.no_scrape;
  return absl::OkStatus();
}

absl::Status FinishProtocol(const CLI::App& app, Raw& raw) {
  EppOptions& options = raw.flags.options;
  if (Given(app, "--grpc-max-recv-msg-size")) {
    const auto bytes = ParseBytes("grpc-max-recv-msg-size", raw.receive_size);
    if (!bytes.ok()) return bytes.status();
    if (*bytes > 0) options.grpc.message_bytes_max = static_cast<uint32_t>(*bytes);
    // An answer may carry the whole of a message back, while the one before still waits.
    options.grpc.unsent_bytes_max =
        std::max(options.grpc.unsent_bytes_max, uint64_t{2} * options.grpc.message_bytes_max);
  }
  if (Given(app, "--grpc-max-send-msg-size")) {
    const auto bytes = ParseBytes("grpc-max-send-msg-size", raw.send_size);
    if (!bytes.ok()) return bytes.status();
  }
  options.ext_proc.request_body_bytes_max = raw.body_mib_max << 20;
  options.leader_election = raw.leader_election;
  if (raw.peer_load_view) {
    options.router.count_unscraped_requests = false;
    options.router.unscraped = UnscrapedPolicy::kIdle;
  }
  options.samples_expire = !raw.peer_load_view;
  return absl::OkStatus();
}

absl::Status FinishLog(Raw& raw) {
  Flags& flags = raw.flags;
  int verbosity = raw.verbosity;
  if (raw.zap_devel) flags.log_level = LogLevel::kDebug;
  static constexpr std::pair<std::string_view, LogLevel> kLevels[] = {
      {"debug", LogLevel::kDebug}, {"info", LogLevel::kInfo},   {"warn", LogLevel::kWarning},
      {"error", LogLevel::kError}, {"panic", LogLevel::kError},
  };
  const auto level = std::find_if(std::begin(kLevels), std::end(kLevels),
                                  [&](const auto& one) { return one.first == raw.zap_level; });
  if (level != std::end(kLevels)) {
    flags.log_level = level->second;
  } else if (!raw.zap_level.empty() && !CLI::detail::lexical_cast(raw.zap_level, verbosity)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "zap-log-level: \"", raw.zap_level, "\", expected debug, info, warn, error or a number"));
  }
  if (level == std::end(kLevels) && verbosity >= 4) flags.log_level = LogLevel::kDebug;
  if (!raw.zap_encoder.empty() && raw.zap_encoder != "json" && raw.zap_encoder != "console") {
    return absl::InvalidArgumentError(
        absl::StrCat("zap-encoder: \"", raw.zap_encoder, "\", expected json or console"));
  }
  flags.log_json = raw.zap_encoder.empty() ? !raw.zap_devel : raw.zap_encoder == "json";
  return absl::OkStatus();
}

// Flags that were given and ask for something that this version does not do.
void ListNotices(const CLI::App& app, Raw& raw) {
  std::vector<std::string> none;
  for (const char* name :
       {"--pool-group", "--pool-namespace", "--endpoint-selector", "--endpoint-target-ports",
        "--refresh-prometheus-metrics-interval", "--grpc-max-send-msg-size",
        "--zap-stacktrace-level", "--zap-time-encoding"}) {
    if (Given(app, name)) none.push_back(name);
  }
  const struct {
    const char* name;
    bool asked;
  } kSwitches[] = {{"--ha-enable-leader-election", raw.leader_election},
                   {"--tracing", raw.tracing},
                   {"--enable-pprof", raw.pprof},
                   {"--metrics-endpoint-auth", raw.endpoint_auth}};
  for (const auto& one : kSwitches) {
    if (Given(app, one.name) && one.asked) none.push_back(one.name);
  }
  for (const std::string& name : none) {
    raw.flags.notices.push_back(absl::StrCat(name, " has no effect in this version"));
  }
  if (!raw.flags.options.metrics_cert_dir.empty() &&
      raw.flags.options.metrics_client_ca_file.empty()) {
    raw.flags.notices.push_back(
        "the metrics port is encrypted and asks nobody who he is: set --metrics-client-ca-file");
  }
}

// "-v=4" is Go's; "--v=4" means the same here and there.
std::string Normalised(const std::string& argument) {
  return argument.starts_with("-v=") ? "-" + argument : argument;
}

}  // namespace

absl::StatusOr<Flags> ParseFlags(const std::vector<std::string>& arguments) {
  CLI::App app{"An endpoint picker for Envoy and other proxies that speak ext_proc."};
  app.footer(kExamples);
  // As Go does: the last of several counts.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  Raw raw;
  AddEndpointFlags(app, raw);
  AddConfigFlags(app, raw);
  AddServingFlags(app, raw);
  AddTlsFlags(app, raw);
  AddMetricFlags(app, raw);
  AddProtocolFlags(app, raw);
  AddRecordFlags(app, raw);
  AddLogFlags(app, raw);
  std::vector<std::string> reversed;
  for (const std::string& argument : arguments) reversed.push_back(Normalised(argument));
  std::reverse(reversed.begin(), reversed.end());
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    raw.flags.help = app.help();
    return std::move(raw.flags);
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  for (const char* name : kRefusedFlags) {
    if (!Given(app, absl::StrCat("--", name))) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("flag \"", name,
                     "\" is deprecated and cannot be used; configure metrics via engineConfigs in "
                     "EndpointPickerConfig instead"));
  }
  for (const absl::Status& status : {FinishPool(app, raw), FinishTls(raw), FinishTimes(raw),
                                     FinishProtocol(app, raw), FinishLog(raw)}) {
    if (!status.ok()) return status;
  }
  ListNotices(app, raw);
  return std::move(raw.flags);
}

}  // namespace weir::epp
