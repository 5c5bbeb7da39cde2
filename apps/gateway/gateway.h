// gateway.h: the whole gateway: router, workers, endpoints, pages. main.cc runs one; tests run
// many.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "weir/io/admin/admin_server.h"
#include "weir/io/admin/pages.h"
#include "weir/io/decision_log/writer.h"
#include "weir/io/fleet/fleet.h"
#include "worker.h"

namespace weir::gateway {

struct GatewayOptions {
  // What routes: a file, or the default pipeline of DefaultGatewayPipeline().
  std::string config_file;
  RouterOptions router;
  bool samples_expire = false;    // after some missed scrapes, in place of what `router` says
  io::DecisionLogOptions record;  // no path: decisions are not recorded
  io::FleetOptions fleet;
  // Where it listens.
  std::string listen = "127.0.0.1:8080";
  std::string admin_listen;  // empty: the admin pages are on `listen`
  uint32_t threads = 0;      // 0: one per core, at most 4
  // TLS. Certificate and key: clients speak TLS.
  std::string tls_cert_file, tls_key_file;
  std::string upstream_ca_file;
  bool upstream_insecure = false;
  // Limits and times.
  io::RelayOptions relay;
  bool endpoint_header = true;
  int64_t drain_ns = 30'000'000'000;
};

// The pipeline without a file: queue 2, KV cache utilization 2, prefix 3, best of 3 targets, so
// that a request has two fallbacks. docs/quickstart.md shows it.
std::string_view DefaultGatewayPipeline();

// Loads the pipeline of the options, as Start would. [control]
absl::StatusOr<Router> LoadRouter(const GatewayOptions& options);

class Gateway final {
 public:
  // Opens the listeners and starts the worker threads; requests are served when it returns.
  // Borrowed: control_loop, on whose thread this and the destructor run, and which the caller runs.
  // Errors name the flag, file or address. [control]
  static absl::StatusOr<std::unique_ptr<Gateway>> Start(io::EventLoop& control_loop,
                                                        const GatewayOptions& options,
                                                        io::Fleet::Log log);
  // Drains with no deadline left.
  ~Gateway();

  // Not ready from now on; requests in flight have drain_ns to end. Returns at once. [control]
  void Drain();
  // Whether all workers have ended. [concurrent]
  bool drained() const noexcept { return running_workers_.load() == 0; }

  uint16_t port() const { return workers_.front()->address().port(); }
  std::string address() const { return workers_.front()->address().ToString(); }
  std::string admin_address() const;  // that of `listen` if they are one
  const Router& router() const { return router_; }
  const io::Fleet& fleet() const { return *fleet_; }

 private:
  Gateway(std::unique_ptr<io::DecisionLogWriter> recorder_or_null, Router router,
          const GatewayOptions& options);
  absl::Status Open(io::EventLoop& control_loop, io::Fleet::Log log);
  absl::Status OpenWorkers(const io::Fleet::Log& log);

  const std::unique_ptr<io::DecisionLogWriter> recorder_;  // outlives the router; may be null
  const Router router_;
  const GatewayOptions options_;
  std::unique_ptr<io::TlsContext> server_tls_;
  std::unique_ptr<io::TlsContext> upstream_tls_;
  std::unique_ptr<io::Fleet> fleet_;
  std::unique_ptr<io::HealthPages> health_pages_;
  std::unique_ptr<io::AdminPages> admin_pages_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
  std::unique_ptr<io::AdminServer> admin_server_;
  std::atomic<bool> draining_{false};
  std::atomic<uint32_t> running_workers_{0};
};

}  // namespace weir::gateway
