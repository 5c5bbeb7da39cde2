#include "weir/io/http/client_connection.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace weir::io {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
constexpr uint32_t kReadsPerTurnMax = 16;  // of one connection; the others wait meanwhile

}  // namespace

ClientConnection::ClientConnection(HttpClient& client, Stream stream) noexcept
    : loop_(client.loop_), client_(&client), stream_(std::move(stream)) {}

bool ClientConnection::Watch() noexcept {
  return stream_.open() && loop_->Watch(stream_, *this) == Code::kOk;
}

void ClientConnection::Take(HttpCall& call, bool kept) {
  Unlink();
  timer_.Cancel();
  call_ = &call;
  call.connection_ = this;
  call.kept_ = kept;
  cursor_ = {};
  informational_count_ = 0;
  head_sent_bytes_ = body_sent_bytes_ = 0;
  sending_ = true;
  if (kept) {
    state_ = State::kHead;
    call.ArmDeadline();
    return SendRequest();
  }
  call.times_.connect_start_ns = loop_->now_ns();
  call.times_.connected_ns = call.times_.written_ns = 0;
  call.ArmDeadline();
}

void ClientConnection::Close() noexcept {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  call_ = nullptr;
  Unlink();
  timer_.Cancel();
  loop_->Close(stream_, *this);
  loop_->Retire(std::unique_ptr<Retirable>(this));
}

void ClientConnection::Fail(HttpEnd end, int error) {
  HttpCall* call = call_;
  Close();
  call->error_ = error;
  call->Finish(end);
}

void ClientConnection::OnReady(Ready ready) {
  if (state_ == State::kIdle) return OnIdleReady(ready);
  if (ready & (kPeerClosed | kBroken)) peer_closed_ = true;
  if (state_ == State::kConnecting) OnConnectReady(ready);
  ready = stream_.Widen(ready);
  if (ready & (kReadable | kPeerClosed | kBroken)) can_read_ = true;
  if (state_ != State::kHead && state_ != State::kBody) return;
  if (sending_) SendRequest();
  ReadResponse();
}

// A kept connection has nothing to say: any byte, end or error makes it useless. Late writable
// events mean nothing, and TLS may read records of its own.
void ClientConnection::OnIdleReady(Ready ready) {
  if ((ready & ~kWritable) == 0) return;
  can_read_ = true;
  if ((ready & (kPeerClosed | kBroken)) == 0 && IsDrained()) return;
  --client_->idle_count_;
  Close();
}

void ClientConnection::OnConnectReady(Ready ready) {
  if ((ready & (kWritable | kBroken)) == 0) return;
  if (const int error = stream_.TakeConnectError(); error != 0) {
    return Fail(HttpEnd::kConnectFailed, error);
  }
  state_ = State::kHead;
  call_->times_.connected_ns = loop_->now_ns();
  if (!stream_.is_tls()) call_->ArmDeadline();  // with TLS, connecting includes the handshake
}

void ClientConnection::OnTimer() {
  if (state_ != State::kIdle) {
    return ReadResponse();
  }
  --client_->idle_count_;
  Close();
}

void ClientConnection::SendRequest() {
  HttpCall& call = *call_;
  std::string_view head(call.head_.data() + head_sent_bytes_, call.head_bytes_ - head_sent_bytes_);
  std::string_view body = call.body_.substr(body_sent_bytes_);
  while (!head.empty() || !body.empty()) {
    const IoResult result = stream_.TryWrite(head, body);
    if (result.status == IoStatus::kError) {
      // The server may have answered before it stopped to listen: the read tells.
      if (result.error == EPROTO) call.detail_ = stream_.error_text(result);
      sending_ = keep_alive_ = false;
      peer_closed_ = can_read_ = true;
      loop_->Arm(timer_, 0);
      return;
    }
    const size_t from_head = std::min(result.bytes, head.size());
    head.remove_prefix(from_head);
    body.remove_prefix(result.bytes - from_head);
    head_sent_bytes_ += from_head;
    body_sent_bytes_ += result.bytes - from_head;
    if (result.would_block() || result.drained) break;
  }
  if (!head.empty() || !body.empty()) return;
  sending_ = false;
  call.times_.written_ns = loop_->now_ns();
  if (stream_.is_tls()) call.ArmDeadline();
}

void ClientConnection::ReadResponse() {
  for (uint32_t reads = 0; can_read_; ++reads) {
    if (reads == kReadsPerTurnMax) {
      loop_->Arm(timer_, 0);
      return;
    }
    Buffer scratch = loop_->buffers().Acquire(std::max(kReadBytes, in_bytes_ + kReadBytes / 2));
    if (in_bytes_ != 0) std::memcpy(scratch.data(), in_.data(), in_bytes_);
    const IoResult result =
        stream_.TryRead({scratch.data() + in_bytes_, scratch.capacity_bytes() - in_bytes_});
    if (!result.ok()) {
      can_read_ = false;
      if (!result.would_block()) OnStreamEnd(result);
      return;
    }
    if (result.drained && !peer_closed_) can_read_ = false;
    const std::string_view bytes(scratch.data(), in_bytes_ + result.bytes);
    in_.Release();
    in_bytes_ = 0;
    if (!Consume(bytes)) return;
  }
}

