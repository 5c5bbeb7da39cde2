#include "weir/io/relay/relay_client.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "weir/io/relay/relay_core.h"

namespace weir::io {
namespace {

constexpr size_t kBufferedBodyBytesMax = 1u << 30;
constexpr size_t kLocalHeadBytesMax = 4096;  // of an answer by the handler

std::string_view Text(const Buffer& buffer, size_t begin, size_t end) noexcept {
  return {buffer.data() + begin, end - begin};
}

}  // namespace

RelayClient::RelayClient(RelayCore& core, Stream client, const SocketAddress& address) noexcept
    : core_(&core), client_(std::move(client)), address_(address) {}

void RelayClient::Start() {
  core_->clients.PushBack(*this);
  core_->counters.client_accepts.Add(1);
  core_->counters.client_connections.Add(1);
  if (core_->loop->Watch(client_, *this) != Code::kOk) return CloseClient();
  // The first event comes with the first bytes; trying before would cost a call for nothing.
  ArmPhase(core_->options.client_idle_ns);
}

void RelayClient::Drain() {
  close_after_ = true;
  if (state_ != State::kIdle) return;
  // Who has just come is served once. From others a request may have arrived that no event has told
  // of yet: only who has sent none is closed.
  if (!served_) return ArmPhase(core_->options.client_head_ns);
  client_readable_ = true;
  core_->loop->Arm(continue_, 0);
}

void RelayClient::Abort(RelayOutcome outcome) {
  if (state_ == State::kClosed) return;
  DropUpstream();
  EndRequest(outcome);
  CloseClient();
}

void RelayClient::OnReady(Ready ready) {
  ready = client_.Widen(ready);
  if ((ready & (kReadable | kPeerClosed | kBroken)) != 0) client_readable_ = true;
  if ((ready & (kPeerClosed | kBroken)) != 0) client_closing_ = true;
  // A client that leaves while its answer is made does not want it; one that leaves while it takes
  // the rest of a complete answer may be reading still.
  const bool waiting =
      state_ == State::kDeciding || state_ == State::kForwarding || state_ == State::kStreaming;
  if (waiting && client_closing_) return LoseClient();
  if ((ready & (kWritable | kBroken)) != 0 && pending_) FlushPending();
  Drive();
}

void RelayClient::OnContinue() {
  Drive();
  if (core_->draining && served_ && state_ == State::kIdle) CloseClient();
}

void RelayClient::Drive() {
  if (core_->driving == this) return;
  if (core_->driving != nullptr) {
    // The handler has answered this request inside a call for another one, which uses the shared
    // memory: the rest waits a tick.
    if (state_ != State::kClosed) core_->loop->Arm(continue_, 0);
    return;
  }
  core_->driving = this;
  budget_ = kRelayStepsPerTurnMax;
  while (state_ != State::kClosed && Step()) {
  }
  core_->driving = nullptr;
}

// Does one piece of work; returns whether there may be more.
bool RelayClient::Step() {
  if (client_lost_) {
    LoseClient();
    return false;
  }
  switch (state_) {
    case State::kIdle:
    case State::kHead:
      return ReadHead();
    case State::kBody:
      return ReadBody();
    case State::kForwarding:
    case State::kStreaming:
      return Pump();
    case State::kFlushing:
      return FinishAnswer();
    case State::kLingering:
      return Discard();
    case State::kDeciding:
    case State::kClosed:
      return false;
  }
  return false;
}

// One client or its upstream must not keep the others waiting: the rest is done after a tick.
bool RelayClient::SpendBudget() {
  if (budget_ > 0) {
    --budget_;
    return true;
  }
  if (!continue_.armed()) core_->loop->Arm(continue_, 0);
  return false;
}

// Reads once. Returns false when nothing came; the client may be closed then.
bool RelayClient::ReadFromClient(std::span<char> out, size_t& bytes) {
  if (!client_readable_) return false;
  if (!SpendBudget()) return false;
  const IoResult result = client_.TryRead(out);
  bytes = result.bytes;
  if (result.ok()) {
    // Behind a closed sending side no further event comes: read on to the end.
    if (result.drained && !client_closing_) client_readable_ = false;
    core_->counters.client_bytes_in.Add(bytes);
    return true;
  }
  if (result.would_block()) {
    client_readable_ = false;
  } else {
    CloseClient();
  }
  return false;
}

bool RelayClient::ReadHead() {
  if (next_ < received_) {  // pipelined behind the last request
    if (!SpendBudget()) return false;
    begin_ = next_;
    next_ = received_;
  } else {
    size_t bytes = 0;
    const size_t room = std::min<size_t>(kRelayReadBytesMax, core_->scratch.size());
    if (!ReadFromClient(std::span(core_->scratch).first(room), bytes)) return false;
    if (!in_) begin_ = received_ = 0;
    if (!Keep(bytes)) return true;
    next_ = received_;
  }
  if (state_ == State::kIdle) {
    state_ = State::kHead;
    cursor_ = {};
    ArmPhase(core_->options.client_head_ns);
  }
  return ParseHead();
}

bool RelayClient::ParseHead() {
  RequestHead& head = core_->request_head;
  const HeadError error = ParseRequestHead(Text(in_, begin_, received_), cursor_, head,
                                           {.head_bytes_max = core_->options.head_bytes_max});
  if (error == HeadError::kIncomplete) {
    if (begin_ > 0) {  // give back what the requests before have used
      std::memmove(in_.data(), in_.data() + begin_, received_ - begin_);
      received_ -= begin_;
      next_ = received_;
      begin_ = 0;
    }
    return true;
  }
  core_->request_head_owner = error == HeadError::kNone ? this : nullptr;
  if (error != HeadError::kNone) {
    core_->counters.refused_heads[static_cast<size_t>(error)].Add(1);
    keep_alive_ = false;
    Refuse(HeadErrorStatus(error), HeadErrorText(error));
    return true;
  }
  keep_alive_ = head.keep_alive;
  http10_ = head.version_minor == 0;
  method_ = head.method_id;
  framing_ = head.framing;
  body_begin_ = begin_ + head.size_bytes;
  return BeginBody();
}

bool RelayClient::BeginBody() {
  const RequestHead& head = core_->request_head;
  const bool wants_continue = head.expect_continue;
  body_end_ = next_ = body_begin_;
  if (framing_ == BodyFraming::kNone) return Dispatch();
  const uint64_t bytes_max =
      std::min<uint64_t>(core_->options.body_bytes_max, kBufferedBodyBytesMax);
  if (framing_ == BodyFraming::kLength) {
    if (head.content_length > bytes_max) {
      RefuseFor(RelayReject::kBodyTooLarge, 413, "the request body is larger than the limit");
      return true;
    }
    body_end_ = next_ = body_begin_ + static_cast<size_t>(head.content_length);
    if (received_ >= body_end_) return Dispatch();
  } else {
    chunks_ = {};
    next_ = body_begin_;
  }
  state_ = State::kBody;
  ArmPhase(core_->options.client_body_ns);
  if (wants_continue && received_ == body_begin_) SendToClient("HTTP/1.1 100 Continue\r\n\r\n", {});
  // Chunks that came with the head are decoded first.
  return framing_ == BodyFraming::kChunked && received_ > body_begin_ ? Dechunk() : true;
}

// Whether `buffer` may hold `bytes` and all buffers of the loop leave that much of their limit.
bool RelayClient::HasRoom(const Buffer& buffer, size_t bytes,
                          uint64_t leaving_bytes) const noexcept {
  if (bytes <= buffer.capacity_bytes()) return true;
  const uint64_t others = core_->loop->buffers().in_use_bytes() - buffer.capacity_bytes();
  return others + BufferPool::CapacityFor(bytes) + leaving_bytes <=
         core_->options.buffered_bytes_max;
}

// Appends the first `bytes` of scratch memory to `in_`; refuses the request when the loop's buffers
// are used up.
bool RelayClient::Keep(size_t bytes) {
  if (!HasRoom(in_, received_ + bytes)) {
    RefuseFor(RelayReject::kBuffersFull, 503, kBuffersFullText);
    return false;
  }
  if (!in_) in_ = core_->loop->buffers().Acquire(bytes);
  if (received_ + bytes > in_.capacity_bytes()) {
    in_.Grow(received_ + bytes, received_);
    if (core_->request_head_owner == this) core_->request_head_owner = nullptr;
  }
  std::memcpy(in_.data() + received_, core_->scratch.data(), bytes);
  received_ += bytes;
  return true;
}

bool RelayClient::ReadBody() {
  return framing_ == BodyFraming::kLength ? ReadSizedBody() : ReadChunkedBody();
}

// Memory is given to what has arrived, never to what is announced.
bool RelayClient::ReadSizedBody() {
  const size_t wanted = std::min<size_t>(body_end_ - received_, kRelayReadBytesMax);
  const size_t room = std::min(in_.capacity_bytes(), body_end_) - received_;
  size_t bytes = 0;
  if (room >= wanted) {
    if (!ReadFromClient({in_.data() + received_, room}, bytes)) return false;
    received_ += bytes;
  } else {
    if (!ReadFromClient(std::span(core_->scratch).first(wanted), bytes)) return false;
    if (!Keep(bytes)) return true;
  }
  return received_ == body_end_ ? Dispatch() : true;
}

bool RelayClient::ReadChunkedBody() {
  size_t bytes = 0;
  if (!ReadFromClient(std::span(core_->scratch).first(kRelayReadBytesMax), bytes)) return false;
  return Keep(bytes) ? Dechunk() : true;
}

// Moves the data of newly received chunks together at body_end_.
bool RelayClient::Dechunk() {
  std::string_view rest = Text(in_, next_, received_);
  for (std::string_view data = chunks_.Next(rest); !data.empty(); data = chunks_.Next(rest)) {
    std::memmove(in_.data() + body_end_, data.data(), data.size());
    body_end_ += data.size();
  }
  next_ = received_ - rest.size();
  if (chunks_.error() != ChunkError::kNone) {
    RefuseFor(RelayReject::kBadChunk, 400, ChunkErrorText(chunks_.error()));
    return true;
  }
  if (body_end_ - body_begin_ >
      std::min<uint64_t>(core_->options.body_bytes_max, kBufferedBodyBytesMax)) {
    RefuseFor(RelayReject::kBodyTooLarge, 413, "the request body is larger than the limit");
    return true;
  }
  if (chunks_.done()) return Dispatch();
  next_ = received_ = body_end_;  // all framing is decoded: its bytes are free
  return true;
}

bool RelayClient::Dispatch() {
  phase_.Cancel();
  state_ = State::kDeciding;
  end_ = {};
  end_.request_body_bytes = body_end_ - body_begin_;
  context = nullptr;
  handler_has_it_ = true;
  core_->counters.requests_in_flight.Add(1);
  if (core_->options.total_ns > 0) core_->loop->Arm(total_, core_->options.total_ns);
  core_->handler->OnRequest(*this);
  return state_ != State::kDeciding;
}

const RequestHead& RelayClient::head() noexcept {
  if (core_->request_head_owner != this) {
    HeadCursor cursor;
    // These bytes were accepted before.
    [[maybe_unused]] const HeadError error =
        ParseRequestHead(Text(in_, begin_, body_begin_), cursor, core_->request_head,
                         {.head_bytes_max = core_->options.head_bytes_max});
    core_->request_head_owner = this;
  }
  return core_->request_head;
}

std::string_view RelayClient::body() const noexcept { return Text(in_, body_begin_, body_end_); }

bool RelayClient::ClosesAfterAnswer() const noexcept {
  return close_after_ || !keep_alive_ || core_->draining;
}

void RelayClient::Respond(const LocalResponse& response) {
  if (state_ != State::kDeciding) return;
  const bool bodiless =
      method_ == Method::kHead || response.status == 204 || response.status == 304;
  // Who asks for large pages and does not take them must not keep others from asking.
  if (!bodiless && response.body.size() > kRelayReadBytesMax &&
      !HasRoom(pending_, kLocalHeadBytesMax + response.body.size(),
               core_->options.buffered_bytes_max / 2)) {
    FailRequest(RelayOutcome::kBuffersFull, 503, "buffers_full", kBuffersFullText);
    return Drive();
  }
  close_after_ = ClosesAfterAnswer();
  // Not shared memory: another client may be in the middle of using that.
  Buffer answer = core_->loop->buffers().Acquire(kLocalHeadBytesMax);
  HeadWriter writer(answer.data(), answer.capacity_bytes());
  writer.StatusLine(response.status);
  if (!response.content_type.empty()) writer.Header("content-type", response.content_type);
  for (const HeaderField& field : response.headers) writer.Header(field.name, field.value);
  if (response.status != 204) writer.Header("content-length", uint64_t{response.body.size()});
  if (close_after_) writer.Header("connection", "close");
  if (!close_after_ && http10_) writer.Header("connection", "keep-alive");
  writer.End();
  if (writer.overflow()) {
    FailRequest(RelayOutcome::kInternal, 500, "internal_error",
                "the answer's headers are too large or malformed");
    return Drive();
  }
  end_.outcome = RelayOutcome::kLocal;
  end_.status = response.status;
  state_ = State::kFlushing;
  SendToClient({answer.data(), writer.size_bytes()}, bodiless ? std::string_view() : response.body);
  Drive();
}

void RelayClient::RespondError(const ErrorReply& reply, std::span<const HeaderField> headers) {
  if (state_ != State::kDeciding) return;
  std::array<char, kErrorReplyBytesMax> body;
  const size_t size = WriteErrorBody(body, reply);
  Respond({.status = reply.status, .headers = headers, .body = {body.data(), size}});
}

// Answers bytes that are no request and closes: where the next request would begin is not known.
void RelayClient::Refuse(uint16_t status, std::string_view message) {
  phase_.Cancel();
  close_after_ = true;
  std::array<char, kErrorReplyBytesMax> reply;
  const size_t size = WriteErrorResponse(reply, {.status = status, .message = message}, true,
                                         method_ == Method::kHead && state_ == State::kBody);
  state_ = State::kFlushing;
  refused_ = true;
  SendToClient({reply.data(), size}, {});
}

void RelayClient::RefuseFor(RelayReject reject, uint16_t status, std::string_view message) {
  core_->counters.refused[static_cast<size_t>(reject)].Add(1);
  Refuse(status, message);
}

void RelayClient::SendToClient(std::string_view first, std::string_view second) {
  bool blocked = static_cast<bool>(pending_);
  while (!blocked && !client_lost_ && !(first.empty() && second.empty())) {
    const IoResult result = second.empty()  ? client_.TryWrite(first)
                            : first.empty() ? client_.TryWrite(second)
                                            : client_.TryWrite(first, second);
    if (!result.ok()) {
      client_lost_ = !result.would_block();
      break;
    }
    core_->counters.client_bytes_out.Add(result.bytes);
    const size_t of_first = std::min(result.bytes, first.size());
    first.remove_prefix(of_first);
    second.remove_prefix(result.bytes - of_first);
    blocked = result.drained;
  }
  const size_t rest = first.size() + second.size();
  if (rest == 0 || client_lost_) return;
  if (!HasRoom(pending_, pending_end_ + rest)) {
    client_lost_ = unkept_ = true;
    return;
  }
  if (!pending_) {
    pending_ = core_->loop->buffers().Acquire(rest);
    ArmPhase(core_->options.client_write_ns);
  } else {
    pending_.Grow(pending_end_ + rest, pending_end_);
  }
  for (const std::string_view piece : {first, second}) {
    if (!piece.empty()) std::memcpy(pending_.data() + pending_end_, piece.data(), piece.size());
    pending_end_ += piece.size();
  }
}

void RelayClient::FlushPending() {
  while (pending_begin_ < pending_end_) {
    const IoResult result = client_.TryWrite(Text(pending_, pending_begin_, pending_end_));
    if (!result.ok()) {
      client_lost_ = !result.would_block();
      return;
    }
    core_->counters.client_bytes_out.Add(result.bytes);
    pending_begin_ += result.bytes;
    ArmPhase(core_->options.client_write_ns);
    if (result.drained) return;
  }
  pending_.Release();
  pending_begin_ = pending_end_ = 0;
  if (state_ == State::kStreaming) ArmPhase(core_->options.upstream_idle_ns);
  if (state_ == State::kBody) ArmPhase(core_->options.client_body_ns);
}

// Once the client has everything: the next request, or the end.
bool RelayClient::FinishAnswer() {
  if (pending_) return false;
  phase_.Cancel();
  EndRequest(end_.outcome);
  if (state_ == State::kClosed) return false;
  if (close_after_) {
    if (core_->options.linger_ns <= 0 || !MustLinger()) {
      CloseClient();
      return false;
    }
    in_.Release();
    client_.ShutdownWrite();
    state_ = State::kLingering;
    response_left_ = kRelayLingerBytesMax;
    ArmPhase(core_->options.linger_ns);
    return true;
  }
  PrepareNext();
  return true;
}

// Closing over unread bytes would reset the connection and may take the answer with it.
bool RelayClient::MustLinger() {
  if (refused_) return true;
  if (!client_readable_) return false;
  return client_.TryRead(std::span(core_->scratch).first(kRelayReadBytesMax)).ok();
}

void RelayClient::PrepareNext() {
  if (next_ >= received_) {
    in_.Release();
    begin_ = body_begin_ = body_end_ = next_ = received_ = 0;
  }
  if (core_->request_head_owner == this) core_->request_head_owner = nullptr;
  served_ = true;
  state_ = State::kIdle;
  ArmPhase(core_->options.client_idle_ns);
}

bool RelayClient::Discard() {
  size_t bytes = 0;
  if (!ReadFromClient(std::span(core_->scratch).first(kRelayReadBytesMax), bytes)) return false;
  if (bytes >= response_left_) {
    CloseClient();
    return false;
  }
  response_left_ -= bytes;
  return true;
}

// Tells the handler that the request is over. Nothing of the exchange is used after that.
void RelayClient::EndRequest(RelayOutcome outcome) {
  total_.Cancel();
  upstream_head_.Release();
  response_part_.Release();
  if (!handler_has_it_) return;
  handler_has_it_ = false;
  end_.outcome = outcome;
  core_->counters.requests[static_cast<size_t>(outcome)].Add(1);
  core_->counters.requests_in_flight.Subtract(1);
  core_->handler->OnEnd(*this, end_);
}

void RelayClient::LoseClient() {
  Abort(unkept_ ? RelayOutcome::kBuffersFull : RelayOutcome::kClientGone);
}

void RelayClient::CloseClient() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  phase_.Cancel();
  total_.Cancel();
  continue_.Cancel();
  in_.Release();
  pending_.Release();
  upstream_head_.Release();
  response_part_.Release();
  if (core_->request_head_owner == this) core_->request_head_owner = nullptr;
  if (client_.handshaking()) core_->counters.client_handshakes_failed.Add(1);
  core_->loop->Close(client_, *this);
  Unlink();
  core_->counters.client_connections.Subtract(1);
  core_->loop->Retire(std::unique_ptr<Retirable>(this));
}

