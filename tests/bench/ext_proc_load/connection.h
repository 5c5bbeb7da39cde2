// ext_proc_load/connection.h: one HTTP/2 connection of the client, with streams of gRPC messages.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/socket.h"
#include "weir/io/loop/stream.h"

struct nghttp2_session;

namespace weir::io {
class TlsContext;
}

namespace weir::bench {

class Connection;

// How a stream ended.
struct StreamEnd {
  int grpc_status = -1;      // -1: none came
  uint32_t http2_error = 0;  // of the reset, 0 if there was none
  bool connection_lost = false;
};

// One gRPC stream, seen by its connection. Reused after OnClosed().
class ClientStream {
 public:
  // Bytes that can be sent now.
  virtual size_t sendable_bytes() const = 0;
  // Copies the next `size` of them to `out`. REQUIRES: size <= sendable_bytes(). [hot]
  virtual void Take(size_t size, char* out) = 0;
  // Whether nothing will follow them: the client then ends its side.
  virtual bool sends_no_more() const = 0;
  // A whole message of the server, without its frame. [hot]
  virtual void OnMessage(std::string_view message) = 0;
  // The last call.
  virtual void OnClosed(const StreamEnd& end) = 0;

 protected:
  ~ClientStream() = default;

 private:
  friend class Connection;
  int32_t id_ = -1;
  StreamEnd end_;
  bool waiting_ = false;  // for something to send
  std::string partial_;   // of a message that is still arriving
};

// Told when the connection can be used, and when no longer.
class ConnectionObserver {
 public:
  virtual void OnOpen() = 0;
  // After the OnClosed() of its streams. The connection is of no more use.
  virtual void OnLost(std::string_view why) = 0;

 protected:
  ~ConnectionObserver() = default;
};

// Windows as the usual Envoy configuration has them: 64 KiB per stream, 1 MiB per connection.
// Everything that one read brings is answered with one write. Belongs to its loop's thread.
class Connection final : private weir::io::EventHandler {
 public:
  // Begins to connect. Borrowed: `loop`, `tls_or_null` and `observer`, for the connection's life.
  // Errors: kUnavailable, kResourceExhausted.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(weir::io::EventLoop& loop,
                                                          const weir::io::SocketAddress& address,
                                                          const weir::io::TlsContext* tls_or_null,
                                                          ConnectionObserver& observer);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Opens a stream to ExternalProcessor/Process. Borrowed: `stream`, until its OnClosed(). Returns
  // false, without OnClosed(), if the connection takes no more streams.
  // Sends with the next Flush(), which the end of a read does by itself.
  bool Start(ClientStream& stream);
  // There is something to send again, or nothing any more.
  void Resume(ClientStream& stream);
  // Gives the stream up; OnClosed() follows with the next Flush().
  void Cancel(ClientStream& stream);
  void Flush();

 private:
  struct Callbacks;

  Connection(weir::io::EventLoop& loop, weir::io::Stream stream, ConnectionObserver& observer);
  void OnReady(weir::io::Ready ready) override;
  void ReadAll(bool to_end);
  void Receive(ClientStream& stream, std::string_view bytes);
  void Lose(std::string_view why);

  weir::io::EventLoop* loop_;
  weir::io::Stream stream_;
  ConnectionObserver* observer_;
  std::string authority_;
  nghttp2_session* session_ = nullptr;
  std::string out_;  // framed, not yet taken by the socket
  size_t out_sent_ = 0;
  bool open_ = false;
  bool lost_ = false;
};

}  // namespace weir::bench
