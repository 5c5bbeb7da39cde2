#include "weir/io/http/server_connection.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace weir::io {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
constexpr int64_t kLingerNs = 2'000'000'000;
constexpr size_t kChunkOverheadBytes = 24;  // sixteen digits and two line ends, at most
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
constexpr std::string_view kLastChunk = "0\r\n\r\n";

// Writes `bytes` as one chunk to `out`, which has kChunkOverheadBytes to spare.
size_t FormatChunk(char* out, std::string_view bytes) noexcept {
  char* end = std::to_chars(out, out + 16, bytes.size(), 16).ptr;
  *end++ = '\r';
  *end++ = '\n';
  std::memcpy(end, bytes.data(), bytes.size());
  end += bytes.size();
  *end++ = '\r';
  *end++ = '\n';
  return static_cast<size_t>(end - out);
}

}  // namespace

ServerConnection::ServerConnection(HttpServer& server, Stream stream,
                                   const SocketAddress& peer) noexcept
    : loop_(server.loop_), server_(&server), stream_(std::move(stream)), peer_(peer) {}

bool ServerConnection::Start() {
  if (!stream_.open() || loop_->Watch(stream_, *this) != Code::kOk) return false;
  SetTimeout(server_->options_.head_timeout_ns);
  return true;
}

void ServerConnection::SetTimeout(int64_t limit_ns) noexcept {
  if (limit_ns > 0) {
    loop_->Arm(timer_, limit_ns);
  } else {
    timer_.Cancel();
  }
}

void ServerConnection::Orphan() {
  Charge(0);
  CloseStream();
  server_ = nullptr;
  if (!has_writer_) return Dispose();
  ResponseObserver* observer = std::exchange(observer_, nullptr);
  if (observer != nullptr) observer->OnClientGone();
}

void ServerConnection::CloseIfIdle() {
  if (state_ != State::kHead || in_bytes_ != 0 || !served_one_ || pumping_) return;
  CloseStream();
  Dispose();
}

void ServerConnection::OnReady(Ready ready) {
  ready = stream_.Widen(ready);
  if (ready & (kPeerClosed | kBroken)) peer_closed_ = true;
  if (ready & (kReadable | kPeerClosed | kBroken)) can_read_ = true;
  if ((ready & (kWritable | kBroken)) != 0 && unsent_bytes() != 0) Flush();
  switch (state_) {
    case State::kHead:
    case State::kBody:
      return Pump();
    case State::kBusy:
      // A client that only ends its sending side may still wait for the rest of a given answer.
      if (peer_closed_ && (!finishing_ || (ready & kBroken) != 0)) ClientGone();
      return;
    case State::kLinger:
      return DropInput();
    case State::kGone:
      return;
  }
}

void ServerConnection::OnTimer() {
  if (std::exchange(resume_, false)) {
    SetTimeout(server_->options_.idle_timeout_ns);
    return Pump();
  }
  if (send_failed_) return ClientGone();
  if (state_ != State::kLinger) ++server_->stats_.timeouts;
  switch (state_) {
    case State::kHead:
      if (in_bytes_ != 0) return Refuse(408, "the request head took too long to arrive");
      CloseStream();
      return Dispose();
    case State::kBody:
      return Refuse(408, "the request body took too long to arrive");
    case State::kBusy:
      stream_.Abort();
      return ClientGone();
    case State::kLinger:
      CloseStream();
      return Dispose();
    case State::kGone:
      return;
  }
}

void ServerConnection::Pump() {
  if (pumping_) return;
  pumping_ = true;
  uint32_t served = 0;
  while (reading()) {
    if (!TakeRequest()) {
      if (!reading() || !ReadMore()) break;
    } else if (++served == kRequestsPerTurnMax && state_ == State::kHead) {
      resume_ = true;
      loop_->Arm(timer_, 0);
      break;
    }
  }
  pumping_ = false;
  if (state_ == State::kGone) {
    if (!has_writer_) Dispose();
    return;
  }
  SettleInput();
  if (state_ == State::kBusy && peer_closed_ && !finishing_) ClientGone();
}

