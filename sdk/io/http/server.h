// weir/io/http/server.h: an HTTP/1.1 server on one loop, for answers that the program makes itself
// (metrics, debug pages, the simulator). Start at HttpServer::Open().
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "weir/io/http/head.h"
#include "weir/io/http/head_writer.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/intrusive_list.h"
#include "weir/io/loop/socket.h"

namespace weir::io {

class TlsContext;
class ServerConnection;

inline constexpr uint32_t kResponseHeadBytesMax = 16 * 1024;
inline constexpr uint32_t kRequestsPerTurnMax = 32;    // of one connection, if answered at once
inline constexpr uint64_t kLingerBytesMax = 4u << 20;  // read and dropped after an early answer

struct HttpServerOptions {
  // Affects behaviour.
  SocketAddress address;                    // port 0: the kernel chooses
  bool reuse_port = false;                  // share the address with servers of other loops
  const TlsContext* tls_or_null = nullptr;  // borrowed
  // Time-outs against slow clients; 0 turns one off.
  int64_t head_timeout_ns =
      10'000'000'000;  // from connecting, or a request's first byte, to its head
  int64_t body_timeout_ns = 60'000'000'000;   // from the head to the last byte of the body
  int64_t idle_timeout_ns = 75'000'000'000;   // between two requests
  int64_t write_timeout_ns = 30'000'000'000;  // without the client taking a byte that waits for it
  // Limits.
  uint32_t connections_max = 65'536;             // more are closed at once
  uint32_t head_bytes_max = kHeadBytesMax;       // more: 431
  uint64_t body_bytes_max = 16u << 20;           // of one request, decoded; more: 413
  uint64_t input_bytes_max = 256u << 20;         // of all requests that arrive at a time; more: 503
  uint64_t unsent_bytes_max = 4u << 20;          // of one response; more ends the connection
  uint64_t unsent_high_water_bytes = 64 * 1024;  // of one response; Write() then returns false
};

struct HttpServerStats {
  uint64_t connections_accepted = 0;
  uint64_t connections_refused = 0;  // over connections_max
  uint64_t requests = 0;             // given to the handler
  uint64_t requests_refused = 0;     // answered by the server itself: bad, too large, too slow
  uint64_t clients_gone = 0;         // before their answer was complete
  uint64_t timeouts = 0;             // connections ended by one
};

// A complete request. All views are valid until OnRequest() returns.
struct HttpRequest {
  const RequestHead& head;
  std::string_view body;  // decoded
  const SocketAddress& peer;
};

// Told about the fate of one response. Calls come from the loop, never from within a call of the
// response's own ResponseWriter.
class ResponseObserver {
 public:
  // The client has left (or was too slow); whatever is written from now on is dropped. At most
  // once, and nothing after it. Ending its sending side counts as leaving while the answer is still
  // being made. [hot, serial]
  virtual void OnClientGone() = 0;
  // After Write() has returned false: everything has been sent, go on. [hot, serial]
  virtual void OnWritable() {}

 protected:
  ~ResponseObserver() = default;
};

// The answer to one request, to be given now or later on the loop's thread. A movable handle;
// destroying it unfinished answers 500 if nothing was sent, else cuts the connection. May outlive
// the connection and the server (calls then do nothing), not the loop.
class ResponseWriter {
 public:
  ResponseWriter() noexcept = default;
  ResponseWriter(ResponseWriter&& other) noexcept
      : connection_(std::exchange(other.connection_, nullptr)) {}
  ResponseWriter& operator=(ResponseWriter&& other) noexcept {
    if (this != &other) {
      Abandon();
      connection_ = std::exchange(other.connection_, nullptr);
    }
    return *this;
  }
  ~ResponseWriter() { Abandon(); }

  // Whether there is a response left to give.
  explicit operator bool() const noexcept { return connection_ != nullptr; }

  // Borrowed: `observer`, until the response is finished, the writer destroyed or null is set.
  void Observe(ResponseObserver* observer_or_null) noexcept;

