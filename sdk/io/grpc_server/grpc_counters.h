// weir/io/grpc_server/grpc_counters.h: what a GrpcServer counts. One writer, the server's thread;
// any thread may read while it runs.
#pragma once

#include <array>
#include <cstdint>

#include "weir/io/grpc_server/grpc_call.h"
#include "weir/io/loop/counter.h"

namespace weir::io {

// Why a connection was ended by the server, or a call refused before its handler saw it.
enum class GrpcRefusal : uint8_t {
  kConnectionsFull = 0,  // connections_max
  kCallsFull,            // calls_max or calls_per_connection_max
  kMetadata,             // too large, or too many headers
  kNotGrpc,              // method, content-type or te of something else
  kUnknownMethod,
  kEncoding,   // grpc-encoding that is not known
  kHandshake,  // no HTTP/2 in time, or TLS failed
  kProtocol,   // HTTP/2 broken
  kFlood,      // frames that cost us more than the client, see flood_guard.h
  kKeepalive,  // PING not answered
};
inline constexpr uint32_t kGrpcRefusalCount = static_cast<uint32_t>(GrpcRefusal::kKeepalive) + 1;

// lower_snake_case, for metric labels; lives forever. [hot, concurrent]
std::string_view GrpcRefusalName(GrpcRefusal refusal) noexcept;

struct GrpcCounters {
  std::array<Counter, kGrpcEndCount> calls;        // ended, by GrpcEnd
  std::array<Counter, kGrpcRefusalCount> refused;  // by GrpcRefusal
  Counter calls_in_flight;                         // between OnCall and OnEnd now
  Counter connections;                             // open now
  Counter accepts;
  Counter messages_in;
  Counter messages_out;
  Counter bytes_in;
  Counter bytes_out;
  Counter held_bytes;  // as handlers said, and of messages not yet complete, now
};

}  // namespace weir::io