// Reads once into in_. Returns false when there is nothing more to parse now.
bool ServerConnection::ReadMore() {
  if (!can_read_) return false;
  if (!in_) {
    in_ = loop_->buffers().Acquire(kReadBytes);
  } else if (in_bytes_ == in_.capacity_bytes()) {
    const size_t larger_bytes = std::max(2 * in_.capacity_bytes(), kReadBytes);
    if (!Charge(larger_bytes)) {
      Refuse(503, "too many bytes of request bodies are arriving");
      return false;
    }
    in_.Grow(larger_bytes, in_bytes_);
  }
  const IoResult result =
      stream_.TryRead({in_.data() + in_bytes_, in_.capacity_bytes() - in_bytes_});
  if (result.ok()) {
    in_bytes_ += result.bytes;
    if (result.drained && !peer_closed_) can_read_ = false;
    return true;
  }
  can_read_ = false;
  if (!result.would_block()) CloseStream();
  return false;
}

// Keeps server_->input_bytes_ in step. Returns false, and changes nothing, over its limit.
bool ServerConnection::Charge(size_t capacity_bytes) noexcept {
  if (server_ == nullptr) return true;
  const uint64_t others = server_->input_bytes_ - charged_bytes_;
  if (capacity_bytes > charged_bytes_ &&
      others + capacity_bytes > server_->options_.input_bytes_max) {
    return false;
  }
  server_->input_bytes_ = others + capacity_bytes;
  charged_bytes_ = capacity_bytes;
  return true;
}

// Between turns a connection holds no more memory than it has bytes for.
void ServerConnection::SettleInput() {
  if (state_ == State::kLinger) in_bytes_ = 0;
  if (in_bytes_ == 0) {
    in_.Release();
  } else if (in_ && in_.capacity_bytes() >= 4 * std::max(in_bytes_, kPooledBufferBytesMin)) {
    Buffer small = loop_->buffers().Acquire(in_bytes_);
    std::memcpy(small.data(), in_.data(), in_bytes_);
    in_ = std::move(small);
  }
  if (!Charge(in_.capacity_bytes()) && reading()) {
    Refuse(503, "too many bytes of requests are arriving");
  }
}

// Gives the next request to the handler if it is complete. Returns false when bytes are missing or
// the request was refused.
bool ServerConnection::TakeRequest() {
  if (in_bytes_ == 0) return false;
  RequestHead head;
  const bool head_is_fresh = state_ == State::kHead;
  if (head_is_fresh && !TakeHead(head)) return false;
  if (!BodyComplete()) {
    if (head_is_fresh && reading()) {
      SetTimeout(server_->options_.body_timeout_ns);
      if (head.expect_continue) SendPieces(kContinue, {});
    }
    return false;
  }
  if (!head_is_fresh) {
    // The bytes may have moved since the head was read, so its views are made anew.
    HeadCursor again;
    const HeadLimits limits = {.head_bytes_max = server_->options_.head_bytes_max};
    if (ParseRequestHead({in_.data(), head_bytes_}, again, head, limits) != HeadError::kNone) {
      Refuse(400, "the request head cannot be read");
      return false;
    }
  }
  Dispatch(head);
  return true;
}

// Reads the head if it is complete. Returns false if it is not or was refused.
bool ServerConnection::TakeHead(RequestHead& head) {
  const HttpServerOptions& options = server_->options_;
  const HeadError error = ParseRequestHead({in_.data(), in_bytes_}, cursor_, head,
                                           {.head_bytes_max = options.head_bytes_max});
  if (error == HeadError::kIncomplete) {
    // A head that trickles in gets one span of time, not one for each byte.
    if (served_one_ && !std::exchange(head_timed_, true)) SetTimeout(options.head_timeout_ns);
    return false;
  }
  if (error != HeadError::kNone) {
    Refuse(HeadErrorStatus(error), HeadErrorText(error));
    return false;
  }
  head_bytes_ = head.size_bytes;
  framing_ = head.framing;
  content_length_ = head.content_length;
  version_10_ = head.version_minor == 0;
  head_only_ = head.method_id == Method::kHead;
  state_ = State::kBody;
  if (framing_ == BodyFraming::kLength && content_length_ > options.body_bytes_max) {
    RefuseBody();
    return false;
  }
  return true;
}