void RelayClient::ArmPhase(int64_t delay_ns) {
  if (delay_ns > 0) {
    core_->loop->Arm(phase_, delay_ns);
  } else {
    phase_.Cancel();
  }
}

void RelayClient::OnPhaseTimeout() {
  if (pending_ && in_flight()) {
    return Abort(RelayOutcome::kClientTimeout);
  }
  switch (state_) {
    case State::kHead:
      RefuseFor(RelayReject::kHeadTimeout, 408, "the request head did not arrive in time");
      return Drive();
    case State::kBody:
      if (pending_) return CloseClient();  // not even "100 Continue" was taken
      RefuseFor(RelayReject::kBodyTimeout, 408, "the request body did not arrive in time");
      return Drive();
    case State::kForwarding:
      if (upstream_connected_) {
        FailRequest(RelayOutcome::kUpstreamTimeout, 504, "upstream_timeout",
                    "the model server did not answer in time");
      } else {
        FailAttempt(RelayOutcome::kUpstreamConnectFailed);
      }
      return Drive();
    case State::kStreaming:
      CutAnswer(RelayOutcome::kUpstreamTimeout);
      return Drive();
    case State::kIdle:
      if (!client_.handshaking()) core_->counters.client_idle_closes.Add(1);
      [[fallthrough]];
    default:
      return CloseClient();
  }
}

void RelayClient::OnTotalTimeout() {
  if (state_ == State::kDeciding || state_ == State::kForwarding) {
    FailRequest(RelayOutcome::kTotalTimeout, 504, "request_timeout",
                "the request took longer than the limit");
    return Drive();
  }
  if (state_ == State::kFlushing) return Abort(RelayOutcome::kTotalTimeout);
  CutAnswer(RelayOutcome::kTotalTimeout);
  Drive();
}

}  // namespace weir::io
