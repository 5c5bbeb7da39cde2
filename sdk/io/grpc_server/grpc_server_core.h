// weir/io/grpc_server/grpc_server_core.h: what the connections of one GrpcServer share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weir/io/grpc_server/grpc_connection.h"
#include "weir/io/grpc_server/grpc_counters.h"
#include "weir/io/grpc_server/grpc_server.h"
#include "weir/io/grpc_server/message_reader.h"
#include "weir/io/grpc_server/send_queue.h"

struct nghttp2_session_callbacks;
struct nghttp2_option;

namespace weir::io {

inline constexpr uint32_t kGrpcPooledCallsMax = 4096;         // kept for reuse
inline constexpr int64_t kGrpcDrainNoticeNs = 1'000'000'000;  // from the notice to GOAWAY

class GrpcServerCore {
 public:
  GrpcServerCore(EventLoop& loop, const GrpcServerOptions& options);
  ~GrpcServerCore();
  GrpcServerCore(const GrpcServerCore&) = delete;
  GrpcServerCore& operator=(const GrpcServerCore&) = delete;

  Code Register(std::string_view path, GrpcHandler& handler);
  // Null if nobody serves `path`.
  GrpcHandler* FindHandler(std::string_view path) const noexcept;
  void OnAccept(UniqueFd socket, const SocketAddress& peer);
  void Accept(Stream client, const SocketAddress& peer);
  void Drain(int64_t deadline_ns);

  // A call to Begin(), from the pool.
  std::unique_ptr<ServerCall> NewCall();
  void Recycle(std::unique_ptr<ServerCall> call) noexcept;
  void Count(GrpcRefusal refusal) noexcept {
    counters.refused[static_cast<uint32_t>(refusal)].Add(1);
  }
  // A connection leaves the list.
  void Forget(GrpcConnection& connection) noexcept;

  EventLoop& loop;
  const GrpcServerOptions options;
  GrpcCounters counters;
  GatherBuffer gather;
  GzipInflater inflater;
  std::vector<GrpcMetadata> metadata;  // of the call being begun
  const TlsContext* tls_or_null = nullptr;
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_option* session_option = nullptr;
  IntrusiveList<GrpcConnection> connections;  // owned
  uint32_t connection_count = 0;
  uint32_t call_count = 0;  // whose HTTP/2 streams are open
  bool draining = false;

 private:
  void OnDrainNotice();
  void OnDrainDeadline();

  struct Method {
    std::string path;
    GrpcHandler* handler;
  };

  std::vector<Method> methods_;  // few: a scan is as good as a table
  std::vector<std::unique_ptr<ServerCall>> pool_;
  Timer notice_timer_ = Timer::Calling<&GrpcServerCore::OnDrainNotice>(*this);
  Timer deadline_timer_ = Timer::Calling<&GrpcServerCore::OnDrainDeadline>(*this);
};

}  // namespace weir::io
