// The upstream's side of RelayClient: attempts, the request on its way out, the response on its way
// back.
#include <algorithm>
#include <cstring>

#include "weir/io/relay/relay_client.h"
#include "weir/io/relay/relay_core.h"

namespace weir::io {

void RelayClient::Proxy(const ProxyPlan& plan) {
  if (state_ != State::kDeciding) return;
  // A client that has already closed its side does not wait for an answer.
  if (client_closing_) return LoseClient();
  plan_ = plan;
  if (plan_.targets.size() > kRelayTargetsMax)
    plan_.targets = plan_.targets.first(kRelayTargetsMax);
  fresh_only_ = false;
  stale_attempts_ = 0;
  if (plan_.targets.empty()) {
    FailRequest(RelayOutcome::kInternal, 503, "no_upstream", "no model server is available");
  } else {
    StartAttempt();
  }
  Drive();
}

uint64_t RelayClient::request_body_bytes() const noexcept {
  if (plan_.body.empty()) return body().size();
  uint64_t bytes = 0;
  for (const std::string_view piece : plan_.body) bytes += piece.size();
  return bytes;
}

void RelayClient::StartAttempt() {
  const UpstreamTarget& target = plan_.targets[end_.target_index];
  if (end_.attempts > 0) core_->counters.attempt_retries.Add(1);
  ++end_.attempts;
  if (!upstream_head_) {
    const size_t bytes = head().size_bytes + kRelayAddedHeadBytesMax;
    if (!HasRoom(upstream_head_, bytes)) {
      return FailRequest(RelayOutcome::kBuffersFull, 503, "buffers_full", kBuffersFullText);
    }
    upstream_head_ = core_->loop->buffers().Acquire(bytes);
  }
  if (!BuildUpstreamHead()) {
    return FailRequest(RelayOutcome::kInternal, 500, "internal_error",
                       "the request's added headers are too large or malformed");
  }
  state_ = State::kForwarding;
  request_sent_ = 0;
  informational_count_ = 0;
  cursor_ = {};
  upstream_readable_ = upstream_closing_ = upstream_dead_ = upstream_heard_ = false;
  response_part_.Release();
  response_part_size_ = 0;
  upstream_ = fresh_only_ ? nullptr : core_->pool.Take(target, *this);
  upstream_connected_ = upstream_ != nullptr;
  if (upstream_ != nullptr) {
    ArmPhase(core_->options.first_byte_ns);
    return SendRequest();
  }
  upstream_ = core_->pool.Dial(target, *this);
  if (upstream_ == nullptr) return FailAttempt(RelayOutcome::kUpstreamConnectFailed);
  ArmPhase(core_->options.connect_ns);
}

bool RelayClient::BuildUpstreamHead() {
  const RequestHead& request = head();
  const UpstreamTarget& target = plan_.targets[end_.target_index];
  HeadWriter writer(upstream_head_.data(), upstream_head_.capacity_bytes());
  writer.RequestLine(request.method,
                     plan_.path_and_query.empty() ? request.path_and_query : plan_.path_and_query);
  const bool own_host = !target.host.empty();
  const bool no_host = request.Find("host").data() == nullptr;
  if (own_host || no_host) writer.Header("host", target.host);
  writer.CopyHeaders(request, {.strip = plan_.strip, .host = !own_host});
  for (const HeaderField& field : plan_.add) writer.Header(field.name, field.value);
  const uint64_t content_bytes = request_body_bytes();
  const bool expects_body = method_ == Method::kPost || method_ == Method::kPut ||
                            method_ == Method::kPatch || framing_ != BodyFraming::kNone;
  if (content_bytes > 0 || expects_body) writer.Header("content-length", content_bytes);
  writer.End();
  upstream_head_size_ = writer.size_bytes();
  return !writer.overflow();
}

void RelayClient::OnUpstreamReady(Ready ready) {
  if ((ready & (kReadable | kPeerClosed | kBroken)) != 0) upstream_readable_ = true;
  if ((ready & (kPeerClosed | kBroken)) != 0) upstream_closing_ = true;
  if ((ready & (kWritable | kBroken)) != 0 && upstream_head_) SendRequest();
  Drive();
}

// Writes what is left of the request. upstream_head_ is released when all of it is out.
void RelayClient::SendRequest() {
  if (upstream_dead_) return;
  if (!upstream_connected_ && upstream_->stream().TakeConnectError() != 0) {
    return FailAttempt(RelayOutcome::kUpstreamConnectFailed);
  }
  const std::string_view original = body();
  const std::span<const std::string_view> content =
      plan_.body.empty() ? std::span(&original, 1) : plan_.body;
  const uint64_t total = upstream_head_size_ + request_body_bytes();
  while (request_sent_ < total) {
    std::string_view next[2];  // the first two pieces that are not sent
    uint32_t count = 0;
    uint64_t skip = request_sent_;
    const auto add = [&](std::string_view piece) {
      const size_t sent = std::min<uint64_t>(skip, piece.size());
      skip -= sent;
      if (sent < piece.size() && count < 2) next[count++] = piece.substr(sent);
    };
    add({upstream_head_.data(), upstream_head_size_});
    for (const std::string_view piece : content) add(piece);
    const IoResult result = upstream_->stream().TryWrite(next[0], next[1]);
    if (result.would_block()) return;
    if (!result.ok()) {
      if (!upstream_connected_) return FailAttempt(RelayOutcome::kUpstreamConnectFailed);
      // It may have answered before it stopped to listen: reading will tell.
      upstream_dead_ = true;
      upstream_readable_ = upstream_closing_ = true;
      return;
    }
    core_->counters.upstream_bytes_out.Add(result.bytes);
    request_sent_ += result.bytes;
    if (!upstream_connected_) {
      upstream_connected_ = true;
      ArmPhase(core_->options.first_byte_ns);
    }
    if (result.drained) return;
  }
  OnRequestSent();
}

// The copy of the request is of no more use once it is sent and the response has begun.
void RelayClient::OnRequestSent() {
  if (state_ != State::kStreaming) return;
  upstream_head_.Release();
  if (next_ >= received_) in_.Release();
}

// Reads once from the upstream and passes it on.
bool RelayClient::Pump() {
  // The client has not taken the last bytes, so the upstream waits.
  if (!upstream_readable_ || pending_) return false;
  if (!SpendBudget()) return false;
  char* scratch = core_->scratch.data();
  const IoResult result =
      upstream_->stream().TryRead({scratch + response_part_size_, kRelayReadBytesMax});
  if (result.would_block()) {
    upstream_readable_ = false;
    if (!upstream_dead_) return false;
    OnUpstreamEnd(false);
    return true;
  }
  if (!result.ok()) {
    OnUpstreamEnd(result.status == IoStatus::kEof);
    return true;
  }
  // Behind a closed sending side no further event comes: read on to the end.
  if (result.drained && !upstream_closing_) upstream_readable_ = false;
  core_->counters.upstream_bytes_in.Add(result.bytes);
  upstream_heard_ = true;
  if (response_part_size_ > 0) {
    std::memcpy(scratch, response_part_.data(), response_part_size_);
    response_part_.Release();
  }
  const size_t size = response_part_size_ + result.bytes;
  response_part_size_ = 0;
  TakeResponse(scratch, size);
  return true;
}

// Bytes of a response, the first of which start a head or continue a body.
void RelayClient::TakeResponse(char* data, size_t size) {
  std::string_view bytes(data, size);
  std::string_view client_head;
  if (state_ == State::kForwarding && !TakeResponseHead(bytes, client_head)) return;
  std::string_view content = TakeResponseBody(data + (size - bytes.size()), bytes.size());
  if (state_ == State::kClosed) return;  // the handler has cut everything off
  if (filtering_) content = Filter(content, response_done_ && !response_broken_);
  if (state_ == State::kClosed) return;
  SendToClient(client_head, content);
  if (client_lost_) return;
  if (response_broken_) return CutAnswer(RelayOutcome::kUpstreamProtocol);
  if (response_done_) return CompleteResponse();
  if (!pending_) ArmPhase(core_->options.upstream_idle_ns);
}

// Takes heads off `bytes` until the final one. Returns false when it is not complete or the request
// has failed.
bool RelayClient::TakeResponseHead(std::string_view& bytes, std::string_view& client_head) {
  ResponseHead& response = core_->response_head;
  const uint32_t head_max = std::min(core_->options.response_head_bytes_max, kHeadBytesMax);
  for (;;) {
    const HeadError error =
        ParseResponseHead(bytes, method_, cursor_, response, {.head_bytes_max = head_max});
    if (error == HeadError::kIncomplete) {
      response_part_size_ = bytes.size();
      if (bytes.empty()) return false;
      if (!HasRoom(response_part_, bytes.size())) {
        FailRequest(RelayOutcome::kBuffersFull, 503, "buffers_full", kBuffersFullText);
        return false;
      }
      response_part_ = core_->loop->buffers().Acquire(bytes.size());
      std::memcpy(response_part_.data(), bytes.data(), bytes.size());
      return false;
    }
    const bool switches = error == HeadError::kNone && response.status == 101;
    if (error != HeadError::kNone || switches || informational_count_ > kRelayInformationalMax) {
      FailRequest(RelayOutcome::kUpstreamProtocol, 502, "upstream_protocol",
                  "the model server sent a response that is not valid HTTP/1.1");
      return false;
    }
    bytes.remove_prefix(response.size_bytes);
    if (!response.informational()) break;
    ++informational_count_;
    cursor_ = {};
  }
  framing_ = response.framing;
  response_left_ = response.content_length;
  response_done_ = framing_ == BodyFraming::kNone ||
                   (framing_ == BodyFraming::kLength && response.content_length == 0);
  response_broken_ = false;
  upstream_keep_alive_ = response.keep_alive;
  chunks_ = {};
  core_->handler->OnUpstreamResponse(*this, response);
  if (state_ == State::kClosed) return false;  // the handler has cut everything off
  if (WriteResponseHead(client_head)) return true;
  FailRequest(RelayOutcome::kInternal, 500, "internal_error",
              "the response's added headers are too large or malformed");
  return false;
}

bool RelayClient::WriteResponseHead(std::string_view& client_head) {
  const ResponseHead& response = core_->response_head;
  // Without length or chunks only the end of the connection ends the answer.
  filtering_ = plan_.filter_response && framing_ != BodyFraming::kNone;
  const bool unchunk = http10_ && (framing_ == BodyFraming::kChunked || filtering_);
  const bool until_close = framing_ == BodyFraming::kUntilClose && !filtering_;
  close_after_ = ClosesAfterAnswer() || until_close || unchunk;
  HeadWriter writer(core_->head_scratch.data(), core_->head_scratch.size());
  writer.StatusLine(response.status, response.reason);
  const bool same_framing = !unchunk && !filtering_ && response.status != 204;
  writer.CopyHeaders(response, {.strip = plan_.response_strip, .framing = same_framing});
  if (filtering_ && !http10_) writer.Header("transfer-encoding", "chunked");
  for (const HeaderField& field : plan_.response_add) writer.Header(field.name, field.value);
  if (close_after_) writer.Header("connection", "close");
  if (!close_after_ && http10_) writer.Header("connection", "keep-alive");
  writer.End();
  if (writer.overflow()) return false;
  client_head = {core_->head_scratch.data(), writer.size_bytes()};
  end_.status = response.status;
  state_ = State::kStreaming;
  if (request_sent_ == upstream_head_size_ + request_body_bytes()) OnRequestSent();
  return true;
}

// Returns the part of the bytes that belongs to the response's body, as the client gets it.
std::string_view RelayClient::TakeResponseBody(char* data, size_t size) {
  size_t used = size;
  std::string_view content;
  switch (framing_) {
    case BodyFraming::kNone:
      used = 0;
      break;
    case BodyFraming::kLength:
      used = static_cast<size_t>(std::min<uint64_t>(size, response_left_));
      response_left_ -= used;
      response_done_ = response_left_ == 0;
      [[fallthrough]];
    case BodyFraming::kUntilClose:
      content = {data, used};
      if (!content.empty()) core_->handler->OnResponseBytes(*this, content);
      break;
    case BodyFraming::kChunked: {
      content = TakeChunks(data, size);
      if (!JoinsChunks()) used = content.size();
      break;
    }
  }
  end_.response_bytes += used;
  // Bytes behind the end belong to no request: the connection is out of step.
  if (response_done_ && used < size) upstream_keep_alive_ = false;
  return content;
}

// Shows the data of chunks to the handler. Returns the bytes as they came; for a filter, and for a
// client that does not know chunks, the data alone, moved together.
std::string_view RelayClient::TakeChunks(char* data, size_t size) {
  std::string_view rest(data, size);
  char* joined_end = data;
  for (std::string_view piece = chunks_.Next(rest); !piece.empty(); piece = chunks_.Next(rest)) {
    core_->handler->OnResponseBytes(*this, piece);
    if (state_ == State::kClosed) return {};
    if (!JoinsChunks()) continue;
    std::memmove(joined_end, piece.data(), piece.size());
    joined_end += piece.size();
  }
  response_done_ = chunks_.done();
  response_broken_ = chunks_.error() != ChunkError::kNone;
  if (!rest.empty()) upstream_keep_alive_ = false;
  return JoinsChunks() ? std::string_view(data, static_cast<size_t>(joined_end - data))
                       : std::string_view(data, size - rest.size());
}

// What the client gets of a piece of the body: one chunk, and the end of all if it is the last. An
// HTTP/1.0 client gets the bytes alone.
std::string_view RelayClient::Filter(std::string_view data, bool last) {
  constexpr size_t kSizeDigits = 8;
  constexpr std::string_view kLineEnd = "\r\n";
  std::string& out = core_->filtered;
  out.clear();
  if (http10_) {
    core_->handler->FilterResponse(*this, data, last, &out);
    return out;
  }
  out.append(kSizeDigits, '0');
  out.append(kLineEnd);
  const size_t begin = out.size();
  core_->handler->FilterResponse(*this, data, last, &out);
  size_t bytes = out.size() - begin;
  if (bytes == 0) {
    out.clear();
  } else {
    for (size_t digit = kSizeDigits; bytes > 0; bytes >>= 4)
      out[--digit] = "0123456789abcdef"[bytes & 15];
    out.append(kLineEnd);
  }
  if (last) out.append("0\r\n\r\n");
  return out;
}

// The upstream has closed its side, or the connection is broken.
void RelayClient::OnUpstreamEnd(bool orderly) {
  if (state_ == State::kStreaming) {
    if (framing_ == BodyFraming::kUntilClose && orderly) {
      if (filtering_) SendToClient(Filter({}, true), {});
      return CompleteResponse();
    }
    return CutAnswer(RelayOutcome::kUpstreamTruncated);
  }
  FailAttempt(upstream_connected_ ? RelayOutcome::kUpstreamReset
                                  : RelayOutcome::kUpstreamConnectFailed);
}

// Tries again where that may help: the client has not got a byte yet.
void RelayClient::FailAttempt(RelayOutcome outcome) {
  // A pooled connection that the upstream closed before it heard of us says nothing about it.
  const bool stale = upstream_ != nullptr && upstream_->reused() && !upstream_heard_;
  DropUpstream();
  if (stale && !fresh_only_) {
    fresh_only_ = true;
    ++stale_attempts_;
    return StartAttempt();
  }
  const bool more_attempts = end_.attempts - stale_attempts_ < core_->options.attempts_max;
  if (more_attempts && end_.target_index + 1 < plan_.targets.size()) {
    core_->handler->OnAttemptFailed(*this, end_.target_index, outcome);
    ++end_.target_index;
    fresh_only_ = false;
    return StartAttempt();
  }
  if (outcome == RelayOutcome::kUpstreamConnectFailed) {
    return FailRequest(outcome, 502, "upstream_connect_failed",
                       "no connection to the model server could be made");
  }
  FailRequest(outcome, 502, "upstream_reset",
              "the model server closed the connection before it answered");
}

// Answers with an error. The client has not got a byte yet.
void RelayClient::FailRequest(RelayOutcome outcome, uint16_t status, std::string_view code,
                              std::string_view message) {
  DropUpstream();
  end_.outcome = outcome;
  end_.status = status;
  close_after_ = ClosesAfterAnswer();
  state_ = State::kFlushing;
  std::array<char, kErrorReplyBytesMax> reply;
  const HeaderField keep_alive[] = {{"connection", "keep-alive"}};
  const bool announce = http10_ && !close_after_;
  const size_t size = WriteErrorResponse(
      reply, {.status = status, .message = message, .code = code}, close_after_,
      method_ == Method::kHead,
      announce ? std::span<const HeaderField>(keep_alive) : std::span<const HeaderField>());
  SendToClient({reply.data(), size}, {});
}

// Ends an answer that has begun and cannot be completed so that the client sees it: length or
// chunks are short, and where neither is announced the connection is reset.
void RelayClient::CutAnswer(RelayOutcome outcome) {
  DropUpstream();
  end_.outcome = outcome;
  const bool unannounced = filtering_ ? http10_
                                      : framing_ == BodyFraming::kUntilClose ||
                                            (framing_ == BodyFraming::kChunked && http10_);
  if (unannounced) {
    EndRequest(outcome);
    client_.Abort();
    return CloseClient();
  }
  close_after_ = true;
  state_ = State::kFlushing;
}

void RelayClient::CompleteResponse() {
  // A request that was not sent whole leaves the connection out of step, as does an early end.
  const bool sent_all = !upstream_head_;
  if (upstream_keep_alive_ && sent_all && !upstream_closing_ && !upstream_dead_ &&
      UpstreamQuiet()) {
    core_->pool.Release(*upstream_);
    upstream_ = nullptr;
  }
  DropUpstream();
  end_.outcome = RelayOutcome::kComplete;
  state_ = State::kFlushing;
  if (!pending_) phase_.Cancel();
}

// Nothing may follow the response: the next request would take it for its own.
bool RelayClient::UpstreamQuiet() {
  if (!upstream_readable_) return true;
  char byte;
  return upstream_->stream().TryRead({&byte, 1}).would_block();
}

void RelayClient::DropUpstream() {
  if (upstream_ == nullptr) return;
  core_->pool.Close(*upstream_);
  upstream_ = nullptr;
}

}  // namespace weir::io
