// weir/io/http/server_connection.h: one connection of HttpServer.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "weir/io/http/chunk.h"
#include "weir/io/http/server.h"
#include "weir/io/loop/stream.h"

namespace weir::io {

// Reads requests one after another and sends their responses. Owned by its server's list until the
// server goes, then by the ResponseWriter that still names it; retired to the loop at the end.
class ServerConnection final : public Retirable, public ListNode, private EventHandler {
 public:
  ServerConnection(HttpServer& server, Stream stream, const SocketAddress& peer) noexcept;

  // Begins to serve. Returns false when the descriptor cannot be watched; destroy it then.
  bool Start();
  // The server goes: ends the connection, tells the observer.
  void Orphan();
  // The server drains: closes a connection that waits for its next request.
  void CloseIfIdle();

  // What ResponseWriter offers, in the same words.
  void Observe(ResponseObserver* observer) noexcept { observer_ = observer; }
  void Send(uint16_t status, std::span<const HeaderField> headers, std::string_view body);
  void SendError(const ErrorReply& reply, std::span<const HeaderField> headers);
  void Begin(uint16_t status, std::span<const HeaderField> headers, std::string_view first);
  bool Write(std::string_view bytes);
  void End();
  void Reset();
  void CutAfter(uint64_t bytes) noexcept { cut_left_bytes_ = bytes; }
  void CloseWhenDone() noexcept { keep_alive_ = false; }
  void Abandon();
  bool gone() const noexcept { return state_ == State::kGone || send_failed_; }
  uint64_t unsent_bytes() const noexcept { return out_end_ - out_begin_; }

 private:
  enum class State : uint8_t {
    kHead,    // waits for a request, or for the rest of its head
    kBody,    // has the head
    kBusy,    // the response is being given or sent
    kLinger,  // reads and drops what the client still sends, so that no reset destroys the answer
    kGone,    // the stream is closed; exists only for the writer
  };
  static constexpr uint64_t kUnlimited = ~uint64_t{0};

  void OnReady(Ready ready) override;
  void OnTimer();
  void SetTimeout(int64_t limit_ns) noexcept;

  bool reading() const noexcept { return state_ == State::kHead || state_ == State::kBody; }
  void Pump();
  bool TakeRequest();
  bool TakeHead(RequestHead& head);
  bool BodyComplete();
  bool ReadMore();
  bool Charge(size_t capacity_bytes) noexcept;
  void SettleInput();
  void Dispatch(const RequestHead& head);
  void Refuse(uint16_t status, std::string_view message);
  void RefuseBody();

  bool HasBody(uint16_t status) const noexcept;
  bool WriteHead(HeadWriter& writer, uint16_t status, std::span<const HeaderField> headers);
  void SendErrorBytes(const ErrorReply& reply, std::span<const HeaderField> headers);
  void SendPieces(std::string_view first, std::string_view second);
  void Keep(std::string_view bytes);
  void FailSend() noexcept;
  void Flush();
  void Finish();
  void CompleteExchange();
  void Linger();
  void DropInput();
  void ClientGone();
  void CloseStream() noexcept;
  void Dispose();
  bool ShouldClose() const noexcept;

  EventLoop* loop_;
  HttpServer* server_;  // null once it has gone
  Stream stream_;
  SocketAddress peer_;
  ResponseObserver* observer_ = nullptr;
  Timer timer_ = Timer::Calling<&ServerConnection::OnTimer>(*this);

  Buffer in_;                 // the request, then what follows it
  size_t in_bytes_ = 0;       // received
  size_t charged_bytes_ = 0;  // of server_->input_bytes_
  size_t body_bytes_ = 0;     // decoded, behind the head
  size_t request_bytes_ = 0;  // head and body as received, once complete
  uint64_t content_length_ = 0;
  uint64_t linger_left_bytes_ = kLingerBytesMax;
  HeadCursor cursor_;
  uint32_t head_bytes_ = 0;
  ChunkScanner chunks_;

  Buffer out_;  // bytes that the socket did not take
  size_t out_begin_ = 0;
  size_t out_end_ = 0;
  uint64_t cut_left_bytes_ = kUnlimited;

  State state_ = State::kHead;
  BodyFraming framing_ = BodyFraming::kNone;
  bool can_read_ = true;  // no read has found the socket empty since the last event
  bool peer_closed_ = false;
  bool pumping_ = false;
  bool has_writer_ = false;
  bool keep_alive_ = true;
  bool head_only_ = false;  // the request was HEAD
  bool version_10_ = false;
  bool begun_ = false;        // the response's head is sent
  bool chunked_ = false;      // the response's body is
  bool body_allowed_ = true;  // for the response's status and the request's method
  bool finishing_ = false;    // only unsent bytes are missing
  bool throttled_ = false;    // Write() returned false
  bool send_failed_ = false;
  bool head_timed_ = false;  // the time-out of a later request's head is running
  bool served_one_ = false;  // a request before this one
  bool resume_ = false;      // the timer stands for the rest of Pump()
};

}  // namespace weir::io
