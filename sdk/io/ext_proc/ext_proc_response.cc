// The response phase: bodies pass through, counted and with the model's name put back.
#include <algorithm>
#include <charconv>

#include "weir/io/ext_proc/ext_proc_stream.h"
#include "weir/io/ext_proc/header_rules.h"

namespace weir::io {
namespace {

constexpr std::string_view kServedNamespace = "envoy.lb";
constexpr std::string_view kMarkHeader = "x-went-into-resp-headers";
constexpr std::string_view kModelServerError = "ModelServerError";
constexpr int32_t kErrorStatusMin = 400;
constexpr int32_t kServerErrorStatusMin = 500;
// UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS: what HTTP says by
// 5xx.
constexpr std::string_view kServerErrorGrpcStatus[] = {"2", "4", "12", "13", "14", "15"};
// What conformance tests of gateways read; texts and name are theirs.
constexpr std::string_view kServedReportHeader = "x-conformance-test-served-endpoint";

std::string_view ServedReport(std::string_view metadata) {
  if (!HasMetadata(metadata, kServedNamespace)) return "fail: missing envoy lb metadata";
  const MetadataValue served = FindMetadata(metadata, kServedNamespace, kServedHeader);
  return served.kind == MetadataValue::Kind::kString
             ? served.bytes
             : "fail: missing destination endpoint served metadata";
}

}  // namespace

void ExtProcStream::OnResponseHeaders(const ProcessingRequestView& view) {
  if (response_step_ != Step::kNone) return Fail("response headers came twice");
  response_step_ = Step::kHeaders;
  if (!ReadResponseHeaders(view)) return Fail("malformed headers in a ProcessingRequest");
  FollowServedEndpoint(view.metadata);
  if (decision_) core_.router.Record(std::move(decision_));
  SendResponseHeadersAnswer(view.metadata);
  if (view.end_of_stream) OnResponseComplete();
}

bool ExtProcStream::ReadResponseHeaders(const ProcessingRequestView& view) {
  core_.headers.clear();
  // Of more headers than fit, the first ones are looked at; all of them pass.
  if (ReadHeaders(view.headers, &core_.headers) == Code::kInvalidArgument) return false;
  int32_t status = 0;
  for (const Header& header : core_.headers) {
    if (header.name == ":status") {
      const char* begin = header.value.data();
      std::from_chars(begin, begin + header.value.size(), status);
    } else if (header.name == "content-type") {
      if (header.value.find("text/event-stream") != std::string_view::npos) stream_ = true;
    } else if (header.name == "grpc-status" && view.end_of_stream) {
      NoteGrpcStatus(header.value);  // an answer of trailers only
    }
  }
  if (status >= kErrorStatusMin) error_code_ = kModelServerError;
  if (status >= kServerErrorStatusMin) server_failed_ = true;
  return true;
}

void ExtProcStream::NoteGrpcStatus(std::string_view status) {
  if (status == "0") return;
  error_code_ = kModelServerError;
  const auto& failures = kServerErrorGrpcStatus;
  server_failed_ |=
      std::find(std::begin(failures), std::end(failures), status) != std::end(failures);
}

// A proxy that tried a fallback says so: the request then counts on that endpoint.
void ExtProcStream::FollowServedEndpoint(std::string_view metadata) {
  if (!decision_ || !flight_ || metadata.empty()) return;
  const MetadataValue served = FindMetadata(metadata, kServedNamespace, kServedHeader);
  if (served.kind != MetadataValue::Kind::kString) return;
  const std::span<const Target> targets = decision_.targets();
  for (uint32_t i = 1; i < targets.size(); ++i) {
    if (targets[i].address != served.bytes) continue;
    flight_.Finish({}, weir::End::kFailed);
    flight_ = core_.router.Begin(decision_, i);
    return;
  }
}

ModeOverride ExtProcStream::ResponseOverride() const {
  ModeOverride result;
  result.response_headers = HeaderMode::kSend;
  result.request_body = request_mode_;
  result.response_body = BodyMode::kNone;
  result.request_trailers = streamed_request() ? HeaderMode::kSend : HeaderMode::kDefault;
  // A proxy drops a stream of which it expects nothing more; trailers keep it until the response
  // ends, which is when the request stops to count as in flight.
  result.response_trailers = HeaderMode::kSend;
  return result;
}

void ExtProcStream::SendResponseHeadersAnswer(std::string_view metadata) {
  core_.set.clear();
  core_.remove.clear();
  if (core_.options.mark_responses) core_.set.push_back({kMarkHeader, "true"});
  if (core_.router.needs().report_served_endpoint) {
    core_.set.push_back({kServedReportHeader, ServedReport(metadata)});
  }
  for (const Header& header : core_.headers) {
    const HeaderRule rule = RuleOf(header.name);
    if (rule == HeaderRule::kFree) {
      if (core_.options.echo_headers) core_.set.push_back({header.name, header.value});
    } else if (header.name == kServedHeader || header.name == kDestinationHeader) {
      core_.remove.push_back(header.name);
    }
  }
  const ModeOverride override = ResponseOverride();
  SendSmall(core_.writer.Headers(ExtProcPhase::kResponseHeaders,
                                 {.set = core_.set, .remove = core_.remove}, {},
                                 overrides_mode_ ? &override : nullptr));
}

void ExtProcStream::NoteResponseBytes(std::string_view bytes) {
  if (bytes.empty()) return;
  response_bytes_ += bytes.size();
  const int64_t now_ns = core_.clock.now_ns();
  if (first_byte_ns_ == 0) {
    first_byte_ns_ = now_ns;
    if (!server_failed_) flight_.FirstToken();
  } else if (stream_) {
    core_.metrics.OnResponseGap(series_, now_ns - last_byte_ns_);
  }
  last_byte_ns_ = now_ns;
  reader_.Feed(bytes);
}

void ExtProcStream::OnResponseBody(const ProcessingRequestView& view) {
  NoteResponseBytes(view.body);
  const bool whole =
      response_mode_ == BodyMode::kBuffered || response_mode_ == BodyMode::kBufferedPartial;
  if (!holds_response()) {
    SendResponseBodyAnswers(view.body, view.end_of_stream, view.end_of_stream || whole);
  } else if (HoldResponse(view.body, view.end_of_stream) && view.end_of_stream) {
    SendHeldResponse(/*end_of_stream=*/true);
  }
  if (view.end_of_stream && !ended()) OnResponseComplete();
}

// `last`: no further byte follows. False if the stream ended instead.
bool ExtProcStream::HoldResponse(std::string_view bytes, bool last) {
  if (model_filter_.active()) {
    model_filter_.Feed(bytes, last, &held_response_);
  } else {
    held_response_ += bytes;
  }
  if (held_response_.size() <= core_.options.response_body_bytes_max &&
      held_answer_.Set(held_response_.size())) {
    return true;
  }
  Fail("the response body is larger than what may be held", Code::kResourceExhausted);
  return false;
}

void ExtProcStream::SendHeldResponse(bool end_of_stream) {
  response_kept_ = held_response_.size() > kCopiedBodyBytesMax;
  SendStreamedResponse(held_response_, end_of_stream, response_kept_);
}

// `last`: no further byte can change what was held back of the model's name.
void ExtProcStream::SendResponseBodyAnswers(std::string_view received, bool end_of_stream,
                                            bool last) {
  std::string_view bytes = received;
  if (model_filter_.active()) {
    core_.text.clear();
    model_filter_.Feed(received, last, &core_.text);
    bytes = core_.text;
  }
  if (response_mode_ == BodyMode::kFullDuplexStreamed) {
    // All of it was held back: it goes on with a later answer.
    if (bytes.empty() && !received.empty() && !end_of_stream) return;
    return SendStreamedResponse(bytes, end_of_stream, /*is_kept=*/false);
  }
  BodyAnswerFields fields;
  HeaderChange length[1];
  fields.kind = BodyAnswer::kUnchanged;
  if (bytes != received) {
    fields.kind = bytes.empty() ? BodyAnswer::kClear : BodyAnswer::kReplace;
    fields.body_bytes = bytes.size();
    if (response_mode_ == BodyMode::kBuffered) {
      auto& text = core_.length_text;
      const char* end = std::to_chars(text.data(), text.data() + text.size(), bytes.size()).ptr;
      length[0] = {"Content-Length", {text.data(), static_cast<size_t>(end - text.data())}};
      fields.changes.set = length;
    }
  }
  const std::string_view body = fields.kind == BodyAnswer::kReplace ? bytes : std::string_view();
  output_->Send(core_.writer.BodyHead(ExtProcPhase::kResponseBody, fields), body,
                /*body_is_kept=*/false);
}

void ExtProcStream::SendStreamedResponse(std::string_view bytes, bool end_of_stream, bool is_kept) {
  do {
    const std::string_view piece = bytes.substr(0, kAnswerBodyBytesMax);
    bytes.remove_prefix(piece.size());
    const std::string_view head = core_.writer.BodyHead(
        ExtProcPhase::kResponseBody, {.kind = BodyAnswer::kStreamed,
                                      .body_bytes = piece.size(),
                                      .end_of_stream = end_of_stream && bytes.empty()});
    output_->Send(head, piece, is_kept);
  } while (!bytes.empty());
}

void ExtProcStream::OnResponseTrailers(const ProcessingRequestView& view) {
  core_.headers.clear();
  if (ReadHeaders(view.headers, &core_.headers) == Code::kInvalidArgument) {
    return Fail("malformed trailers in a ProcessingRequest");
  }
  for (const Header& trailer : core_.headers) {
    if (trailer.name == "grpc-status") NoteGrpcStatus(trailer.value);
  }
  if (holds_response()) {
    if (!HoldResponse({}, /*last=*/true)) return;
    if (!held_response_.empty()) SendHeldResponse(/*end_of_stream=*/false);
  } else if (model_filter_.active() && response_mode_ == BodyMode::kFullDuplexStreamed) {
    core_.text.clear();
    model_filter_.Feed({}, /*last=*/true, &core_.text);
    if (!core_.text.empty()) {
      SendStreamedResponse(core_.text, /*end_of_stream=*/false, /*is_kept=*/false);
    }
  }
  SendSmall(core_.writer.Trailers(ExtProcPhase::kResponseTrailers));
  OnResponseComplete();
}

void ExtProcStream::OnResponseComplete() {
  response_step_ = Step::kDone;
  if (!response_kept_) ReleaseHeldResponse();
  if (request_step_ != Step::kDone) ReleaseRequest();
  CloseRequest(Cause::kNatural);
}

}  // namespace weir::io