// Takes the body's bytes out of what has arrived; a chunked one is decoded in place. Refuses a bad
// one, which changes state_.
bool ServerConnection::BodyComplete() {
  const size_t arrived = in_bytes_ - head_bytes_;
  if (framing_ != BodyFraming::kChunked) {
    const uint64_t wanted = framing_ == BodyFraming::kLength ? content_length_ : 0;
    if (arrived < wanted) return false;
    body_bytes_ = wanted;
    request_bytes_ = head_bytes_ + wanted;
    return true;
  }
  char* const body = in_.data() + head_bytes_;
  std::string_view raw(body + body_bytes_, arrived - body_bytes_);
  while (true) {
    const std::string_view piece = chunks_.Next(raw);
    if (piece.empty()) break;
    std::memmove(body + body_bytes_, piece.data(), piece.size());
    body_bytes_ += piece.size();
    if (body_bytes_ > server_->options_.body_bytes_max) {
      RefuseBody();
      return false;
    }
  }
  if (chunks_.error() != ChunkError::kNone) {
    Refuse(400, ChunkErrorText(chunks_.error()));
    return false;
  }
  if (chunks_.done()) {
    request_bytes_ = in_bytes_ - raw.size();
    return true;
  }
  in_bytes_ = head_bytes_ + body_bytes_;
  return false;
}

void ServerConnection::Dispatch(const RequestHead& head) {
  timer_.Cancel();
  state_ = State::kBusy;
  keep_alive_ = head.keep_alive;
  begun_ = chunked_ = throttled_ = false;
  body_allowed_ = true;
  cut_left_bytes_ = kUnlimited;
  has_writer_ = true;
  served_one_ = true;
  ++server_->stats_.requests;
  const HttpRequest request{
      .head = head, .body = {in_.data() + head_bytes_, body_bytes_}, .peer = peer_};
  server_->handler_->OnRequest(request, ResponseWriter(this));
  in_bytes_ -= request_bytes_;
  std::memmove(in_.data(), in_.data() + request_bytes_, in_bytes_);
  head_bytes_ = 0;
  body_bytes_ = request_bytes_ = 0;
  cursor_ = {};
  chunks_ = {};
  head_timed_ = false;
}

void ServerConnection::Refuse(uint16_t status, std::string_view message) {
  ++server_->stats_.requests_refused;
  timer_.Cancel();
  state_ = State::kBusy;
  keep_alive_ = false;
  SendErrorBytes({.status = status, .message = message}, {});
  Finish();
}

void ServerConnection::RefuseBody() {
  char text[96];
  char* end = text;
  const std::string_view before = "the request body has more than ";
  std::memcpy(end, before.data(), before.size());
  end += before.size();
  end = std::to_chars(end, text + sizeof text, server_->options_.body_bytes_max).ptr;
  const std::string_view after = " bytes";
  std::memcpy(end, after.data(), after.size());
  Refuse(413, {text, static_cast<size_t>(end - text) + after.size()});
}

bool ServerConnection::ShouldClose() const noexcept {
  return !keep_alive_ || server_ == nullptr || server_->draining_;
}

bool ServerConnection::HasBody(uint16_t status) const noexcept {
  return !head_only_ && status >= 200 && status != 204 && status != 304;
}

// Status line, the program's headers and the connection's; the framing follows. Returns false if
// that did not fit or was refused.
bool ServerConnection::WriteHead(HeadWriter& writer, uint16_t status,
                                 std::span<const HeaderField> headers) {
  writer.StatusLine(status);
  for (const HeaderField& header : headers) writer.Header(header.name, header.value);
  if (version_10_) keep_alive_ = false;
  if (ShouldClose()) writer.Header("Connection", "close");
  begun_ = true;
  return !writer.overflow();
}

void ServerConnection::Send(uint16_t status, std::span<const HeaderField> headers,
                            std::string_view body) {
  if (begun_) return Abandon();
  Buffer head = loop_->buffers().Acquire(kResponseHeadBytesMax);
  HeadWriter writer(head.data(), kResponseHeadBytesMax);
  bool good = status >= 200 && WriteHead(writer, status, headers);
  if (status != 204 && status != 304) writer.Header("Content-Length", uint64_t{body.size()});
  writer.End();
  good = good && !writer.overflow();
  if (good) {
    SendPieces({head.data(), writer.size_bytes()}, HasBody(status) ? body : std::string_view());
  } else {
    SendErrorBytes({.status = 500, .message = "the response head is not valid"}, {});
  }
  has_writer_ = false;
  Finish();
}

