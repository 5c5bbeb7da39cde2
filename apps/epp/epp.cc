#include "epp.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "metrics_page.h"
#include "weir/clock.h"
#include "weir/io/decision_log/log_metrics.h"
#include "weir/io/fleet/fleet_metrics.h"
#include "weir/io/fleet/sample_age.h"
#include "weir/io/metrics/engine_metrics.h"

namespace weir::epp {
namespace {

constexpr uint32_t kThreadsMax = 64;

// Opens `make` on the address that flags give; without one, on all addresses.
template <class Make>
auto OpenOn(const std::string& bind_address, std::string_view flag, uint16_t port, const Make& make)
    -> decltype(make(io::SocketAddress())) {
  const auto on = [&](const std::string& host) -> decltype(make(io::SocketAddress())) {
    const std::string text =
        absl::StrCat(host.find(':') == std::string::npos ? host : "[" + host + "]", ":", port);
    const auto address = io::SocketAddress::Parse(text);
    if (!address.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--bind-address ", host, ": expected a numeric address"));
    }
    return make(*address);
  };
  const auto named = [&](auto result) {
    if (result.ok()) return result;
    return decltype(result)(absl::Status(
        result.status().code(),
        absl::StrCat(std::string(flag), ": ", std::string(result.status().message()))));
  };
  if (!bind_address.empty()) return named(on(bind_address));
  auto everywhere = on("::");
  if (everywhere.ok()) return everywhere;
  return named(on("0.0.0.0"));  // a machine without IPv6
}

}  // namespace

absl::StatusOr<Router> LoadRouter(const EppOptions& options) {
  const auto load = [&](const RouterOptions& router) {
    if (!options.config_file.empty()) return Router::FromFile(options.config_file, router);
    if (!options.config_text.empty()) {
      return Router::FromText(options.config_text, "--config-text", router);
    }
    return Router::Default(router);
  };
  if (!options.samples_expire) return load(options.router);
  return io::LoadWithSampleAge(options.router, options.fleet, load);
}

Epp::Epp(std::unique_ptr<io::DecisionLogWriter> recorder_or_null, Router router,
         const EppOptions& options, io::EventLoop& control_loop, Log log)
    : recorder_(std::move(recorder_or_null)),
      router_(std::move(router)),
      options_(options),
      loop_(control_loop),
      log_(std::move(log)),
      health_(options.leader_election) {}

absl::StatusOr<std::unique_ptr<Epp>> Epp::Start(io::EventLoop& control_loop,
                                                const EppOptions& options, Log log) {
  EppOptions recorded = options;
  recorded.record.log = log;
  auto recorder = io::RecordDecisions(recorded.record, &recorded.router);
  if (!recorder.ok()) return recorder.status();
  auto router = LoadRouter(recorded);
  if (!router.ok()) return router.status();
  std::unique_ptr<Epp> epp(
      new Epp(*std::move(recorder), *std::move(router), options, control_loop, std::move(log)));
  if (absl::Status status = epp->Open(); !status.ok()) return status;
  return epp;
}

absl::Status Epp::Open() {
  if (router_.needs().discovery_plugin.empty() && options_.fleet.endpoint_urls.empty()) {
    if (!options_.pool_named) {
      return absl::InvalidArgumentError(
          "either pool-name or endpoint-selector must be set, or the endpoints be given by "
          "dataLayer.discovery of the configuration or by --endpoint");
    }
    return absl::InvalidArgumentError(
        "--pool-name, --endpoint-selector: endpoints of Kubernetes are not part of this version; "
        "give them by dataLayer.discovery of the configuration or by --endpoint");
  }
  if (absl::Status status = OpenTls(); !status.ok()) return status;
  auto fleet = io::Fleet::Create(loop_, router_, options_.fleet, log_);
  if (!fleet.ok()) return fleet.status();
  fleet_ = *std::move(fleet);
  health_.set_live();
  if (absl::Status status = OpenWorkers(); !status.ok()) return status;
  if (absl::Status status = OpenHealth(); !status.ok()) return status;
  if (absl::Status status = OpenPages(); !status.ok()) return status;
  running_workers_.store(static_cast<uint32_t>(workers_.size()));
  for (const auto& worker : workers_) {
    threads_.emplace_back([this, one = worker.get()] {
      one->Run();
      running_workers_.fetch_sub(1);
    });
  }
  return absl::OkStatus();
}

absl::Status Epp::OpenTls() {
  if (options_.secure_serving) {
    auto tls = Certificates::Open(loop_,
                                  {.directory = options_.cert_path,
                                   .reload = options_.cert_reload,
                                   .tls = {.alpn = {"h2"},
                                           .version_min = options_.tls_version_min,
                                           .ciphers = options_.ciphers}},
                                  log_);
    if (!tls.ok()) return tls.status();
    serving_tls_ = *std::move(tls);
  }
  if (!options_.metrics_cert_dir.empty()) {
    auto tls = Certificates::Open(loop_,
                                  {.directory = options_.metrics_cert_dir,
                                   .reload = true,
                                   .tls = {.client_ca_file = options_.metrics_client_ca_file}},
                                  log_);
    if (!tls.ok()) return tls.status();
    metrics_tls_ = *std::move(tls);
  }
  return absl::OkStatus();
}

absl::Status Epp::OpenWorkers() {
  const uint32_t cores = std::max(1u, std::thread::hardware_concurrency());
  const uint32_t threads = options_.threads > 0 ? options_.threads : std::min(4u, cores);
  if (threads > kThreadsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--threads ", threads, ": expected 1..", kThreadsMax));
  }
  metrics_ = std::make_unique<io::RequestMetrics>(threads);
  KeepConfiguredModels(router_.resources().table()->RewriteCounts());
  Random seeds(options_.router.seed != 0 ? options_.router.seed
                                         : static_cast<uint64_t>(SystemClock().now_ns()));
  for (uint32_t i = 0; i < threads; ++i) {
    auto worker =
        Worker::Create(router_, held_, metrics_->worker(i),
                       {.grpc = options_.grpc,
                        .ext_proc = options_.ext_proc,
                        .tls_or_null = serving_tls_ == nullptr ? nullptr : &serving_tls_->tls(),
                        .health_or_null = options_.health_checking ? &health_ : nullptr,
                        .seed = seeds.NextBits()});
    if (!worker.ok()) return worker.status();
    workers_.push_back(*std::move(worker));
  }
  auto listener = OpenOn(options_.bind_address, "--grpc-port", options_.grpc_port,
                         [this](const io::SocketAddress& address) {
                           return io::Listener::Open(loop_, {.address = address}, *this);
                         });
  if (!listener.ok()) return listener.status();
  listener_ = *std::move(listener);
  return absl::OkStatus();
}

absl::Status Epp::OpenHealth() {
  health_server_ = std::make_unique<io::GrpcServer>(loop_);
  health_service_ =
      std::make_unique<io::HealthService>(health_, io::HealthOptions{.unknown_as_status = true});
  if (health_service_->Register(*health_server_) != Code::kOk) {
    return absl::InternalError("health methods cannot be registered");
  }
  auto listener = OpenOn(options_.bind_address, "--grpc-health-port", options_.health_port,
                         [this](const io::SocketAddress& address) {
                           return io::Listener::Open(loop_, {.address = address}, *health_server_);
                         });
  if (!listener.ok()) return listener.status();
  health_listener_ = *std::move(listener);
  return absl::OkStatus();
}

absl::Status Epp::OpenPages() {
  pages_ = std::make_unique<io::AdminPages>(
      router_, [this] { return health_.ready(); }, [this] { return MetricsPage(); });
  auto server =
      OpenOn(options_.bind_address, "--metrics-port", options_.metrics_port,
             [this](const io::SocketAddress& address) {
               return io::AdminServer::Open(
                   loop_,
                   {.address = address,
                    .tls_or_null = metrics_tls_ == nullptr ? nullptr : &metrics_tls_->tls()},
                   *pages_);
             });
  if (!server.ok()) return server.status();
  admin_server_ = *std::move(server);
  return absl::OkStatus();
}

Epp::~Epp() {
  admin_server_.reset();
  listener_.reset();
  health_listener_.reset();
  health_server_.reset();
  health_service_.reset();
  if (!threads_.empty()) {
    for (const auto& worker : workers_) worker->EndAfter(0);
    for (std::thread& thread : threads_) thread.join();
  }
  workers_.clear();
}

void Epp::OnAccept(io::UniqueFd socket, const io::SocketAddress& peer) {
  // A proxy opens few connections and keeps them: they are spread by count, not by chance.
  const auto least = std::min_element(
      workers_.begin(), workers_.end(),
      [](const auto& a, const auto& b) { return a->connections() < b->connections(); });
  (*least)->Accept(std::move(socket), peer);
}

void Epp::Drain() {
  if (health_.inputs().draining) return;
  health_.set_draining();
  health_service_->Update();
  for (const auto& worker : workers_) worker->UpdateHealth();
  log_(LogLevel::kInfo, absl::StrCat("draining: not ready, serving for ",
                                     options_.drain_ns / 1'000'000, " ms more"));
  loop_.Arm(stop_serving_, options_.drain_ns);
}

void Epp::StopServing() {
  listener_->Close();
  for (const auto& worker : workers_) worker->EndAfter(options_.stream_end_ns);
}

// Names that rewrites bring may always be labels.
void Epp::KeepConfiguredModels(std::span<const RewriteCount> rewrites) {
  std::vector<std::string_view> names;
  for (const RewriteCount& rewrite : rewrites) {
    names.push_back(rewrite.model);
    names.push_back(rewrite.target_model);
  }
  metrics_->KeepModels(names);
}

std::string Epp::MetricsPage() {
  const std::vector<RewriteCount> rewrites = router_.resources().table()->RewriteCounts();
  KeepConfiguredModels(rewrites);  // they may have changed since
  io::MetricsText text;
  metrics_->Write(text, options_.stream_metrics);
  io::WritePoolMetrics(*router_.pool().snapshot(), SystemClock().now_ns(),
                       {.pool_name = options_.pool_name, .stale_ns = options_.staleness_ns}, text);
  io::WriteRewriteMetrics(rewrites, text);
  io::WriteDataLayerMetrics(*fleet_, text);
  WriteInfo(text);
  WriteTransportMetrics(workers_, held_, text);
  WriteCertificateMetrics({serving_tls_.get(), metrics_tls_.get()}, text);
  io::WriteEngineMetrics(router_.stats(), text);
  io::WriteFleetMetrics(*fleet_, text);
  if (recorder_ != nullptr) io::WriteDecisionLogMetrics(recorder_->stats(), text);
  return text.Take();
}

}  // namespace weir::epp
