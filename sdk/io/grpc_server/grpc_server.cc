#include "weir/io/grpc_server/grpc_server.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <utility>

#include "weir/io/grpc_server/grpc_server_core.h"
#include "weir/io/grpc_server/session_callbacks.h"
#include "weir/io/loop/tls.h"

namespace weir::io {
namespace {

constexpr uint32_t kFrameBytesMin = 1u << 14;  // bounds of SETTINGS_MAX_FRAME_SIZE
constexpr uint32_t kFrameBytesMax = (1u << 24) - 1;
constexpr uint32_t kWindowBytesMax = (1u << 31) - 1;
constexpr uint32_t kWindowBytesMin = 65'535;

GrpcServerOptions Clamped(GrpcServerOptions options) {
  options.frame_bytes_max = std::clamp(options.frame_bytes_max, kFrameBytesMin, kFrameBytesMax);
  options.stream_window_bytes =
      std::clamp(options.stream_window_bytes, kWindowBytesMin, kWindowBytesMax);
  options.connection_window_bytes =
      std::clamp(options.connection_window_bytes, kWindowBytesMin, kWindowBytesMax);
  if (options.keepalive_timeout_ns == 0) options.keepalive_ns = 0;
  // A message that is still incomplete counts as held: it must be able to become complete.
  options.call_held_bytes_max =
      std::max<uint64_t>(options.call_held_bytes_max, options.message_bytes_max);
  options.connection_held_bytes_max =
      std::max(options.connection_held_bytes_max, options.call_held_bytes_max);
  return options;
}

bool IsMethodPath(std::string_view path) noexcept {
  const size_t slash = path.rfind('/');
  return path.starts_with('/') && slash > 1 && slash + 1 < path.size();
}

}  // namespace

GrpcServerCore::GrpcServerCore(EventLoop& loop_to_use, const GrpcServerOptions& wanted)
    : loop(loop_to_use),
      options(Clamped(wanted)),
      gather(loop_to_use.buffers()),
      inflater(loop_to_use.buffers()),
      callbacks(NewSessionCallbacks()),
      session_option(NewSessionOption()) {
  pool_.reserve(kGrpcPooledCallsMax);
}

GrpcServerCore::~GrpcServerCore() {
  while (GrpcConnection* connection = connections.front()) connection->Die(GrpcEnd::kDrained);
  nghttp2_session_callbacks_del(callbacks);
  nghttp2_option_del(session_option);
}

Code GrpcServerCore::Register(std::string_view path, GrpcHandler& handler) {
  if (!IsMethodPath(path)) return Code::kInvalidArgument;
  if (FindHandler(path) != nullptr) return Code::kAlreadyExists;
  if (methods_.size() >= kGrpcMethodsMax) return Code::kResourceExhausted;
  methods_.push_back({std::string(path), &handler});
  return Code::kOk;
}

GrpcHandler* GrpcServerCore::FindHandler(std::string_view path) const noexcept {
  for (const Method& method : methods_) {
    if (method.path == path) return method.handler;
  }
  return nullptr;
}

void GrpcServerCore::OnAccept(UniqueFd socket, const SocketAddress& peer) {
  if (tls_or_null == nullptr) {
    Accept(Stream::Plain(std::move(socket)), peer);
    return;
  }
  Accept(tls_or_null->NewStream(std::move(socket)), peer);
}

void GrpcServerCore::Accept(Stream client, const SocketAddress& peer) {
  if (draining || !client.open()) return;
  if (connection_count >= options.connections_max) {
    Count(GrpcRefusal::kConnectionsFull);
    return;
  }
  counters.accepts.Add(1);
  counters.connections.Add(1);
  ++connection_count;
  auto* connection = new GrpcConnection(*this, std::move(client), peer);
  connections.PushBack(*connection);
  connection->Start();
}

void GrpcServerCore::Forget(GrpcConnection& connection) noexcept {
  connection.Unlink();
  --connection_count;
  counters.connections.Subtract(1);
}

void GrpcServerCore::Drain(int64_t deadline_ns) {
  if (!draining) {
    draining = true;
    loop.Arm(notice_timer_, kGrpcDrainNoticeNs);
    for (GrpcConnection* one = connections.front(); one != nullptr;) {
      GrpcConnection* next = connections.Next(*one);
      one->SendDrainNotice();
      one = next;
    }
  }
  // Not now: this may be a handler's function, called by the connection it would destroy.
  if (deadline_ns >= 0) loop.Arm(deadline_timer_, deadline_ns);
}

void GrpcServerCore::OnDrainNotice() {
  for (GrpcConnection* one = connections.front(); one != nullptr;) {
    GrpcConnection* next = connections.Next(*one);
    one->SendGoaway();
    one = next;
  }
}

void GrpcServerCore::OnDrainDeadline() {
  while (GrpcConnection* connection = connections.front()) connection->Die(GrpcEnd::kDrained);
}

std::unique_ptr<ServerCall> GrpcServerCore::NewCall() {
  ++call_count;
  if (pool_.empty()) return std::make_unique<ServerCall>();
  std::unique_ptr<ServerCall> call = std::move(pool_.back());
  pool_.pop_back();
  return call;
}

void GrpcServerCore::Recycle(std::unique_ptr<ServerCall> call) noexcept {
  --call_count;
  if (pool_.size() >= kGrpcPooledCallsMax) return;
  call->Recycle();
  pool_.push_back(std::move(call));
}

GrpcServer::GrpcServer(EventLoop& loop, const GrpcServerOptions& options)
    : core_(std::make_unique<GrpcServerCore>(loop, options)) {}
GrpcServer::~GrpcServer() = default;

Code GrpcServer::Register(std::string_view path, GrpcHandler& handler) {
  return core_->Register(path, handler);
}
void GrpcServer::set_tls(const TlsContext* tls_or_null) noexcept {
  core_->tls_or_null = tls_or_null;
}
void GrpcServer::OnAccept(UniqueFd socket, const SocketAddress& peer) {
  core_->OnAccept(std::move(socket), peer);
}
void GrpcServer::Accept(Stream client, const SocketAddress& peer) {
  core_->Accept(std::move(client), peer);
}
void GrpcServer::Drain(int64_t deadline_ns) { core_->Drain(deadline_ns); }
bool GrpcServer::draining() const noexcept { return core_->draining; }
bool GrpcServer::idle() const noexcept { return core_->connection_count == 0; }
const GrpcServerOptions& GrpcServer::options() const noexcept { return core_->options; }
const GrpcCounters& GrpcServer::counters() const noexcept { return core_->counters; }

}  // namespace weir::io
