// weir/io/http/client_connection.h: one connection of HttpClient.
#pragma once

#include <cstdint>
#include <string_view>

#include "weir/io/http/client.h"
#include "weir/io/loop/stream.h"

namespace weir::io {

// Sends one request at a time and reads its response. Owned by the client's list while idle, by
// nobody but its call while in use; retired to the loop at the end.
class ClientConnection final : public Retirable, public ListNode, private EventHandler {
 public:
  ClientConnection(HttpClient& client, Stream stream) noexcept;

  // Returns false when the descriptor cannot be watched; destroy it then.
  bool Watch() noexcept;
  // Serves `call` from now on.
  void Take(HttpCall& call, bool kept);
  // Closes and retires the connection; its call, if any, is let go without a word.
  void Close() noexcept;
  // Ends the call as failed, and the connection.
  void Fail(HttpEnd end, int error);

  bool connecting() const noexcept { return state_ == State::kConnecting; }

 private:
  enum class State : uint8_t { kConnecting, kHead, kBody, kIdle, kClosed };

  void OnReady(Ready ready) override;
  void OnTimer();
  void OnIdleReady(Ready ready);
  void OnConnectReady(Ready ready);
  void SendRequest();
  void ReadResponse();
  bool Consume(std::string_view bytes);
  bool TakeHead(std::string_view& bytes, bool& complete);
  bool Deliver(std::string_view piece);
  bool Complete(size_t left_over_bytes);
  bool IsDrained() noexcept;
  void OnStreamEnd(const IoResult& result);
  void FailHead(HeadError error);

  EventLoop* loop_;
  HttpClient* client_;
  HttpCall* call_ = nullptr;
  Stream stream_;
  Timer timer_ = Timer::Calling<&ClientConnection::OnTimer>(*this);
  Buffer in_;  // a head of which bytes are missing
  size_t in_bytes_ = 0;
  size_t head_sent_bytes_ = 0;
  size_t body_sent_bytes_ = 0;
  HeadCursor cursor_;
  ChunkScanner chunks_;
  uint64_t body_left_bytes_ = 0;
  uint32_t informational_count_ = 0;
  State state_ = State::kConnecting;
  BodyFraming framing_ = BodyFraming::kNone;
  bool can_read_ = false;
  bool peer_closed_ = false;
  bool sending_ = false;
  bool keep_alive_ = false;
};

}  // namespace weir::io
