// weir/io/grpc_server/grpc_call.h: one gRPC call as its handler sees it. Start at GrpcHandler.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "weir/io/loop/socket.h"
#include "weir/status.h"

namespace weir::io {

// Keeps bytes that were handed to GrpcCall::Send() without copying alive. Derive from it the object
// that the bytes live in; it is told when nobody needs them any more. One thread, the loop's.
class BytesOwner {
 public:
  BytesOwner(const BytesOwner&) = delete;
  BytesOwner& operator=(const BytesOwner&) = delete;

  // Counts one more, one fewer user. Release() by the last one calls OnUnused(). [hot, serial]
  void Acquire() noexcept { ++users_; }
  void Release() noexcept {
    if (--users_ == 0) OnUnused();
  }
  uint32_t users() const noexcept { return users_; }

 protected:
  BytesOwner() noexcept = default;
  ~BytesOwner() = default;

 private:
  // The last user has gone: free or reuse the bytes. Must not call into a GrpcCall.
  virtual void OnUnused() noexcept = 0;

  uint32_t users_ = 0;
};

// A header of the request: names are lower case, values of "-bin" names still base64.
struct GrpcMetadata {
  std::string_view name;
  std::string_view value;
};

// How a call came to its end.
enum class GrpcEnd : uint8_t {
  kFinished = 0,    // Finish(), and everything was handed to the kernel
  kReset,           // the client cancelled: RST_STREAM
  kConnectionLost,  // the connection ended or broke first
  kDeadline,        // grpc-timeout, or SetDeadline(): DEADLINE_EXCEEDED was sent
  kTimeout,         // the client was silent, or took nothing, for too long: GrpcServerOptions
  kRefusedMessage,  // too large, badly framed, compressed in an unknown way: its status was sent
  kOverLimit,       // of unsent or held bytes: RESOURCE_EXHAUSTED was sent
  kDrained,         // cut off because draining took too long, or the server went
};
inline constexpr uint32_t kGrpcEndCount = static_cast<uint32_t>(GrpcEnd::kDrained) + 1;

// lower_snake_case, for metric labels; lives forever. [hot, concurrent]
std::string_view GrpcEndName(GrpcEnd end) noexcept;

// One call, from OnCall to OnEnd. Belongs to the thread of its server's loop. Every member may be
// called inside the handler's functions, of this call or another, or later from the loop; none
// calls the handler back before it returns.
class GrpcCall {
 public:
  // What the client sent before its messages; valid inside OnCall only. Empty afterwards.
  // Pseudo headers and those of HTTP and gRPC themselves (te, content-type, grpc-*) included.
  virtual std::span<const GrpcMetadata> metadata() const noexcept = 0;
  // The first value of `name` (lower case), inside OnCall. [hot, serial]
  std::optional<std::string_view> FindMetadata(std::string_view name) const noexcept {
    for (const GrpcMetadata& one : metadata()) {
      if (one.name == name) return one.value;
    }
    return std::nullopt;
  }
  virtual const SocketAddress& peer() const noexcept = 0;
  virtual bool is_tls() const noexcept = 0;
  // In the loop's clock; INT64_MAX without a deadline.
  virtual int64_t deadline_ns() const noexcept = 0;

  // Sends one message, `head` followed by `body`. The head is copied, and so is the body if
  // `owner_or_null` is null; else the body is borrowed, and the owner acquired, until it has been
  // sent or will never be. Bytes leave when the current event is done, all of one connection with
  // one write. Returns false when more than unsent_high_water_bytes of this call wait for the
  // client: pause until OnSendReady(). The call ends with kOverLimit when more than
  // unsent_bytes_max copied bytes wait. Does nothing after Finish(). [hot, serial]
  virtual bool Send(std::string_view head, std::string_view body = {},
                    BytesOwner* owner_or_null = nullptr) = 0;
  // Ends the call behind what was sent: OnMessage and OnHalfClose are not called any more, OnEnd
  // when the rest has left. `text` is for people; copied, percent-encoded, cut at
  // kGrpcStatusTextBytesMax. Does nothing the second time. [hot, serial]
  virtual void Finish(Code code, std::string_view text = {}) = 0;

  // Stops OnMessage and OnHalfClose, and soon the client: what arrives is kept, within the stream's
  // window, until Resume(). The calls missed come from the loop, not from within Resume().
  // [hot, serial]
  virtual void Pause() noexcept = 0;
  virtual void Resume() noexcept = 0;

  // Says how many received bytes the handler keeps for this call, in place of what it said before.
  // Above held_bytes_max of the call or the connection the client gets no window for more bytes.
  // 0 again at OnEnd by itself. [hot, serial]
  virtual void SetHeldBytes(uint64_t bytes) noexcept = 0;
  // Ends the call with DEADLINE_EXCEEDED at `at_ns`, unless the client's own deadline is earlier.
  // [hot, serial]
  virtual void SetDeadline(int64_t at_ns) noexcept = 0;

  // Message bytes that wait for the client, framing included. [hot, serial]
  virtual uint64_t unsent_bytes() const noexcept = 0;

  // The status that the call ended with, as the client was told it or would have been; kCancelled
  // if nobody chose one: the client reset it, its connection is lost, draining took too long. Valid
  // inside OnEnd. [hot, serial]
  virtual Code end_code() const noexcept = 0;

  void* context = nullptr;  // the handler's; null at OnCall

 protected:
  GrpcCall() noexcept = default;
  ~GrpcCall() = default;
};

// Serves the calls of one or more methods. All functions are called on the server's thread, from
// the loop, and must not destroy the server.
class GrpcHandler {
 public:
  virtual ~GrpcHandler() = default;
  // A call has begun. Take what is needed of its metadata. [hot, serial]
  virtual void OnCall(GrpcCall& call) = 0;
  // A whole message, decompressed, in one piece. Borrowed until return. [hot, serial]
  virtual void OnMessage(GrpcCall& call, std::string_view message) = 0;
  // The client sends no further message. At most once. [hot, serial]
  virtual void OnHalfClose(GrpcCall& call) = 0;
  // After Send() has returned false: little is waiting any more, go on. [hot, serial]
  virtual void OnSendReady(GrpcCall&) {}
  // Last call for this call, exactly once for each OnCall; the reference dies with it, and no owner
  // given to Send() is in use any more. [hot, serial]
  virtual void OnEnd(GrpcCall& call, GrpcEnd why) = 0;
};

}  // namespace weir::io
