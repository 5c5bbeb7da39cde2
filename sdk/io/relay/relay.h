// weir/io/relay/relay.h: a streaming HTTP/1.1 reverse proxy for one event loop. It knows no
// routing: a RelayHandler says where each request goes. Start at Relay and RelayHandler.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "weir/io/http/head.h"
#include "weir/io/http/head_writer.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/socket.h"
#include "weir/io/loop/stream.h"
#include "weir/io/relay/relay_counters.h"

namespace weir::io {

class TlsContext;

inline constexpr uint32_t kRelayTargetsMax = 16;           // of one ProxyPlan; more are ignored
inline constexpr uint32_t kRelayAddedHeadBytesMax = 2048;  // headers a plan may add to a head
inline constexpr uint32_t kRelayInformationalMax = 8;      // 1xx responses before the real one
inline constexpr uint32_t kRelayReadBytesMax = 64 * 1024;  // one read from an upstream
inline constexpr uint32_t kRelayStepsPerTurnMax = 16;  // reads or requests of one client per event
inline constexpr uint64_t kRelayLingerBytesMax = 4ull << 20;  // discarded after a refusal
inline constexpr uint32_t kRelayPooledTargetsMax = 4096;      // targets with remembered connections

struct RelayOptions {
  // Affects behaviour.
  uint32_t head_bytes_max = kHeadBytesMax;           // request head, else 431
  uint32_t response_head_bytes_max = kHeadBytesMax;  // at most kHeadBytesMax; else 502
  uint64_t body_bytes_max = 16ull << 20;             // request body, below 1 GiB; else 413
  uint32_t connections_max = 20000;                  // of clients; else 503
  // Of the loop's buffers: requests, and what clients and upstreams did not take yet. Else 503, or
  // an answer is cut. Answers of the handler may use the first half of it.
  uint64_t buffered_bytes_max = 512ull << 20;
  uint32_t attempts_max = 4;           // tries of one request; stale pooled connections aside
  uint32_t idle_upstreams_max = 1024;  // pooled connections
  uint32_t idle_upstreams_per_target_max = 64;
  // Times in nanoseconds; 0 means without limit.
  int64_t client_head_ns = 10'000'000'000;     // first byte of a head to its last
  int64_t client_body_ns = 300'000'000'000;    // whole body
  int64_t client_idle_ns = 75'000'000'000;     // between requests
  int64_t client_write_ns = 60'000'000'000;    // the client takes nothing
  int64_t connect_ns = 3'000'000'000;          // TCP, and TLS if used; then the next target
  int64_t first_byte_ns = 600'000'000'000;     // connected to response head; else 504
  int64_t upstream_idle_ns = 300'000'000'000;  // between two reads of a response
  int64_t total_ns = 0;                        // OnRequest to the last byte
  int64_t pooled_idle_ns = 4'000'000'000;      // below the 5 s after which uvicorn closes
  int64_t linger_ns = 2'000'000'000;           // a refused client may still send
};

// A model server to try. Borrowed until OnEnd, with what it points to.
struct UpstreamTarget {
  SocketAddress address;
  const TlsContext* tls = nullptr;  // null: plain
  std::string_view server_name;     // that the certificate must carry; empty: the address's IP
  std::string_view host;            // replaces the Host header; empty: the client's stays
};

// What to do with a request. Everything in it is borrowed until OnEnd.
struct ProxyPlan {
  std::span<const UpstreamTarget> targets;  // primary, then fallbacks in order
  std::span<const HeaderField>
      add;  // to the request; strip the same names if clients may send them
  std::span<const std::string_view> strip;  // from the request, any letter case
  std::span<const HeaderField> response_add;
  std::span<const std::string_view> response_strip;
  // The response's body is what RelayHandler::FilterResponse makes of it, sent in chunks.
  bool filter_response = false;
  std::string_view path_and_query;  // empty: the client's
  // Replace the client's body, one after the other; empty: the client's stays.
  std::span<const std::string_view> body;
};

// An answer without an upstream. Copied before Respond() returns.
struct LocalResponse {
  uint16_t status = 200;
  std::string_view content_type = "application/json";
  std::span<const HeaderField> headers;
  std::string_view body;
};

struct RelayEnd {
  RelayOutcome outcome = RelayOutcome::kComplete;
  uint16_t status = 0;        // sent to the client; 0: nothing was
  uint32_t attempts = 0;      // connections tried
  uint32_t target_index = 0;  // of the last attempt; meaningful if attempts > 0
  uint64_t request_body_bytes = 0;
  uint64_t response_bytes = 0;  // of body, as sent by the upstream, chunk framing included
};

// One request, from OnRequest to OnEnd. Belongs to the relay's thread.
class RelayRequest {
 public:
  // The request's head, as the client sent it. Valid until control returns to the loop or another
  // request of this relay is looked at; reads it again if needed. REQUIRES: no OnUpstreamResponse
  // for this request yet. [hot, serial]
  virtual const RequestHead& head() noexcept = 0;
  // The body without chunk framing. Valid until OnUpstreamResponse or OnEnd. [hot, serial]
  virtual std::string_view body() const noexcept = 0;
  virtual bool is_tls() const noexcept = 0;
  virtual const SocketAddress& client_address() const noexcept = 0;

