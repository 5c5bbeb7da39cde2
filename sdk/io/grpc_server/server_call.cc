#include "weir/io/grpc_server/server_call.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "weir/io/grpc_server/grpc_connection.h"
#include "weir/io/grpc_server/grpc_server_core.h"

namespace weir::io {

int64_t ServerCall::now_ns() const noexcept { return connection_->core().loop.now_ns(); }

const SocketAddress& ServerCall::peer() const noexcept { return connection_->peer(); }

bool ServerCall::is_tls() const noexcept { return connection_->is_tls(); }

void ServerCall::Begin(const CallStart& start) {
  connection_ = start.connection;
  handler_ = start.handler;
  stream_id_ = start.stream_id;
  encoding_ = start.encoding;
  deadline_ns_ = start.deadline_ns;
  receive_deadline_ns_ = After(now_ns(), connection_->core().options.first_message_ns);
  ArmTimer();
  connection_->core().counters.calls_in_flight.Add(1);
  metadata_ = start.metadata;
  handler_->OnCall(*this);
  metadata_ = {};
}

void ServerCall::Recycle() noexcept {
  context = nullptr;
  attention_.Unlink();
  reader_.Reset();
  backlog_.Release();
  backlog_begin_ = backlog_end_ = 0;
  queue_.Clear();
  held_bytes_ = charged_bytes_ = unconsumed_bytes_ = 0;
  deadline_ns_ = receive_deadline_ns_ = send_deadline_ns_ = armed_ns_ = kNever;
  timer_.Cancel();
  status_text_.clear();
  pending_end_.reset();
  status_ = Code::kOk;
  any_message_ = paused_ = throttled_ = client_done_ = half_close_told_ = headers_sent_ = false;
  answered_ = deferred_ = finishing_ = trailers_sent_ = closed_ = closed_cleanly_ = false;
}

void ServerCall::OnData(std::string_view bytes) {
  unconsumed_bytes_ += bytes.size();
  if (receiving()) {
    const bool was_inside = reader_.inside();
    if (!paused_ && backlog_begin_ == backlog_end_) bytes = Deliver(bytes);
    if (receiving()) {
      KeepBacklog(bytes);
      SetReceiveDeadline(was_inside);
    }
  }
  Settle();
}

std::string_view ServerCall::Deliver(std::string_view bytes) {
  GrpcServerCore& core = connection_->core();
  const MessageReader::Limits limits = {core.options.message_bytes_max, encoding_};
  while (true) {
    std::string_view message;
    switch (reader_.Next(bytes, limits, core.loop.buffers(), core.inflater, message)) {
      case ReadStep::kNeedMore:
        return bytes;
      case ReadStep::kError:
        EndByServer(GrpcEnd::kRefusedMessage, reader_.error(), reader_.error_text());
        return {};
      case ReadStep::kMessage:
        break;
    }
    any_message_ = true;
    core.counters.messages_in.Add(1);
    handler_->OnMessage(*this, message);
    if (!receiving()) {
      reader_.Reset();
      return {};
    }
    if (paused_) {
      reader_.Reset();
      return bytes;
    }
  }
}

void ServerCall::KeepBacklog(std::string_view bytes) {
  if (bytes.empty()) return;
  const size_t used = backlog_end_ - backlog_begin_;
  if (!backlog_) backlog_ = connection_->core().loop.buffers().Acquire(bytes.size());
  if (backlog_end_ + bytes.size() > backlog_.capacity_bytes()) {
    std::memmove(backlog_.data(), backlog_.data() + backlog_begin_, used);
    backlog_begin_ = 0;
    backlog_end_ = used;
    if (used + bytes.size() > backlog_.capacity_bytes()) {
      backlog_.Grow(used + bytes.size(), used);
    }
  }
  std::memcpy(backlog_.data() + backlog_end_, bytes.data(), bytes.size());
  backlog_end_ += bytes.size();
}

void ServerCall::DeliverBacklog() {
  if (backlog_begin_ == backlog_end_) return;
  const bool was_inside = reader_.inside();
  // Taken out first: ending the call drops the backlog while its bytes are being looked at.
  Buffer held = std::move(backlog_);
  const std::string_view all(held.data() + backlog_begin_, backlog_end_ - backlog_begin_);
  backlog_begin_ = backlog_end_ = 0;
  const std::string_view left = Deliver(all);
  if (!receiving()) return;
  if (!left.empty()) {
    backlog_ = std::move(held);
    backlog_begin_ = static_cast<size_t>(left.data() - backlog_.data());
    backlog_end_ = backlog_begin_ + left.size();
  }
  SetReceiveDeadline(was_inside);
}

void ServerCall::OnClientDone() {
  client_done_ = true;
  if (!paused_ && backlog_begin_ == backlog_end_) TellHalfClose();
}

void ServerCall::TellHalfClose() {
  if (!receiving() || half_close_told_) return;
  if (reader_.inside()) {
    EndByServer(GrpcEnd::kRefusedMessage, Code::kInternal, "the stream ended inside a message");
    return;
  }
  half_close_told_ = true;
  handler_->OnHalfClose(*this);
}

void ServerCall::OnStreamClosed(bool cleanly) noexcept {
  closed_ = true;
  closed_cleanly_ = cleanly;
  NeedAttention();
}

bool ServerCall::Attend() {
  if (closed_) {
    if (handler_ != nullptr) {
      if (pending_end_.has_value()) {
        Detach(*pending_end_);
      } else {
        Detach(finishing_ && closed_cleanly_ ? GrpcEnd::kFinished : GrpcEnd::kReset);
      }
    }
    return false;
  }
  if (pending_end_.has_value() && handler_ != nullptr) {
    EndByServer(*pending_end_, Code::kResourceExhausted, "too many bytes wait for the client");
  }
  if (receiving() && !paused_) {
    DeliverBacklog();
    if (client_done_ && !paused_ && backlog_begin_ == backlog_end_) TellHalfClose();
  }
  const uint64_t low_water_bytes = connection_->core().options.unsent_high_water_bytes / 2;
  if (throttled_ && queue_.bytes() <= low_water_bytes) {
    throttled_ = false;
    if (handler_ != nullptr && !finishing_) handler_->OnSendReady(*this);
  }
  Settle();
  return true;
}

void ServerCall::EndByServer(GrpcEnd why, Code code, std::string_view text) {
  queue_.Clear();
  if (closed_) {
    // Nobody is left to tell.
  } else if (finishing_) {
    // What Finish() promised cannot be kept.
    connection_->ResetStream(*this, NGHTTP2_CANCEL);
  } else if (headers_sent_) {
    // Past the data, for which the client may have no window.
    SetStatus(code, text);
    trailers_sent_ = true;
    connection_->SubmitTrailers(*this);
    connection_->Touch();
  } else {
    StartFinish(code, text);
  }
  Detach(why);
}

void ServerCall::Detach(GrpcEnd why) {
  GrpcHandler* handler = std::exchange(handler_, nullptr);
  timer_.Cancel();
  queue_.Clear();
  DropInput();
  held_bytes_ = 0;
  Settle();
  if (handler == nullptr) return;
  GrpcCounters& counters = connection_->core().counters;
  counters.calls[static_cast<uint32_t>(why)].Add(1);
  counters.calls_in_flight.Subtract(1);
  handler->OnEnd(*this, why);
}

void ServerCall::DropInput() noexcept {
  reader_.Reset();
  backlog_.Release();
  backlog_begin_ = backlog_end_ = 0;
}

void ServerCall::Settle() noexcept {
  const uint64_t charged = held_bytes_ + reader_.kept_bytes() + (backlog_end_ - backlog_begin_);
  if (charged != charged_bytes_) {
    connection_->Charge(charged_bytes_, charged);
    charged_bytes_ = charged;
  }
  if (unconsumed_bytes_ == 0 || closed_) return;
  const bool wait = receiving() && (paused_ || throttled_ || backlog_begin_ != backlog_end_ ||
                                    charged > connection_->core().options.call_held_bytes_max);
  if (wait) return;
  connection_->Consume(stream_id_, std::exchange(unconsumed_bytes_, 0));
}

void ServerCall::MoveTo(GatherBuffer& out, size_t bytes, bool gather) {
  queue_.MoveTo(out, bytes, gather);
  answered_ = true;
  send_deadline_ns_ =
      queue_.bytes() == 0 ? kNever : After(now_ns(), connection_->core().options.send_ns);
  if (throttled_) NeedAttention();
}

bool ServerCall::Send(std::string_view head, std::string_view body, BytesOwner* owner_or_null) {
  if (handler_ == nullptr || finishing_ || closed_ || pending_end_.has_value()) return false;
  GrpcServerCore& core = connection_->core();
  const uint64_t message_bytes = uint64_t{head.size()} + body.size();
  if (message_bytes > std::numeric_limits<uint32_t>::max()) {
    pending_end_ = GrpcEnd::kOverLimit;
    NeedAttention();
    return false;
  }
  std::array<char, kGrpcPrefixBytes> prefix;
  WriteGrpcPrefix(static_cast<uint32_t>(message_bytes), prefix);
  BufferPool& pool = core.loop.buffers();
  queue_.PushCopy({prefix.data(), prefix.size()}, pool);
  queue_.PushCopy(head, pool);
  if (owner_or_null != nullptr && body.size() >= kGatherPieceBytesMin) {
    queue_.PushBorrowed(body, *owner_or_null);
  } else {
    queue_.PushCopy(body, pool);
  }
  core.counters.messages_out.Add(1);
  const int64_t now = now_ns();
  if (send_deadline_ns_ == kNever) send_deadline_ns_ = After(now, core.options.send_ns);
  if (any_message_ && !paused_ && !reader_.inside()) {
    receive_deadline_ns_ = After(now, core.options.call_idle_ns);
  }
  ArmTimer();
  if (!headers_sent_) {
    headers_sent_ = true;
    connection_->SubmitResponse(*this);
  } else if (std::exchange(deferred_, false)) {
    connection_->ResumeData(*this);
  }
  connection_->Touch();
  if (queue_.copied_bytes() > core.options.unsent_bytes_max) {
    pending_end_ = GrpcEnd::kOverLimit;
    NeedAttention();
    return false;
  }
  if (queue_.bytes() > core.options.unsent_high_water_bytes) throttled_ = true;
  return !throttled_;
}

void ServerCall::Finish(Code code, std::string_view text) {
  if (handler_ == nullptr || finishing_ || closed_ || pending_end_.has_value()) return;
  StartFinish(code, text);
  DropInput();
  Settle();
}

void ServerCall::SetStatus(Code code, std::string_view text) {
  finishing_ = true;
  status_ = code;
  AppendGrpcMessage(text, kGrpcStatusTextBytesMax, status_text_);
  receive_deadline_ns_ = kNever;
}

void ServerCall::StartFinish(Code code, std::string_view text) {
  SetStatus(code, text);
  if (closed_) return;
  if (!headers_sent_) {
    headers_sent_ = true;
    connection_->SubmitTrailersOnly(*this);
  } else if (std::exchange(deferred_, false)) {
    connection_->ResumeData(*this);
  }
  connection_->Touch();
}

void ServerCall::NeedAttention() noexcept {
  connection_->attention().PushBack(attention_);
  connection_->Touch();
}

void ServerCall::Pause() noexcept {
  paused_ = true;
  receive_deadline_ns_ = kNever;
}

void ServerCall::Resume() noexcept {
  if (!paused_) return;
  paused_ = false;
  if (!receiving()) return;
  if (!any_message_) {
    receive_deadline_ns_ = After(now_ns(), connection_->core().options.first_message_ns);
  }
  SetReceiveDeadline(false);
  NeedAttention();
}

void ServerCall::SetHeldBytes(uint64_t bytes) noexcept {
  if (handler_ == nullptr) return;
  held_bytes_ = bytes;
  Settle();
}

void ServerCall::SetDeadline(int64_t at_ns) noexcept {
  if (handler_ == nullptr) return;
  deadline_ns_ = std::min(deadline_ns_, at_ns);
  ArmTimer();
}

void ServerCall::SetReceiveDeadline(bool was_inside) noexcept {
  if (paused_) return;
  const GrpcServerOptions& options = connection_->core().options;
  if (reader_.inside()) {
    // From the first byte of the message: a trickle does not extend it.
    if (!was_inside) receive_deadline_ns_ = After(now_ns(), options.message_ns);
  } else if (any_message_ || client_done_) {
    receive_deadline_ns_ = After(now_ns(), options.call_idle_ns);
  }
  ArmTimer();
}

void ServerCall::ArmTimer() noexcept {
  const int64_t first = std::min({deadline_ns_, receive_deadline_ns_, send_deadline_ns_});
  if (first >= armed_ns_) return;
  armed_ns_ = first;
  connection_->core().loop.Arm(timer_, first - now_ns());
}

void ServerCall::OnTimer() {
  armed_ns_ = kNever;
  const int64_t now = now_ns();
  if (handler_ == nullptr || closed_) return;
  if (now >= send_deadline_ns_) {
    EndByServer(GrpcEnd::kTimeout, Code::kDeadlineExceeded, "the client takes no bytes");
  } else if (now >= deadline_ns_ && !finishing_) {
    EndByServer(GrpcEnd::kDeadline, Code::kDeadlineExceeded, "the call's deadline has passed");
  } else if (now >= receive_deadline_ns_) {
    EndByServer(GrpcEnd::kTimeout, Code::kDeadlineExceeded, "the client was silent for too long");
  } else {
    if (finishing_) deadline_ns_ = kNever;
    ArmTimer();
  }
}

}  // namespace weir::io
