// weir/io/grpc_server/server_call.h: one call of GrpcServer: its messages in, its queue out, its
// time-outs.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "weir/io/grpc_server/grpc_call.h"
#include "weir/io/grpc_server/message_reader.h"
#include "weir/io/grpc_server/send_queue.h"
#include "weir/io/loop/intrusive_list.h"
#include "weir/io/loop/timer.h"

namespace weir::io {

class GrpcConnection;
class ServerCall;

// Puts a call on its connection's list of calls that need attention.
struct AttentionNode : ListNode {
  explicit AttentionNode(ServerCall& owner) noexcept : call(&owner) {}
  ServerCall* call;
};

// What a call begins with.
struct CallStart {
  GrpcConnection* connection;
  GrpcHandler* handler;
  int32_t stream_id;
  GrpcEncoding encoding;
  int64_t deadline_ns;
  std::span<const GrpcMetadata> metadata;
};

// In its connection's list from Begin() until its HTTP/2 stream has closed; then reused. Handlers
// are never called from within the functions of GrpcCall: those note what is to be done, and
// Attend() does it.
class ServerCall final : public GrpcCall, public ListNode {
 public:
  ServerCall() noexcept = default;
  ServerCall(const ServerCall&) = delete;
  ServerCall& operator=(const ServerCall&) = delete;

  // Starts a call and tells the handler. REQUIRES: fresh, or Recycle() was called.
  void Begin(const CallStart& start);
  // Forgets the call; keeps memory that the next one can use.
  void Recycle() noexcept;

  // From the connection: received bytes, and the client's END_STREAM.
  void OnData(std::string_view bytes);
  void OnClientDone();
  // The HTTP/2 stream is gone; Attend() tells the handler.
  void OnStreamClosed(bool cleanly) noexcept;
  // Does what has been put off. Returns false when the call is over and can be recycled.
  bool Attend();
  // Ends the call from outside: sends a status if the stream still stands, tells the handler.
  void EndByServer(GrpcEnd why, Code code, std::string_view text);
  // Tells the handler that it is over and sends nothing: the connection has gone.
  void Detach(GrpcEnd why);

  // Moves the next bytes to the gather buffer of this write.
  void MoveTo(GatherBuffer& out, size_t bytes, bool gather);
  size_t queued_bytes() const noexcept { return queue_.bytes(); }
  // Bytes of an answer have left.
  bool answered() const noexcept { return answered_; }
  // Finish() was called and nothing but the trailers is missing behind the queue.
  bool finishing() const noexcept { return finishing_; }
  // True once: the trailers are to be submitted now.
  bool TakeTrailers() noexcept { return !std::exchange(trailers_sent_, true); }
  Code status() const noexcept { return status_; }
  Code end_code() const noexcept override { return finishing_ ? status_ : Code::kCancelled; }
  std::string_view status_text() const noexcept { return status_text_; }
  void set_deferred() noexcept { deferred_ = true; }
  int32_t stream_id() const noexcept { return stream_id_; }
  // Held for this call: by its handler, by an incomplete message, by Pause().
  uint64_t charged_bytes() const noexcept { return charged_bytes_; }
  // The window of the connection opened again: gives back what was kept from the client.
  void Settle() noexcept;

  // GrpcCall.
  std::span<const GrpcMetadata> metadata() const noexcept override { return metadata_; }
  const SocketAddress& peer() const noexcept override;
  bool is_tls() const noexcept override;
  int64_t deadline_ns() const noexcept override { return deadline_ns_; }
  bool Send(std::string_view head, std::string_view body, BytesOwner* owner_or_null) override;
  void Finish(Code code, std::string_view text) override;
  void Pause() noexcept override;
  void Resume() noexcept override;
  void SetHeldBytes(uint64_t bytes) noexcept override;
  void SetDeadline(int64_t at_ns) noexcept override;
  uint64_t unsent_bytes() const noexcept override { return queue_.bytes(); }

 private:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  // The handler may still be told of messages.
  bool receiving() const noexcept {
    return handler_ != nullptr && !finishing_ && !closed_ && !pending_end_.has_value();
  }
  std::string_view Deliver(std::string_view bytes);
  void KeepBacklog(std::string_view bytes);
  void DeliverBacklog();
  void TellHalfClose();
  void DropInput() noexcept;
  void SetStatus(Code code, std::string_view text);
  void StartFinish(Code code, std::string_view text);
  void NeedAttention() noexcept;
  void SetReceiveDeadline(bool was_inside) noexcept;
  void ArmTimer() noexcept;
  void OnTimer();
  static int64_t After(int64_t now_ns, int64_t delay_ns) noexcept {
    return delay_ns == 0 ? kNever : now_ns + delay_ns;
  }
  int64_t now_ns() const noexcept;

  GrpcConnection* connection_ = nullptr;
  GrpcHandler* handler_ = nullptr;  // null once it was told the end
  AttentionNode attention_{*this};
  std::span<const GrpcMetadata> metadata_;

  MessageReader reader_;
  Buffer backlog_;  // arrived while paused
  size_t backlog_begin_ = 0;
  size_t backlog_end_ = 0;
  SendQueue queue_;

  uint64_t held_bytes_ = 0;
  uint64_t charged_bytes_ = 0;
  uint64_t unconsumed_bytes_ = 0;  // received, and not yet given back as window
  int64_t deadline_ns_ = kNever;
  int64_t receive_deadline_ns_ = kNever;
  int64_t send_deadline_ns_ = kNever;
  int64_t armed_ns_ = kNever;
  Timer timer_ = Timer::Calling<&ServerCall::OnTimer>(*this);

  std::string status_text_;
  std::optional<GrpcEnd> pending_end_;
  int32_t stream_id_ = 0;
  Code status_ = Code::kOk;
  GrpcEncoding encoding_ = GrpcEncoding::kIdentity;
  bool any_message_ = false;
  bool paused_ = false;
  bool throttled_ = false;  // Send() has returned false
  bool client_done_ = false;
  bool half_close_told_ = false;
  bool headers_sent_ = false;
  bool answered_ = false;
  bool deferred_ = false;  // the HTTP/2 library waits for more to send
  bool finishing_ = false;
  bool trailers_sent_ = false;
  bool closed_ = false;
  bool closed_cleanly_ = false;
};

}  // namespace weir::io
