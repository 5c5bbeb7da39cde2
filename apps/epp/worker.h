// worker.h: one thread of weir-epp: a loop, the gRPC connections given to it, and the decisions for
// their requests.
#pragma once

#include <atomic>
#include <memory>

#include "health.h"
#include "weir/io/ext_proc/ext_proc_service.h"
#include "weir/io/grpc_server/grpc_server.h"
#include "weir/io/grpc_server/health_service.h"
#include "weir/io/loop/event_loop.h"

namespace weir::epp {

class Worker {
 public:
  struct Options {
    io::GrpcServerOptions grpc;
    io::ExtProcOptions ext_proc;
    const io::TlsContext* tls_or_null = nullptr;  // borrowed
    Health* health_or_null = nullptr;  // borrowed; registers the health service beside ext_proc
    uint64_t seed = 0;
  };

  // Borrowed: the router's engine, and all that is given. [control]
  static absl::StatusOr<std::unique_ptr<Worker>> Create(const Router& router, io::HeldBytes& held,
                                                        io::ExtProcMetrics& metrics,
                                                        const Options& options);
  ~Worker();

  // Serves until EndAfter(). Call it on the worker's own thread.
  void Run() { loop_->Run(); }
  // Takes a connection. [concurrent]
  void Accept(io::UniqueFd socket, const io::SocketAddress& peer);
  // Health has changed: tells those who watch it. [concurrent]
  void UpdateHealth();
  // Sends GOAWAY, lets streams end for at most deadline_ns, then Run() returns. [concurrent]
  void EndAfter(int64_t deadline_ns);

  // Connections that are open or on their way here. [concurrent]
  uint64_t connections() const noexcept;
  const io::GrpcCounters& counters() const noexcept { return server_->counters(); }

 private:
  Worker(const Router& router, io::HeldBytes& held, io::ExtProcMetrics& metrics,
         const Options& options, std::unique_ptr<io::EventLoop> loop);
  void CheckEnded();

  std::unique_ptr<io::EventLoop> loop_;
  io::ExtProcCore core_;
  std::unique_ptr<io::ExtProcService> service_;
  std::unique_ptr<io::GrpcServer> server_;
  std::unique_ptr<io::HealthService> health_;
  io::Timer end_check_ = io::Timer::Calling<&Worker::CheckEnded>(*this);
  std::atomic<uint64_t> given_{0};  // connections, by Accept()
};

}  // namespace weir::epp