  // Answers in one piece and finishes. Content-Length and, where needed, Connection are added; the
  // body is dropped for HEAD requests and for 204 and 304. Names and values must be free of line
  // breaks, and the head within kResponseHeadBytesMax; else the client gets a 500. [hot, serial]
  void Send(uint16_t status, std::span<const HeaderField> headers, std::string_view body);
  // The same as JSON in OpenAI's form. [serial]
  void SendError(const ErrorReply& reply, std::span<const HeaderField> headers = {});

  // Sends the head of an answer whose length is not known, with the first bytes of its body in the
  // same packet if they are there. Chunked, or until close for HTTP/1.0. [hot, serial]
  void Begin(uint16_t status, std::span<const HeaderField> headers, std::string_view first = {});
  // Sends a piece of the body, in a chunk of its own; an empty piece sends nothing. What the socket
  // does not take is kept. Returns false when the client is slow: pause until OnWritable(). Beyond
  // unsent_bytes_max the connection ends. REQUIRES: Begin(). [hot, serial]
  bool Write(std::string_view bytes);
  // Completes the body and finishes. REQUIRES: Begin(). [hot, serial]
  void End();

  // Faults, for tests and the simulator.
  // Resets the connection now and finishes. [serial]
  void Reset();
  // Lets only so many further bytes of the response out, head included; then closes. [serial]
  void CutAfter(uint64_t bytes) noexcept;
  // Closes the connection when the response is finished. [serial]
  void CloseWhenDone() noexcept;

  bool client_gone() const noexcept;
  uint64_t unsent_bytes() const noexcept;

 private:
  friend class ServerConnection;
  explicit ResponseWriter(ServerConnection* connection) noexcept : connection_(connection) {}
  void Abandon() noexcept;

  ServerConnection* connection_ = nullptr;
};

// Answers requests.
class HttpHandler {
 public:
  // Answer through `response`, inside the call or later. Take what is needed later out of
  // `request`. [hot, serial]
  virtual void OnRequest(const HttpRequest& request, ResponseWriter response) = 0;

 protected:
  ~HttpHandler() = default;
};

// Belongs to its loop's thread. Requests of one connection are given to the handler one after
// another; a client that pipelines waits. Between requests a connection holds no buffer.
class HttpServer final : private AcceptHandler {
 public:
  // Borrowed: `loop`, `handler` and the TLS context, until the server goes.
  // Errors: those of Listener::Open().  [control]
  static absl::StatusOr<std::unique_ptr<HttpServer>> Open(EventLoop& loop,
                                                          const HttpServerOptions& options,
                                                          HttpHandler& handler);
  // Closes all connections; observers of unfinished responses are told. Not from within a handler.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Serves a stream as if it had been accepted: for tests with scripted streams. [control]
  void Adopt(Stream stream, const SocketAddress& peer);

  // Stops listening, closes idle connections, and the others after their current response.
  void Drain();
  // Whether no connection is left. Poll it after Drain().
  bool drained() const noexcept { return connection_count_ == 0; }

  uint16_t port() const noexcept { return listener_->port(); }
  const SocketAddress& address() const noexcept { return listener_->address(); }
  uint32_t connection_count() const noexcept { return connection_count_; }
  const HttpServerStats& stats() const noexcept { return stats_; }

 private:
  friend class ServerConnection;
  HttpServer(EventLoop& loop, const HttpServerOptions& options, HttpHandler& handler);
  void OnAccept(UniqueFd socket, const SocketAddress& peer) override;

  EventLoop* loop_;
  HttpServerOptions options_;
  HttpHandler* handler_;
  std::unique_ptr<Listener> listener_;
  IntrusiveList<ServerConnection> connections_;  // owned
  uint32_t connection_count_ = 0;
  uint64_t input_bytes_ = 0;  // held by requests that arrive
  bool draining_ = false;
  HttpServerStats stats_;
};

}  // namespace weir::io
