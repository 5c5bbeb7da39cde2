#include "ext_proc_load/exchange.h"

#include <cstring>

#include "absl/strings/str_cat.h"

namespace weir::bench {

Exchange::Exchange(const Script& script, const ExchangeOptions& options, const Clock& clock,
                   ExchangeObserver& observer)
    : script_(script), options_(options), clock_(clock), observer_(observer) {}

void Exchange::Begin(uint64_t unique) {
  conversation_ = &script_.conversations[unique % script_.conversations.size()];
  unique_ = unique;
  started_ns_ = clock_.now_ns();
  body_sent_ns_ = started_ns_;
  pending_ = {&script_.request_headers, &conversation_->wire};
  pending_offset_ = 0;
  echoed_bytes_ = 0;
  event_ = 0;
  step_ = Step::kDecision;
  running_ = true;
  skips_response_headers_ = skips_response_body_ = false;
  error_.clear();
}

void Exchange::GiveUp(std::string_view kind) {
  if (!running_ || !error_.empty()) return;
  error_ = kind;
  observer_.OnGivenUp(*this);
}

size_t Exchange::sendable_bytes() const {
  size_t bytes = 0;
  for (const Wire* wire : pending_) bytes += wire == nullptr ? 0 : wire->bytes.size();
  return bytes - pending_offset_;
}

void Exchange::Take(size_t size, char* out) {
  while (size > 0) {
    const Wire& wire = *pending_[0];
    const size_t part = std::min(size, wire.bytes.size() - pending_offset_);
    wire.Copy(pending_offset_, part, unique_, out);
    pending_offset_ += part;
    out += part;
    size -= part;
    if (pending_offset_ < wire.bytes.size()) return;
    if (&wire == &conversation_->wire) body_sent_ns_ = clock_.now_ns();
    pending_ = {pending_[1], nullptr};
    pending_offset_ = 0;
  }
}

void Exchange::Send(const Wire& wire) {
  pending_[pending_[0] == nullptr ? 0 : 1] = &wire;
  observer_.OnSendable(*this);
}

bool Exchange::Expect(const Answer& answer, Answer::Kind kind) {
  if (answer.kind == kind) return true;
  GiveUp(absl::StrCat("answer ", static_cast<int>(answer.kind), " instead of ",
                      static_cast<int>(kind)));
  return false;
}

void Exchange::OnMessage(std::string_view message) {
  if (!error_.empty()) return;
  Answer answer;
  if (!ParseAnswer(message, &answer)) return GiveUp("not a ProcessingResponse");
  if (answer.kind == Answer::Kind::kImmediate) {
    return GiveUp(absl::StrCat("immediate response ", answer.immediate_status));
  }
  switch (step_) {
    case Step::kDecision:
      if (!Expect(answer, Answer::Kind::kRequestHeaders)) return;
      if (answer.destination.empty()) return GiveUp("no destination");
      if (sendable_bytes() > 0) return GiveUp("decision before the end of the body");
      observer_.OnDecision(clock_.now_ns() - body_sent_ns_);
      if (options_.obeys_mode_override) {
        skips_response_headers_ = answer.skips_response_headers;
        skips_response_body_ = answer.skips_response_body;
      }
      step_ = Step::kEcho;
      return;
    case Step::kEcho:
      return OnRequestBody(answer);
    case Step::kResponseHeaders:
      if (!Expect(answer, Answer::Kind::kResponseHeaders)) return;
      if (skips_response_body_) return End();
      echoed_bytes_ = 0;
      step_ = Step::kEvent;
      return Send(script_.events[0]);
    case Step::kEvent:
      return OnResponseBody(answer);
    case Step::kEnd:
      return GiveUp("answer after the end");
  }
}

void Exchange::OnRequestBody(const Answer& answer) {
  if (!Expect(answer, Answer::Kind::kRequestBody)) return;
  const size_t from = echoed_bytes_;
  echoed_bytes_ += answer.body.size();
  if (echoed_bytes_ > script_.body_bytes) return GiveUp("echo of another size");
  if (options_.compares_bytes) {
    expected_.resize(answer.body.size());
    conversation_->body.Copy(from, answer.body.size(), unique_, expected_.data());
    if (answer.body != expected_) return GiveUp("echo of another text");
  }
  if (!answer.end_of_stream) return;
  if (echoed_bytes_ != script_.body_bytes) return GiveUp("echo of another size");
  ResponseBegins();
}

void Exchange::ResponseBegins() {
  if (skips_response_headers_) return End();
  step_ = Step::kResponseHeaders;
  Send(script_.response_headers);
}

void Exchange::OnResponseBody(const Answer& answer) {
  if (!Expect(answer, Answer::Kind::kResponseBody)) return;
  echoed_bytes_ += answer.body.size();
  const bool last = event_ + 1 == script_.events.size();
  if (echoed_bytes_ > script_.event_bytes[event_]) return GiveUp("event of another size");
  if (answer.end_of_stream && (!last || echoed_bytes_ != script_.event_bytes[event_])) {
    return GiveUp("end of stream before the end");
  }
  if (echoed_bytes_ < script_.event_bytes[event_]) return;
  if (last) {
    if (answer.end_of_stream) End();
    return;
  }
  echoed_bytes_ = 0;
  Send(script_.events[++event_]);
}

void Exchange::End() {
  step_ = Step::kEnd;
  observer_.OnSendable(*this);
}

void Exchange::OnClosed(const StreamEnd& end) {
  if (error_.empty()) {
    if (end.connection_lost) {
      error_ = "connection lost";
    } else if (end.grpc_status > 0) {
      error_ = absl::StrCat("grpc-status ", end.grpc_status);
    } else if (end.http2_error != 0) {
      error_ = absl::StrCat("stream reset ", end.http2_error);
    } else if (step_ != Step::kEnd) {
      error_ = "ended early";
    } else if (end.grpc_status < 0) {
      error_ = "no grpc-status";
    }
  }
  running_ = false;
  observer_.OnDone(*this, error_);
}

}  // namespace weir::bench