// Returns false when the connection serves this call no more.
bool ClientConnection::Consume(std::string_view bytes) {
  if (call_->times_.first_byte_ns == 0) {
    call_->times_.first_byte_ns = loop_->now_ns();
    call_->ArmDeadline();
  }
  while (state_ == State::kHead) {
    bool complete = false;
    if (!TakeHead(bytes, complete)) return false;
    if (!complete) return true;
  }
  switch (framing_) {
    case BodyFraming::kNone:
      return Complete(bytes.size());
    case BodyFraming::kUntilClose:
      return Deliver(bytes);
    case BodyFraming::kLength: {
      const std::string_view piece = bytes.substr(0, body_left_bytes_);
      body_left_bytes_ -= piece.size();
      if (!Deliver(piece)) return false;
      return body_left_bytes_ != 0 || Complete(bytes.size() - piece.size());
    }
    case BodyFraming::kChunked:
      break;
  }
  while (true) {
    const std::string_view piece = chunks_.Next(bytes);
    if (piece.empty()) break;
    if (!Deliver(piece)) return false;
  }
  if (chunks_.error() != ChunkError::kNone) {
    call_->chunk_error_ = chunks_.error();
    Fail(HttpEnd::kBadResponse, 0);
    return false;
  }
  return !chunks_.done() || Complete(bytes.size());
}

// Reads one head off the front of `bytes`; keeps them when it is not complete. Returns as Consume.
bool ClientConnection::TakeHead(std::string_view& bytes, bool& complete) {
  ResponseHead head;
  const HeadError error = ParseResponseHead(bytes, call_->method_, cursor_, head,
                                            {.head_bytes_max = client_->options_.head_bytes_max});
  if (error == HeadError::kIncomplete) {
    if (bytes.empty()) return true;
    in_ = loop_->buffers().Acquire(bytes.size());
    std::memcpy(in_.data(), bytes.data(), bytes.size());
    in_bytes_ = bytes.size();
    return true;
  }
  if (error != HeadError::kNone) {
    FailHead(error);
    return false;
  }
  bytes.remove_prefix(head.size_bytes);
  cursor_ = {};
  complete = true;
  if (head.informational()) {
    // 101 would change the protocol, which no request of ours asks for.
    if (head.status != 101 && ++informational_count_ <= kInformationalHeadsMax) return true;
    FailHead(HeadError::kBadStatusLine);
    return false;
  }
  framing_ = head.framing;
  body_left_bytes_ = head.content_length;
  keep_alive_ = head.keep_alive && !sending_;
  sending_ = false;  // a final answer ends the request, also one that is not fully sent
  chunks_ = {};
  if (framing_ == BodyFraming::kLength && body_left_bytes_ == 0) framing_ = BodyFraming::kNone;
  state_ = State::kBody;
  call_->body_ = {};
  call_->head_.Release();
  call_->handler_->OnHead(head);
  return call_ != nullptr;
}

void ClientConnection::FailHead(HeadError error) {
  call_->head_error_ = error;
  const bool large = error == HeadError::kHeadTooLarge || error == HeadError::kTooManyHeaders;
  Fail(large ? HttpEnd::kTooLarge : HttpEnd::kBadResponse, 0);
}

bool ClientConnection::Deliver(std::string_view piece) {
  if (piece.empty()) return true;
  if (piece.size() > call_->response_bytes_left_) {
    Fail(HttpEnd::kTooLarge, 0);
    return false;
  }
  call_->response_bytes_left_ -= piece.size();
  call_->handler_->OnBody(piece);
  return call_ != nullptr;
}

// Ends the call well; keeps the connection if nothing can be left of this response on it.
bool ClientConnection::Complete(size_t left_over_bytes) {
  HttpCall* call = std::exchange(call_, nullptr);
  const bool keep = keep_alive_ && left_over_bytes == 0 && !peer_closed_ &&
                    framing_ != BodyFraming::kUntilClose &&
                    client_->idle_count_ < client_->options_.idle_connections_max && IsDrained();
  if (keep) {
    state_ = State::kIdle;
    ++client_->idle_count_;
    client_->idle_.PushFront(*this);
    timer_.Cancel();
    if (client_->options_.idle_timeout_ns > 0) {
      loop_->Arm(timer_, client_->options_.idle_timeout_ns);
    }
  } else {
    Close();
  }
  call->Finish(HttpEnd::kComplete);
  return false;
}

// Whether the socket has nothing to read. A byte read here is lost: only for connections between
// two responses, where it is one too many.
bool ClientConnection::IsDrained() noexcept {
  if (!can_read_) return true;
  char byte;
  if (!stream_.TryRead({&byte, 1}).would_block()) return false;
  can_read_ = false;
  return true;
}

void ClientConnection::OnStreamEnd(const IoResult& result) {
  HttpCall& call = *call_;
  if (result.status == IoStatus::kEof && state_ == State::kBody &&
      framing_ == BodyFraming::kUntilClose) {
    Complete(0);
    return;
  }
  if (call.detail_.empty() && result.error == EPROTO) call.detail_ = stream_.error_text(result);
  if (call.times_.first_byte_ns != 0) return Fail(HttpEnd::kClosed, result.error);
  if (call.kept_ && !call.retried_) {
    Close();
    call.connection_ = nullptr;
    call.retried_ = true;
    return client_->Connect(call);
  }
  const bool in_handshake = stream_.is_tls() && head_sent_bytes_ == 0;
  Fail(in_handshake ? HttpEnd::kConnectFailed : HttpEnd::kClosed, result.error);
}

}  // namespace weir::io