void ServerConnection::SendError(const ErrorReply& reply, std::span<const HeaderField> headers) {
  if (begun_) return Abandon();
  SendErrorBytes(reply, headers);
  has_writer_ = false;
  Finish();
}

void ServerConnection::SendErrorBytes(const ErrorReply& reply,
                                      std::span<const HeaderField> headers) {
  if (version_10_) keep_alive_ = false;
  Buffer out = loop_->buffers().Acquire(kResponseHeadBytesMax);
  const std::span<char> room(out.data(), out.capacity_bytes());
  size_t bytes = WriteErrorResponse(room, reply, ShouldClose(), head_only_, headers);
  if (bytes == 0) bytes = WriteErrorResponse(room, reply, ShouldClose(), head_only_);
  begun_ = true;
  SendPieces({out.data(), bytes}, {});
}

void ServerConnection::Begin(uint16_t status, std::span<const HeaderField> headers,
                             std::string_view first) {
  if (begun_) return;
  Buffer out = loop_->buffers().Acquire(kResponseHeadBytesMax + first.size() + kChunkOverheadBytes);
  HeadWriter writer(out.data(), kResponseHeadBytesMax);
  body_allowed_ = HasBody(status);
  chunked_ = !version_10_ && status != 204 && status != 304;
  bool good = status >= 200 && WriteHead(writer, status, headers);
  if (chunked_) writer.Header("Transfer-Encoding", "chunked");
  writer.End();
  good = good && !writer.overflow();
  if (!good) {
    keep_alive_ = body_allowed_ = chunked_ = false;  // what the program still writes is dropped
    return SendErrorBytes({.status = 500, .message = "the response head is not valid"}, {});
  }
  size_t bytes = writer.size_bytes();
  if (body_allowed_ && !first.empty()) {
    if (chunked_) {
      bytes += FormatChunk(out.data() + bytes, first);
    } else {
      std::memcpy(out.data() + bytes, first.data(), first.size());
      bytes += first.size();
    }
  }
  SendPieces({out.data(), bytes}, {});
}

bool ServerConnection::Write(std::string_view bytes) {
  if (!gone() && body_allowed_ && !bytes.empty()) {
    if (chunked_) {
      Buffer chunk = loop_->buffers().Acquire(bytes.size() + kChunkOverheadBytes);
      SendPieces({chunk.data(), FormatChunk(chunk.data(), bytes)}, {});
    } else {
      SendPieces(bytes, {});
    }
  }
  throttled_ = !gone() && unsent_bytes() > server_->options_.unsent_high_water_bytes;
  return !throttled_;
}

void ServerConnection::End() {
  if (chunked_ && body_allowed_) SendPieces(kLastChunk, {});
  has_writer_ = false;
  Finish();
}

void ServerConnection::Reset() {
  has_writer_ = false;
  observer_ = nullptr;
  stream_.Abort();
  CloseStream();
  if (!pumping_) Dispose();
}

void ServerConnection::Abandon() {
  if (gone() || begun_) {
    has_writer_ = false;
    keep_alive_ = false;
    return Finish();
  }
  SendError({.status = 500, .message = "the request was not answered"}, {});
}

void ServerConnection::SendPieces(std::string_view first, std::string_view second) {
  if (gone()) return;
  if (cut_left_bytes_ != kUnlimited) {
    first = first.substr(0, cut_left_bytes_);
    cut_left_bytes_ -= first.size();
    second = second.substr(0, cut_left_bytes_);
    cut_left_bytes_ -= second.size();
  }
  while (unsent_bytes() == 0 && !(first.empty() && second.empty())) {
    const IoResult result = stream_.TryWrite(first, second);
    if (result.status == IoStatus::kError) return FailSend();
    const size_t from_first = std::min(result.bytes, first.size());
    first.remove_prefix(from_first);
    second.remove_prefix(result.bytes - from_first);
    if (result.would_block() || result.drained) break;
  }
  Keep(first);
  Keep(second);
  if (unsent_bytes() > server_->options_.unsent_bytes_max) return FailSend();
  if (unsent_bytes() != 0 && !timer_.armed()) SetTimeout(server_->options_.write_timeout_ns);
  if (cut_left_bytes_ == 0 && unsent_bytes() == 0) CloseStream();
}