  // Exactly one of these, inside OnRequest or later, and before OnEnd. OnEnd may come before they
  // return. [hot, serial]
  virtual void Proxy(const ProxyPlan& plan) = 0;
  virtual void Respond(const LocalResponse& response) = 0;
  virtual void RespondError(const ErrorReply& reply, std::span<const HeaderField> headers = {}) = 0;

  void* context = nullptr;  // the handler's; null at OnRequest

 protected:
  ~RelayRequest() = default;
};

// The program's side of a relay. Calls come from the relay's thread and must not destroy the relay.
// They may answer other requests that wait, which a queue does when one ends.
class RelayHandler {
 public:
  virtual ~RelayHandler() = default;
  // A whole request has arrived. Answer with one of Proxy(), Respond() and RespondError(), now or
  // later. [hot, serial]
  virtual void OnRequest(RelayRequest& request) = 0;
  // The attempt at that target failed and the next one begins. [hot, serial]
  virtual void OnAttemptFailed(RelayRequest&, uint32_t /*target_index*/, RelayOutcome /*why*/) {}
  // The response head has arrived and goes to the client next. [hot, serial]
  virtual void OnUpstreamResponse(RelayRequest&, const ResponseHead&) {}
  // A piece of the response body passes, without chunk framing; the first call is the first byte.
  // Borrowed until return. [hot, serial]
  virtual void OnResponseBytes(RelayRequest&, std::string_view /*data*/) {}
  // For a plan that filters: appends to *out what the client gets in place of `data`, after
  // OnResponseBytes has seen it. `last`: the body ends with it. Not called for a body that is cut
  // off. Borrowed until return. [hot, serial]
  virtual void FilterResponse(RelayRequest&, std::string_view data, bool /*last*/,
                              std::string* out) {
    out->append(data);
  }
  // Last call for this request, exactly once for each OnRequest; the reference dies with it. The
  // response has been handed to the kernel whole, or never will be. [hot, serial]
  virtual void OnEnd(RelayRequest&, const RelayEnd&) {}
};

// Opens connections to upstreams. The default dials sockets; tests put fakes here.
class UpstreamDialer {
 public:
  virtual ~UpstreamDialer() = default;
  // A connected or connecting stream; one that is not open when that failed. [hot, serial]
  virtual Stream Dial(const UpstreamTarget& target) = 0;
};

class RelayCore;

// Relays requests of the clients given to Accept(). Request bodies are read whole before the
// handler is asked, and kept until the response head, so that another target can be tried as long
// as the client has not got a byte. Response bytes pass unchanged, and an upstream is not read
// while its client does not take what was read. Belongs to the thread of its loop, except
// counters().
class Relay final : public AcceptHandler {
 public:
  // Borrowed, for the relay's life: `loop`, `handler`, and `dialer` if not null.
  Relay(EventLoop& loop, RelayHandler& handler, const RelayOptions& options = {},
        UpstreamDialer* dialer_or_null = nullptr);
  // Closes all connections; requests in flight end with kDrained. Their memory goes in the loop's
  // next turn at the latest, or with the loop.
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // Accepts TLS from now on; null: plain HTTP. Borrowed. [control]
  void set_tls(const TlsContext* tls_or_null) noexcept;

  // Serves a client. Takes the socket; refuses it with 503 at connections_max. [hot, serial]
  void OnAccept(UniqueFd socket, const SocketAddress& peer) override;
  void Accept(Stream client, const SocketAddress& peer);

  // Closes idle connections within a tick and the others after their current response; one that was
  // never served may send a first request within client_head_ns. Those still open
  // after `deadline_ns` are cut off (0: at once, negative: never). Close the listeners first.
  // [control]
  void Drain(int64_t deadline_ns);
  // No client connection is open. [control]
  bool idle() const noexcept;

  const RelayCounters& counters() const noexcept;  // [concurrent]

 private:
  std::unique_ptr<RelayCore> core_;
};

}  // namespace weir::io
