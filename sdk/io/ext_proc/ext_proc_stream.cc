#include "weir/io/ext_proc/ext_proc_stream.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "weir/io/ext_proc/header_rules.h"

namespace weir::io {
namespace {

// Readable bytes behind a body, so that its parser needs no copy.
constexpr uint64_t kBodyPaddingBytes = 64;
// Elements and bytes of a subset hint.
constexpr size_t kSubsetElementsMax = kEndpointsMax;
constexpr size_t kSubsetBytesMax = 256u << 10;

// What an idle stream keeps of each of its texts and lists.
constexpr size_t kKeptTextBytesMax = 4096;

// Errors as metrics name them.
constexpr std::string_view kUnknown = "Unknown";
constexpr std::string_view kResourceExhausted = "ResourceExhausted";

constexpr std::string_view kSubsetNamespace = "envoy.lb.subset_hint";

template <class Container>
void Clear(Container* container) {
  container->clear();
  const size_t bytes = container->capacity() * sizeof(typename Container::value_type);
  if (bytes > kKeptTextBytesMax) container->shrink_to_fit();
}

int64_t TokensOf(const std::optional<uint64_t>& tokens) {
  return tokens ? static_cast<int64_t>(std::min<uint64_t>(*tokens, INT64_MAX)) : -1;
}

}  // namespace

void ExtProcStream::Begin(ExtProcOutput& output) {
  output_ = &output;
  began_ns_ = core_.clock.now_ns();
  core_.metrics.OnStreamBegin();
}

// Ready for Begin(). What is kept for the transport stays.
void ExtProcStream::Reset() {
  ReleaseRequest();
  content_length_ = 0;
  decision_ = Decision();
  reader_ = ResponseReader(ResponseFormat::kOpenAi);
  model_filter_.Start({}, {});
  if (!response_kept_) ReleaseHeldResponse();
  series_ = ExtProcMetrics::kNoRequest;
  error_code_ = {};
  headers_ns_ = first_byte_ns_ = last_byte_ns_ = 0;
  response_bytes_ = 0;
  request_mode_ = response_mode_ = BodyMode::kFullDuplexStreamed;
  request_step_ = response_step_ = Step::kNone;
  request_ended_ = with_trailers_ = body_came_ = stream_ = server_failed_ = routed_ = false;
  skip_response_ = overrides_mode_ = closed_ = false;
}

void ExtProcStream::OnMessage(std::string_view message) {
  if (ended()) return;
  ProcessingRequestView view;
  if (ReadProcessingRequest(message, &view) != Code::kOk) {
    return Fail("malformed ProcessingRequest");
  }
  // Nobody reads the answers of an observing stream, so there is nothing to decide.
  if (view.observability_mode) return FinishWith(Cause::kNatural, Code::kOk, {});
  if (view.has_protocol_config && request_step_ == Step::kNone && response_step_ == Step::kNone) {
    request_mode_ = view.request_body_mode;
    response_mode_ = view.response_body_mode;
    if (request_mode_ == BodyMode::kGrpc || response_mode_ == BodyMode::kGrpc) {
      return Fail("body send mode GRPC is not supported, expected FULL_DUPLEX_STREAMED",
                  Code::kUnimplemented);
    }
  }
  switch (view.phase) {
    case ExtProcPhase::kNone:
      return Fail("a ProcessingRequest without headers, body or trailers");
    case ExtProcPhase::kRequestHeaders:
    case ExtProcPhase::kRequestBody:
    case ExtProcPhase::kRequestTrailers:
      return OnRequestMessage(view);
    default:
      return OnResponseMessage(view);
  }
}

void ExtProcStream::OnRequestMessage(const ProcessingRequestView& view) {
  // The proxy answered in the server's place: nobody waits for a decision any more.
  if (closed_ && request_step_ != Step::kDone) return;
  const bool was_decided = request_step_ == Step::kDone;
  const int64_t begin_ns = core_.clock.now_ns();
  if (view.phase == ExtProcPhase::kRequestHeaders) {
    OnRequestHeaders(view);
  } else if (request_step_ == Step::kNone) {
    return Fail(view.phase == ExtProcPhase::kRequestBody
                    ? "a request body came before the request's headers"
                    : "request trailers came before the request's headers");
  } else if (view.phase == ExtProcPhase::kRequestBody) {
    OnRequestBody(view);
  } else {
    OnRequestTrailers();
  }
  if (!was_decided && (ended() || request_step_ == Step::kDone)) {
    core_.metrics.OnRequestProcessed(core_.clock.now_ns() - begin_ns);
  }
}

void ExtProcStream::OnResponseMessage(const ProcessingRequestView& view) {
  const int64_t begin_ns = core_.clock.now_ns();
  if (view.phase == ExtProcPhase::kResponseHeaders) {
    OnResponseHeaders(view);
  } else if (response_step_ == Step::kNone) {
    return Fail(view.phase == ExtProcPhase::kResponseBody
                    ? "a response body came before the response's headers"
                    : "response trailers came before the response's headers");
  } else if (response_step_ == Step::kDone) {
    return;
  } else if (view.phase == ExtProcPhase::kResponseBody) {
    OnResponseBody(view);
  } else {
    OnResponseTrailers(view);
  }
  core_.metrics.OnResponseProcessed(core_.clock.now_ns() - begin_ns);
}

void ExtProcStream::OnRequestHeaders(const ProcessingRequestView& view) {
  if (request_step_ != Step::kNone) return Fail("request headers came twice");
  request_step_ = Step::kHeaders;
  request_ended_ = view.end_of_stream;
  headers_ns_ = core_.clock.now_ns();
  if (!KeepHeaders(view.headers)) return;
  KeepSubset(view.metadata);
  if (ended()) return;
  const bool body_comes =
      request_mode_ == BodyMode::kFullDuplexStreamed || request_mode_ == BodyMode::kBuffered;
  if (view.end_of_stream || !body_comes) return Decide(/*headers_only=*/true);
  if (content_length_ > core_.options.request_body_bytes_max) {
    RefuseBody();
    return;
  }
  // The proxy sends a buffered body only when it knows what becomes of the headers.
  if (!streamed_request()) SendSmall(core_.writer.Headers(ExtProcPhase::kRequestHeaders, {}));
}

bool ExtProcStream::KeepHeaders(std::string_view header_map) {
  Code code = Code::kResourceExhausted;
  if (header_map.size() <= kHeaderBytesMax) {
    if (!Hold(BufferPool::CapacityFor(header_map.size()), 0)) {
      RefuseForMemory();
      return false;
    }
    header_bytes_ = core_.buffers.Acquire(header_map.size());
    std::copy(header_map.begin(), header_map.end(), header_bytes_.data());
    code = ReadHeaders({header_bytes_.data(), header_map.size()}, &headers_);
  }
  if (code == Code::kInvalidArgument) {
    Fail("malformed headers in a ProcessingRequest");
    return false;
  }
  if (code != Code::kOk) {
    RefuseWith(431, "RequestHeaderFieldsTooLarge", "the request has too many or too large headers");
    return false;
  }
  for (const Header& header : headers_) {
    // The name lies in header_bytes_, which is this stream's own.
    LowerCase(const_cast<char*>(header.name.data()), header.name.size());
    if (header.name != "content-length") continue;
    const char* end = header.value.data() + header.value.size();
    if (std::from_chars(header.value.data(), end, content_length_).ptr != end) content_length_ = 0;
  }
  return true;
}

// A hint with a later message replaces that of an earlier one.
void ExtProcStream::KeepSubset(std::string_view metadata) {
  if (metadata.empty() || core_.options.ignore_subset) return;
  const MetadataValue hint = FindMetadata(metadata, kSubsetNamespace, kSubsetKey);
  const bool is_text = hint.kind == MetadataValue::Kind::kString && !hint.bytes.empty();
  if (!is_text && hint.kind != MetadataValue::Kind::kList) return;
  has_subset_ = true;
  subset_text_.clear();
  subset_ends_.clear();
  bool fits = hint.bytes.size() <= kSubsetBytesMax;
  const auto add = [&](std::string_view text) {
    fits = fits && subset_ends_.size() < kSubsetElementsMax;
    if (!fits) return;
    subset_text_ += text;
    subset_ends_.push_back(static_cast<uint32_t>(subset_text_.size()));
  };
  if (is_text) {
    add(hint.bytes);
  } else {
    ForEachInList(hint.bytes, [&](const MetadataValue& element) {
      if (element.kind == MetadataValue::Kind::kString) add(element.bytes);
    });
  }
  if (!fits) return RefuseWith(400, "BadRequest", "the subset hint is too large");
  if (!HoldBody(body_.capacity_bytes())) RefuseForMemory();
}

void ExtProcStream::OnRequestBody(const ProcessingRequestView& view) {
  if (request_step_ == Step::kDone) {
    // A body that the decision did not wait for. After its end there may be a duplicate of it.
    if (!streamed_request() && !request_ended_) {
      request_ended_ = view.end_of_stream;
      SendSmall(
          core_.writer.BodyHead(ExtProcPhase::kRequestBody, {.kind = BodyAnswer::kUnchanged}));
    }
    return;
  }
  request_ended_ = view.end_of_stream;
  body_came_ = true;
  KeepSubset(view.metadata);
  if (ended() || !AppendBody(view.body)) return;
  if (view.end_of_stream || !streamed_request()) Decide(/*headers_only=*/false);
}

void ExtProcStream::OnRequestTrailers() {
  if (request_ended_) return;
  request_ended_ = with_trailers_ = true;
  if (request_step_ != Step::kDone) {
    if (!streamed_request()) return Fail("request trailers came without a body, in BUFFERED mode");
    Decide(/*headers_only=*/false);
  }
  if (ended()) return;
  SendSmall(core_.writer.Trailers(ExtProcPhase::kRequestTrailers));
  if (skip_response_) FinishWith(Cause::kNatural, Code::kOk, {});
}

void ExtProcStream::RefuseBody() {
  core_.text.assign("the request body is larger than ");
  core_.text += std::to_string(core_.options.request_body_bytes_max);
  core_.text += " bytes";
  RefuseWith(413, "PayloadTooLarge", core_.text);
}

void ExtProcStream::RefuseForMemory() {
  RefuseWith(429, kResourceExhausted, "too many requests are waiting", "rejected-saturated");
}

bool ExtProcStream::AppendBody(std::string_view bytes) {
  if (bytes.empty()) return true;
  if (bytes.size() > core_.options.request_body_bytes_max - body_bytes_) {
    RefuseBody();
    return false;
  }
  const uint64_t capacity = CapacityFor(body_bytes_ + bytes.size() + kBodyPaddingBytes);
  if (!HoldBody(capacity)) {
    RefuseForMemory();
    return false;
  }
  GrowBody(capacity);
  std::memcpy(body_.data() + body_bytes_, bytes.data(), bytes.size());
  body_bytes_ += bytes.size();
  return true;
}

// What body_ should have room for, to hold `body_bytes` and soon more.
uint64_t ExtProcStream::CapacityFor(uint64_t body_bytes) const {
  if (body_bytes <= body_.capacity_bytes()) return body_.capacity_bytes();
  const uint64_t promised = content_length_ + kBodyPaddingBytes;
  return BufferPool::CapacityFor(
      std::max(body_bytes, std::min(promised, kBodyReserveFactor * body_bytes)));
}

// Counts what the request holds with buffers of these sizes. False above the process's limit.
bool ExtProcStream::Hold(uint64_t header_capacity, uint64_t body_capacity) {
  const uint64_t subset_bytes = subset_text_.size() + subset_ends_.size() * sizeof(uint32_t);
  return held_request_.Set(header_capacity + subset_bytes + body_capacity);
}

void ExtProcStream::GrowBody(uint64_t capacity) {
  if (!body_) {
    body_ = core_.buffers.Acquire(capacity);
  } else if (capacity > body_.capacity_bytes()) {
    body_.Grow(capacity, body_bytes_);
  }
}

// All that the request brought but the body that the transport reads.
void ExtProcStream::ReleaseRequest() {
  header_bytes_.Release();
  headers_.clear();
  Clear(&subset_text_);
  Clear(&subset_ends_);
  has_subset_ = false;
  if (body_kept_) {
    (void)HoldBody(body_.capacity_bytes());  // less than before
  } else {
    ReleaseBody();
  }
}

void ExtProcStream::ReleaseBody() {
  body_.Release();
  body_bytes_ = 0;
  body_kept_ = false;
  (void)HoldBody(0);
}

void ExtProcStream::ReleaseHeldResponse() {
  Clear(&held_response_);
  response_kept_ = false;
  (void)held_answer_.Set(0);
}

void ExtProcStream::OnSent() {
  if (body_kept_) ReleaseBody();
  if (response_kept_) ReleaseHeldResponse();
}

void ExtProcStream::OnPeerDone() {
  if (!ended()) FinishWith(CauseOfEnd(Cause::kError), Code::kOk, {});
}

void ExtProcStream::OnCancel(bool client_gone, Code code) {
  const Cause cause = CauseOfEnd(client_gone ? Cause::kClientGone : Cause::kError);
  if (cause == Cause::kError && error_code_.empty()) {
    error_code_ = code == Code::kResourceExhausted ? kResourceExhausted : kUnknown;
  }
  End(cause, code);
}

ExtProcStream::Cause ExtProcStream::CauseOfEnd(Cause otherwise) const {
  return response_step_ == Step::kDone || expects_no_body() ? Cause::kNatural : otherwise;
}

void ExtProcStream::Fail(std::string_view text, Code code) {
  if (error_code_.empty()) error_code_ = kUnknown;
  FinishWith(Cause::kError, code, text);
}

void ExtProcStream::FinishWith(Cause cause, Code code, std::string_view text) {
  output_->Finish(code, text);
  End(cause, code);
}

// The one place where streams end.
void ExtProcStream::End(Cause cause, Code code) {
  if (ended()) return;
  output_ = nullptr;
  CloseRequest(cause);
  if (!error_code_.empty()) core_.metrics.OnRequestError(series_, error_code_);
  core_.metrics.OnStreamEnd(static_cast<uint32_t>(code), core_.clock.now_ns() - began_ns_);
  Reset();
}

// Writes what is known of the response; once.
void ExtProcStream::CloseRequest(Cause cause) {
  if (closed_) return;
  closed_ = true;
  const ResponseUsage& usage = reader_.usage();
  ResponseRecord record;
  record.prompt_tokens = TokensOf(usage.prompt_tokens);
  record.cached_tokens = TokensOf(usage.cached_tokens);
  record.output_tokens = TokensOf(usage.completion_tokens);
  if (flight_) {
    weir::End how = weir::End::kFailed;
    if (cause == Cause::kClientGone) how = weir::End::kClientGone;
    if (cause == Cause::kNatural && !server_failed_) how = weir::End::kCompleted;
    flight_.Finish({.prompt_tokens = record.prompt_tokens,
                    .cached_tokens = record.cached_tokens,
                    .output_tokens = record.output_tokens},
                   how);
  }
  if (decision_) core_.router.Record(std::move(decision_));
  if (!routed_ && response_step_ == Step::kNone) return;
  record.routed = routed_;
  record.streaming = stream_;
  record.complete = cause == Cause::kNatural;
  record.response_bytes = response_bytes_;
  if (headers_ns_ != 0) {
    record.duration_ns = core_.clock.now_ns() - headers_ns_;
    if (first_byte_ns_ != 0) record.first_byte_ns = first_byte_ns_ - headers_ns_;
  }
  core_.metrics.OnRequestEnd(series_, record);
}

}  // namespace weir::io
