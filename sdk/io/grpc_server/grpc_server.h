// weir/io/grpc_server/grpc_server.h: a gRPC server (HTTP/2 with prior knowledge, or TLS with ALPN
// "h2") on one event loop. Start at GrpcServer; grpc_call.h has the handler's side.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "weir/io/grpc_server/grpc_call.h"
#include "weir/io/grpc_server/grpc_counters.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/socket.h"
#include "weir/io/loop/stream.h"

namespace weir::io {

class TlsContext;

inline constexpr uint32_t kGrpcMethodsMax = 64;             // of one server
inline constexpr uint32_t kGrpcStatusTextBytesMax = 1024;   // grpc-message, before encoding
inline constexpr uint32_t kGrpcMessageBytesMax = 4u << 20;  // default, as other gRPC servers
inline constexpr uint32_t kGrpcCallsPerConnectionMax = 10'000;
inline constexpr uint32_t kGrpcCallsMax = 50'000;
inline constexpr uint32_t kGrpcConnectionsMax = 4096;
inline constexpr uint32_t kGrpcMetadataBytesMax = 16 * 1024;
inline constexpr uint32_t kGrpcMetadataMax = 128;          // headers of one call
inline constexpr uint32_t kGrpcReadBytesMax = 256 * 1024;  // one read
inline constexpr uint32_t kGrpcReadsPerTurnMax = 16;       // of one connection per event

struct GrpcServerOptions {
  // Affects behaviour. More of anything than its limit is answered with RESOURCE_EXHAUSTED unless
  // another answer is named.
  uint32_t message_bytes_max = kGrpcMessageBytesMax;    // received, also after decompression
  uint32_t metadata_bytes_max = kGrpcMetadataBytesMax;  // of one call, 32 per header added
  uint32_t calls_per_connection_max = kGrpcCallsPerConnectionMax;  // REFUSED_STREAM beyond
  uint32_t calls_max = kGrpcCallsMax;                              // REFUSED_STREAM beyond
  uint32_t connections_max = kGrpcConnectionsMax;                  // closed at once beyond
  uint64_t unsent_high_water_bytes = 256 * 1024;  // of one call; Send() then returns false
  uint64_t unsent_bytes_max = 8ull << 20;         // of one call, copied bytes
  // Window updates stop above these, so that the client stops. They must leave room for what a
  // handler has to hold before it can go on.
  uint64_t call_held_bytes_max = 32ull << 20;
  uint64_t connection_held_bytes_max = 256ull << 20;
  // Times in nanoseconds; 0 turns one off.
  int64_t handshake_ns = 10'000'000'000;      // connected to SETTINGS; TLS included
  int64_t message_ns = 60'000'000'000;        // first byte of a message to its last
  int64_t first_message_ns = 60'000'000'000;  // a call's begin to its first message
  int64_t call_idle_ns = 3600'000'000'000;    // a call without bytes in either direction
  int64_t send_ns = 60'000'000'000;           // bytes wait and the client takes none
  int64_t held_ns = 10'000'000'000;       // over connection_held_bytes_max; the largest holder ends
  int64_t keepalive_ns = 60'000'000'000;  // silence until a PING is sent
  int64_t keepalive_timeout_ns = 20'000'000'000;  // PING until the connection is given up

  // Affects performance.
  uint32_t stream_window_bytes = 1u << 20;
  uint32_t connection_window_bytes = 16u << 20;
  uint32_t frame_bytes_max = 64 * 1024;  // of received frames, 16384 to 2^24 - 1
};

class GrpcServerCore;

// Serves the connections given to OnAccept() or Accept(). Bytes of one read are processed whole,
// then everything that became ready is sent with one write. Bad input ends a call or a connection,
// never more. Belongs to the thread of its loop, except counters().
class GrpcServer final : public AcceptHandler {
 public:
  // Borrowed, for the server's life: `loop`.
  explicit GrpcServer(EventLoop& loop, const GrpcServerOptions& options = {});
  // Closes all connections; calls in flight end with kDrained. Not from within a handler.
  ~GrpcServer();
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  // Serves calls of `path`, for example "/envoy.service.ext_proc.v3.ExternalProcessor/Process".
  // Others are answered with UNIMPLEMENTED. Borrowed: `handler`, for the server's life.
  // Errors: kInvalidArgument if the path is not "/service/method", kAlreadyExists,
  // kResourceExhausted beyond kGrpcMethodsMax.  [control]
  Code Register(std::string_view path, GrpcHandler& handler);

  // Accepts TLS from now on; null: plain. The context should offer ALPN "h2". Borrowed. [control]
  void set_tls(const TlsContext* tls_or_null) noexcept;

  // Serves a client. Takes the socket. [hot, serial]
  void OnAccept(UniqueFd socket, const SocketAddress& peer) override;
  void Accept(Stream client, const SocketAddress& peer);

  // Sends GOAWAY, refuses calls that come after it has been seen, and closes each connection when
  // its last call ends; what is open after `deadline_ns` is cut off (0: by the loop's next timer,
  // negative: never).
  // Close the listeners first. A later call may only bring the deadline forward. [control]
  void Drain(int64_t deadline_ns);
  bool draining() const noexcept;
  // No connection is open. [control]
  bool idle() const noexcept;

  const GrpcServerOptions& options() const noexcept;
  const GrpcCounters& counters() const noexcept;  // [concurrent]

 private:
  std::unique_ptr<GrpcServerCore> core_;
};

}  // namespace weir::io
