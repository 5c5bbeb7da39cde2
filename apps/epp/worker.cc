#include "worker.h"

#include <algorithm>
#include <utility>

namespace weir::epp {
namespace {

constexpr int64_t kEndCheckNs = 20'000'000;

}  // namespace

Worker::Worker(const Router& router, io::HeldBytes& held, io::ExtProcMetrics& metrics,
               const Options& options, std::unique_ptr<io::EventLoop> loop)
    : loop_(std::move(loop)),
      core_(router, options.ext_proc, held, metrics, loop_->clock(), options.seed),
      service_(std::make_unique<io::ExtProcService>(core_)),
      server_(std::make_unique<io::GrpcServer>(*loop_, options.grpc)) {
  server_->set_tls(options.tls_or_null);
  if (options.health_or_null != nullptr) {
    health_ = std::make_unique<io::HealthService>(*options.health_or_null,
                                                  io::HealthOptions{.unknown_as_status = true});
  }
}

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(const Router& router, io::HeldBytes& held,
                                                       io::ExtProcMetrics& metrics,
                                                       const Options& options) {
  auto loop = io::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  std::unique_ptr<Worker> worker(new Worker(router, held, metrics, options, *std::move(loop)));
  Code registered = worker->server_->Register(io::kExtProcMethod, *worker->service_);
  if (registered == Code::kOk && worker->health_ != nullptr) {
    registered = worker->health_->Register(*worker->server_);
  }
  if (registered != Code::kOk) return absl::InternalError("gRPC methods cannot be registered");
  return worker;
}

Worker::~Worker() {
  server_.reset();
  health_.reset();
  service_.reset();
}

void Worker::Accept(io::UniqueFd socket, const io::SocketAddress& peer) {
  given_.fetch_add(1, std::memory_order_relaxed);
  // The loop is full only if this thread does not keep up at all; the socket is then closed.
  (void)loop_->PostCall([this, socket = std::move(socket), peer]() mutable {
    server_->OnAccept(std::move(socket), peer);
  });
}

void Worker::UpdateHealth() {
  (void)loop_->PostCall([this] {
    if (health_ != nullptr) health_->Update();
  });
}

void Worker::EndAfter(int64_t deadline_ns) {
  (void)loop_->PostCall([this, deadline_ns] {
    if (health_ != nullptr) health_->EndWatches();
    server_->Drain(deadline_ns);
    CheckEnded();
  });
}

void Worker::CheckEnded() {
  if (server_->idle()) {
    loop_->Stop();
  } else {
    loop_->Arm(end_check_, kEndCheckNs);
  }
}

uint64_t Worker::connections() const noexcept {
  const io::GrpcCounters& counters = server_->counters();
  const uint64_t closed = counters.accepts.value() - counters.connections.value();
  const uint64_t given = given_.load(std::memory_order_relaxed);
  return given - std::min(given, closed);
}

}  // namespace weir::epp