void ServerConnection::Keep(std::string_view bytes) {
  if (bytes.empty()) return;
  if (!out_) {
    out_ = loop_->buffers().Acquire(bytes.size());
  } else if (out_end_ + bytes.size() > out_.capacity_bytes()) {
    const size_t unsent = unsent_bytes();
    std::memmove(out_.data(), out_.data() + out_begin_, unsent);
    out_begin_ = 0;
    out_end_ = unsent;
    out_.Grow(unsent + bytes.size(), unsent);
  }
  std::memcpy(out_.data() + out_end_, bytes.data(), bytes.size());
  out_end_ += bytes.size();
}

// The program learns of it by a timer, never within its own call.
void ServerConnection::FailSend() noexcept {
  send_failed_ = true;
  out_.Release();
  out_begin_ = out_end_ = 0;
  loop_->Arm(timer_, 0);
}

void ServerConnection::Flush() {
  bool progress = false;
  while (unsent_bytes() != 0) {
    const IoResult result = stream_.TryWrite({out_.data() + out_begin_, unsent_bytes()});
    if (result.status == IoStatus::kError) return ClientGone();
    out_begin_ += result.bytes;
    progress |= result.bytes != 0;
    if (result.would_block() || result.drained) break;
  }
  if (unsent_bytes() != 0) {
    if (progress) SetTimeout(server_->options_.write_timeout_ns);
    return;
  }
  out_.Release();
  out_begin_ = out_end_ = 0;
  if (state_ == State::kBusy) timer_.Cancel();
  if (cut_left_bytes_ == 0) {
    CloseStream();
    if (!has_writer_) Dispose();
    return;
  }
  if (finishing_) return CompleteExchange();
  if (std::exchange(throttled_, false) && observer_ != nullptr) observer_->OnWritable();
}

// The response is given; ends the exchange as soon as it is sent.
void ServerConnection::Finish() {
  observer_ = nullptr;
  finishing_ = true;
  if (gone()) {
    if (send_failed_ && state_ != State::kGone) {
      ++server_->stats_.clients_gone;
      CloseStream();
    }
    if (!pumping_ && !has_writer_) Dispose();
    return;
  }
  if (unsent_bytes() == 0) CompleteExchange();
}

void ServerConnection::CompleteExchange() {
  finishing_ = false;
  timer_.Cancel();
  if (!ShouldClose()) {
    state_ = State::kHead;
    SetTimeout(server_->options_.idle_timeout_ns);
    return Pump();
  }
  Linger();
}

// Ends our side and waits for the client to end its own: closing with bytes unread would reset the
// connection and could destroy the response on its way.
void ServerConnection::Linger() {
  state_ = State::kLinger;
  stream_.ShutdownWrite();
  loop_->Arm(timer_, kLingerNs);
  if (!pumping_) SettleInput();
  DropInput();
}

void ServerConnection::DropInput() {
  Buffer dropped = loop_->buffers().Acquire(kReadBytes);
  while (can_read_) {
    const IoResult result = stream_.TryRead({dropped.data(), dropped.capacity_bytes()});
    if (result.would_block()) {
      can_read_ = false;
      return;
    }
    if (!result.ok() || result.bytes > linger_left_bytes_) {
      CloseStream();
      if (!pumping_) Dispose();
      return;
    }
    linger_left_bytes_ -= result.bytes;
    if (result.drained && !peer_closed_) can_read_ = false;
  }
}

void ServerConnection::ClientGone() {
  if (server_ != nullptr) ++server_->stats_.clients_gone;
  CloseStream();
  ResponseObserver* observer = std::exchange(observer_, nullptr);
  if (!has_writer_) return Dispose();
  if (observer != nullptr) observer->OnClientGone();
}

void ServerConnection::CloseStream() noexcept {
  state_ = State::kGone;
  timer_.Cancel();
  resume_ = false;
  loop_->Close(stream_, *this);
  out_.Release();
  out_begin_ = out_end_ = 0;
}

void ServerConnection::Dispose() {
  Charge(0);
  Unlink();
  if (server_ != nullptr) --server_->connection_count_;
  loop_->Retire(std::unique_ptr<Retirable>(this));
}

}  // namespace weir::io
