// epp.h: the whole endpoint picker: router, workers, endpoints, health, pages. main.cc runs one;
// tests run many.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "certificates.h"
#include "health.h"
#include "weir/io/admin/admin_server.h"
#include "weir/io/admin/pages.h"
#include "weir/io/decision_log/writer.h"
#include "weir/io/fleet/fleet.h"
#include "weir/io/grpc_server/grpc_server.h"
#include "weir/io/grpc_server/health_service.h"
#include "weir/io/metrics/request_metrics.h"
#include "worker.h"

namespace weir::epp {

struct EppOptions {
  // What routes: a file, a text, or the default pipeline.
  std::string config_file;
  std::string config_text;
  RouterOptions router;
  bool samples_expire = false;    // after some missed scrapes, in place of what `router` says
  io::DecisionLogOptions record;  // no path: decisions are not recorded
  io::FleetOptions fleet;
  bool pool_named = false;  // by --pool-name or --endpoint-selector
  // Where it listens. Port 0: the kernel chooses.
  std::string bind_address;  // numeric; empty: all, IPv6 too where there is any
  uint16_t grpc_port = 9002;
  uint16_t health_port = 9003;
  uint16_t metrics_port = 9090;
  uint32_t threads = 0;  // 0: one per core, at most 4
  // TLS of the ext_proc port. The directory holds tls.crt and tls.key; empty: self-signed.
  bool secure_serving = true;
  std::string cert_path;
  bool cert_reload = false;
  io::TlsVersion tls_version_min = io::TlsVersion::k12;
  std::string ciphers;
  // TLS of the metrics port; empty: plain.
  std::string metrics_cert_dir;
  std::string metrics_client_ca_file;
  // Health.
  bool health_checking = false;  // on the ext_proc port too
  bool leader_election = false;
  // Metrics.
  std::string pool_name = "epp";  // label "name"
  int64_t staleness_ns = 2'000'000'000;
  bool stream_metrics = false;
  // Limits and times.
  io::GrpcServerOptions grpc;
  io::ExtProcOptions ext_proc;
  int64_t drain_ns = 30'000'000'000;       // not ready and still serving
  int64_t stream_end_ns = 60'000'000'000;  // from GOAWAY to the end of the last stream
};

// Loads the pipeline of the options, as Start would. [control]
absl::StatusOr<Router> LoadRouter(const EppOptions& options);

class Epp final : private io::AcceptHandler {
 public:
  using Log = std::function<void(LogLevel, const std::string&)>;

  // Reads the endpoints, opens the ports and starts the worker threads; requests are served when it
  // returns. Borrowed: control_loop, on whose thread this and the destructor run, and which the
  // caller runs. Errors name the flag, file or address. [control]
  static absl::StatusOr<std::unique_ptr<Epp>> Start(io::EventLoop& control_loop,
                                                    const EppOptions& options, Log log);
  // Ends at once.
  ~Epp();

  // Not ready from now on; serves for drain_ns more, then lets streams end. Returns at once.
  // [control]
  void Drain();
  // Whether all workers have ended. [concurrent]
  bool drained() const noexcept { return running_workers_.load() == 0; }

  const io::SocketAddress& grpc_address() const { return listener_->address(); }
  const io::SocketAddress& health_address() const { return health_listener_->address(); }
  const io::SocketAddress& metrics_address() const { return admin_server_->address(); }
  const Router& router() const { return router_; }
  const io::Fleet& fleet() const { return *fleet_; }

 private:
  Epp(std::unique_ptr<io::DecisionLogWriter> recorder_or_null, Router router,
      const EppOptions& options, io::EventLoop& control_loop, Log log);
  absl::Status Open();
  absl::Status OpenTls();
  absl::Status OpenWorkers();
  absl::Status OpenHealth();
  absl::Status OpenPages();
  void OnAccept(io::UniqueFd socket, const io::SocketAddress& peer) override;
  void StopServing();
  void KeepConfiguredModels(std::span<const RewriteCount> rewrites);
  std::string MetricsPage();

  const std::unique_ptr<io::DecisionLogWriter> recorder_;  // outlives the router; may be null
  const Router router_;
  const EppOptions options_;
  io::EventLoop& loop_;
  const Log log_;
  Health health_;
  io::HeldBytes held_;
  std::unique_ptr<Certificates> serving_tls_;
  std::unique_ptr<Certificates> metrics_tls_;
  std::unique_ptr<io::Fleet> fleet_;
  std::unique_ptr<io::RequestMetrics> metrics_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
  std::unique_ptr<io::Listener> listener_;
  std::unique_ptr<io::GrpcServer> health_server_;
  std::unique_ptr<io::HealthService> health_service_;
  std::unique_ptr<io::Listener> health_listener_;
  std::unique_ptr<io::AdminPages> pages_;
  std::unique_ptr<io::AdminServer> admin_server_;
  io::Timer stop_serving_ = io::Timer::Calling<&Epp::StopServing>(*this);
  std::atomic<uint32_t> running_workers_{0};
};

}  // namespace weir::epp
