// weir/io/http/client.h: HTTP/1.1 calls to one server from one loop, for programs that read the
// answer themselves (scraping, load). Start at HttpClient and HttpCall.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "weir/io/http/chunk.h"
#include "weir/io/http/head.h"
#include "weir/io/http/head_writer.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/intrusive_list.h"
#include "weir/io/loop/socket.h"

namespace weir::io {

class ClientConnection;
class HttpCall;
class HttpClient;
class TlsContext;

inline constexpr uint32_t kRequestHeadBytesMax = 16 * 1024;
inline constexpr uint32_t kInformationalHeadsMax = 8;  // 1xx answers before the real one

struct HttpClientOptions {
  // Affects behaviour.
  SocketAddress address;
  const TlsContext* tls_or_null = nullptr;  // borrowed
  std::string host;                         // of the Host header; empty: the address
  std::string server_name;  // that the server's certificate must carry; empty: the address's IP
  // Time-outs; 0 turns one off.
  int64_t connect_timeout_ns = 5'000'000'000;
  int64_t idle_timeout_ns = 55'000'000'000;  // of a connection kept for the next call
  // Limits.
  uint32_t idle_connections_max = 1024;     // kept for the next call; more are closed
  uint32_t head_bytes_max = kHeadBytesMax;  // of a response
};

// One request. All views are borrowed until HttpClient::Start() returns, except `body`.
struct HttpClientRequest {
  std::string_view method = "GET";
  std::string_view target = "/";
  std::span<const HeaderField> headers;  // without Host and Content-Length, which are added
  std::string_view body;                 // must stay valid until OnHead() or OnEnd()
  // Counted from Start(); 0 turns one off.
  int64_t first_byte_timeout_ns = 30'000'000'000;
  int64_t total_timeout_ns = 0;
  uint64_t response_bytes_max = 64u << 20;  // of the decoded body
};

// How a call ended.
enum class HttpEnd : uint8_t {
  kComplete = 0,   // the whole response has arrived, whatever its status
  kConnectFailed,  // no connection: refused, unreachable, TLS handshake, time-out
  kClosed,         // the connection ended before the response did
  kTimedOut,       // first byte or total
  kBadResponse,    // not HTTP, or with two meanings
  kTooLarge,       // head_bytes_max or response_bytes_max
  kBadRequest,     // the request head is over kRequestHeadBytesMax or has line breaks in it
};
// Its name in lower_snake_case, for example "connect_failed". Lives forever. [hot, concurrent]
std::string_view HttpEndName(HttpEnd end) noexcept;

// When a call passed its stations, on the loop's clock; 0: not reached.
struct HttpTimes {
  int64_t start_ns = 0;
  int64_t connect_start_ns = 0;  // 0 on a kept connection
  int64_t connected_ns = 0;      // TCP; 0 on a kept connection
  int64_t written_ns = 0;        // last byte of the request handed to the kernel
  int64_t first_byte_ns = 0;     // of the response
  int64_t end_ns = 0;
};

// Receives the answer to one call. Any of its functions may cancel or destroy the call, or start
// another one.
class HttpCallHandler {
 public:
  // The final response head; its views are valid until return. [hot, serial]
  virtual void OnHead(const ResponseHead& head) = 0;
  // A piece of the decoded body, valid until return. [hot, serial]
  virtual void OnBody(std::string_view bytes) = 0;
  // The call is over and may be started again. Exactly once per started call unless it is
  // cancelled, and never from within Start(). [hot, serial]
  virtual void OnEnd(HttpEnd end) = 0;

 protected:
  ~HttpCallHandler() = default;
};

// One call in progress; lives in its owner, so that calls do not allocate. Reusable.
class HttpCall {
 public:
  HttpCall() noexcept = default;
  ~HttpCall() { Cancel(); }
  HttpCall(const HttpCall&) = delete;
  HttpCall& operator=(const HttpCall&) = delete;

  bool active() const noexcept { return client_ != nullptr; }
  // Ends the call without OnEnd(); its connection is closed. Does nothing if not active.
  // [hot, serial]
  void Cancel() noexcept;

  // Valid until the call is started again.
  const HttpTimes& times() const noexcept { return times_; }
  bool on_kept_connection() const noexcept { return kept_; }
  bool retried() const noexcept { return retried_; }  // a kept connection had died meanwhile
  // Why the call ended, for logs, for example "connection refused". [control]
  std::string error_text() const;

 private:
  friend class ClientConnection;
  friend class HttpClient;
  void OnDeadline();
  void ArmDeadline() noexcept;
  bool connecting() const noexcept;
  void Finish(HttpEnd end);

  HttpClient* client_ = nullptr;
  ClientConnection* connection_ = nullptr;
  HttpCallHandler* handler_ = nullptr;
  Timer deadline_ = Timer::Calling<&HttpCall::OnDeadline>(*this);
  Buffer head_;  // of the request
  uint32_t head_bytes_ = 0;
  Method method_ = Method::kGet;
  std::string_view body_;
  int64_t first_byte_timeout_ns_ = 0;
  int64_t total_timeout_ns_ = 0;
  uint64_t response_bytes_left_ = 0;
  HttpTimes times_;
  bool kept_ = false;
  bool retried_ = false;
  HttpEnd end_ = HttpEnd::kComplete;
  HeadError head_error_ = HeadError::kNone;
  ChunkError chunk_error_ = ChunkError::kNone;
  int error_ = 0;
  std::string detail_;  // of a TLS failure
};

// Calls to one server over kept connections, the last used first. Belongs to its loop's thread.
// A call whose kept connection turns out to be dead before the first byte of the response is
// repeated once on a fresh one.
class HttpClient {
 public:
  // Borrowed: `loop` and the TLS context, until the client goes.
  HttpClient(EventLoop& loop, HttpClientOptions options);
  // REQUIRES: no call is active.
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Starts `call`; every outcome, also an immediate failure, comes through `handler` later.
  // Borrowed: `call` and `handler`, until OnEnd() or Cancel(). REQUIRES: !call.active().
  // [hot, serial]
  void Start(HttpCall& call, const HttpClientRequest& request, HttpCallHandler& handler);

  // Closes the connections that no call uses. [control]
  void CloseIdle();

  uint32_t idle_count() const noexcept { return idle_count_; }
  uint64_t connections_opened() const noexcept { return connections_opened_; }
  const HttpClientOptions& options() const noexcept { return options_; }

 private:
  friend class ClientConnection;
  friend class HttpCall;
  void Connect(HttpCall& call);
  void FailLater(HttpCall& call, HttpEnd end, int error) noexcept;

  EventLoop* loop_;
  HttpClientOptions options_;
  IntrusiveList<ClientConnection> idle_;  // owned, the last used first
  uint32_t idle_count_ = 0;
  uint64_t connections_opened_ = 0;
};

}  // namespace weir::io
