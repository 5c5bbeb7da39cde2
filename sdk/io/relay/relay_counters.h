// weir/io/relay/relay_counters.h: what a relay counts. One writer, the relay's thread; any thread
// may read while it runs.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "weir/io/http/head.h"
#include "weir/io/loop/counter.h"

namespace weir::io {

using RelayCounter = Counter;

// How a request ended that had reached the handler.
enum class RelayOutcome : uint8_t {
  kComplete = 0,           // an upstream's response has passed whole
  kLocal,                  // answered by the handler itself
  kClientGone,             // the client closed or reset its connection
  kClientTimeout,          // the client did not take the response in time
  kUpstreamConnectFailed,  // refused, unreachable, TLS failed, or not connected in time
  kUpstreamReset,          // closed or reset before its response head was complete
  kUpstreamTimeout,        // no response head, or no next byte, in time
  kUpstreamProtocol,       // not HTTP/1.x as we accept it, or an endless head
  kUpstreamTruncated,      // closed or reset inside its response body
  kTotalTimeout,           // the limit of the whole request has passed
  kDrained,                // cut off because draining took too long
  kInternal,               // the handler's plan cannot be carried out, see ProxyPlan
  kBuffersFull,            // it needed more memory than buffered_bytes_max leaves
};
inline constexpr uint32_t kRelayOutcomeCount =
    static_cast<uint32_t>(RelayOutcome::kBuffersFull) + 1;

// Why a request was refused before it reached the handler, beside HeadError.
enum class RelayReject : uint8_t {
  kBodyTooLarge = 0,  // 413
  kBadChunk,          // 400
  kHeadTimeout,       // 408
  kBodyTimeout,       // 408
  kBuffersFull,       // 503: buffered_bytes_max
  kConnectionsFull,   // 503: connections_max
};
inline constexpr uint32_t kRelayRejectCount =
    static_cast<uint32_t>(RelayReject::kConnectionsFull) + 1;

// lower_snake_case, for metric labels; live forever. [hot, concurrent]
std::string_view RelayOutcomeName(RelayOutcome outcome) noexcept;
std::string_view RelayRejectName(RelayReject reject) noexcept;

struct RelayCounters {
  std::array<RelayCounter, kRelayOutcomeCount> requests;    // ended, by RelayOutcome
  std::array<RelayCounter, kHeadErrorCount> refused_heads;  // by HeadError
  std::array<RelayCounter, kRelayRejectCount> refused;      // by RelayReject
  RelayCounter client_bytes_in;
  RelayCounter client_bytes_out;
  RelayCounter upstream_bytes_in;
  RelayCounter upstream_bytes_out;
  RelayCounter attempt_retries;    // attempts beyond the first of a request
  RelayCounter upstream_connects;  // connections dialled
  RelayCounter upstream_reuses;    // attempts that took a pooled connection
  RelayCounter client_accepts;
  RelayCounter client_handshakes_failed;  // clients gone before TLS was agreed on, for any reason
  RelayCounter client_idle_closes;        // closed after client_idle_ns without a request
  RelayCounter client_connections;        // open now
  RelayCounter upstream_connections;      // open now, idle ones included
  RelayCounter idle_upstreams;            // in the pool now
  RelayCounter requests_in_flight;        // between OnRequest and OnEnd now
};

}  // namespace weir::io
