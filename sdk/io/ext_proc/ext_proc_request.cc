// The request phase: from the whole request to the decision and its answers.
#include <algorithm>
#include <charconv>
#include <cstring>

#include "weir/io/ext_proc/ext_proc_stream.h"
#include "weir/io/ext_proc/header_rules.h"

namespace weir::io {
namespace {

constexpr std::string_view kDestinationNamespace = "envoy.lb";
constexpr std::string_view kContentLength = "Content-Length";  // as llm-d's picker writes it
constexpr std::string_view kDefaultFairnessId = "default-flow";

struct HttpError {
  uint32_t http_code = 0;  // 0: no HTTP answer for it
  std::string_view name;
  std::string_view drop_reason;
};

HttpError HttpErrorOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
      return {400, "BadRequest", {}};
    case absl::StatusCode::kUnauthenticated:
      return {401, "Unauthorized", {}};
    case absl::StatusCode::kPermissionDenied:
      return {403, "Forbidden", {}};
    case absl::StatusCode::kNotFound:
      return {404, "NotFound", {}};
    case absl::StatusCode::kFailedPrecondition:
      return {412, "PreconditionFailed", {}};
    case absl::StatusCode::kOutOfRange:
      return {413, "PayloadTooLarge", {}};
    case absl::StatusCode::kResourceExhausted:
      return {429, "ResourceExhausted", "rejected-saturated"};
    case absl::StatusCode::kInternal:
      return {500, "Internal", {}};
    case absl::StatusCode::kUnavailable:
      return {503, "ServiceUnavailable", "rejected-no-endpoints"};
    default:
      return {};
  }
}

// A random UUID, version 4.
void WriteUuid(Random& random, char* out) {
  static constexpr char kDigits[] = "0123456789abcdef";
  uint64_t bits = 0;
  for (uint32_t i = 0; i < 36; ++i) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      out[i] = '-';
      continue;
    }
    if (i == 0 || i == 19) bits = random.NextBits();
    uint64_t digit = bits & 15;
    bits >>= 4;
    if (i == 14) digit = 4;
    if (i == 19) digit = 8 | (digit & 3);
    out[i] = kDigits[digit];
  }
}

}  // namespace

void ExtProcStream::Decide(bool headers_only) {
  request_step_ = Step::kDone;
  if (const absl::Status status = ReadRequest(headers_only); !status.ok()) {
    return Refuse(status, headers_only);
  }
  const int64_t decide_ns = core_.clock.now_ns();
  absl::StatusOr<Decision> decision = core_.router.Decide(core_.request);
  const Target* target = decision.ok() ? &decision->primary() : nullptr;
  core_.metrics.OnDecision(target != nullptr, core_.intake_result.target_model,
                           target != nullptr ? target->name : std::string_view(),
                           target != nullptr ? target->address : std::string_view(),
                           core_.clock.now_ns() - decide_ns);
  if (target == nullptr) return Refuse(decision.status(), headers_only);
  decision_ = *std::move(decision);
  OnRouted();
}

absl::Status ExtProcStream::ReadRequest(bool headers_only) {
  IntakeInput input;
  input.headers = headers_;
  if (body_) input.body = {body_.data(), body_bytes_};
  input.padding_bytes = body_ ? body_.capacity_bytes() - body_bytes_ : 0;
  if (has_subset_) {
    core_.subset.clear();
    uint32_t begin = 0;
    for (const uint32_t end : subset_ends_) {
      core_.subset.push_back(std::string_view(subset_text_).substr(begin, end - begin));
      begin = end;
    }
    input.subset = core_.subset;
  }
  absl::Status status;
  if (headers_only) {
    core_.intake.ReadHeadersOnly(input, &core_.request, &core_.intake_result);
  } else {
    status = core_.intake.Read(input, &core_.request, &core_.intake_result);
  }
  const IntakeResult& result = core_.intake_result;
  const std::string_view fairness_id = core_.request.fairness_id;
  series_ =
      core_.metrics.SeriesOf({.model = result.incoming_model,
                              .target_model = result.target_model,
                              .fairness_id = fairness_id.empty() ? kDefaultFairnessId : fairness_id,
                              .priority = core_.request.priority});
  if (status.ok()) NameRequest();
  return status;
}

void ExtProcStream::NameRequest() {
  if (!core_.request.id.empty()) return;
  WriteUuid(core_.random, request_id_);
  core_.request.id = {request_id_, sizeof request_id_};
}

void ExtProcStream::Refuse(const absl::Status& status, bool headers_only) {
  const std::string_view message(status.message().data(), status.message().size());
  if (headers_only && status.code() == absl::StatusCode::kUnavailable &&
      core_.options.empty_pool_internal_error) {
    return RefuseWith(500, "Internal", "no pods available in datastore");
  }
  const HttpError error = HttpErrorOf(status.code());
  if (error.http_code != 0) {
    return RefuseWith(error.http_code, error.name, message, error.drop_reason);
  }
  core_.text.assign("failed to handle request: ").append(message);
  Fail(core_.text, Code::kUnknown);
}

void ExtProcStream::RefuseWith(uint32_t http_code, std::string_view code_name,
                               std::string_view message, std::string_view drop_reason) {
  const HeaderChange reason[] = {{kDropReasonHeader, drop_reason}};
  std::string body("inference error: ");
  body.append(code_name).append(" - ").append(message);
  SendSmall(core_.writer.Immediate(
      http_code,
      drop_reason.empty() ? std::span<const HeaderChange>() : std::span<const HeaderChange>(reason),
      body));
  error_code_ = code_name;
  FinishWith(Cause::kError, Code::kOk, {});
}

// Everything after a decision: what the engine must know, and the answers.
void ExtProcStream::OnRouted() {
  const IntakeResult& result = core_.intake_result;
  const bool body_changed = result.body_changed;
  // Before anything is begun: there may be no room for the new body.
  if (body_changed && !HoldBody(CapacityFor(result.body_bytes()))) return RefuseForMemory();
  flight_ = core_.router.Begin(decision_);
  decision_.ReleaseRequest();
  routed_ = true;
  stream_ = result.stream;
  skip_response_ = result.skip_response;
  reader_ = ResponseReader(result.response_format);
  if (std::max(result.target_model.size(), result.incoming_model.size()) <= kNameBytesMax) {
    model_filter_.Start(result.target_model, result.incoming_model);
  }
  overrides_mode_ =
      core_.options.skip_response_bodies && !model_filter_.active() && !skip_response_;
  const uint64_t request_bytes = body_bytes_;
  if (body_changed) SpliceBody();
  if (body_came_ && !streamed_request()) {
    SendWholeBodyAnswer(body_changed);
  } else {
    SendRequestHeadersAnswer(/*sets_length=*/body_bytes_ > 0);
    // An empty body is answered if it has an end: with trailers nobody waits for it.
    if (body_bytes_ > 0 || (body_came_ && !with_trailers_)) {
      SendRequestBodyAnswers(/*end_of_stream=*/!with_trailers_);
    }
  }
  ReleaseRequest();
  // Only a fallback that takes over needs the decision again.
  if (decision_.targets().size() == 1) core_.router.Record(std::move(decision_));
  core_.metrics.OnRequestRouted(series_, request_bytes);
  if (skip_response_ && !with_trailers_) FinishWith(Cause::kNatural, Code::kOk, {});
}

// Puts the model's new value into the body.
void ExtProcStream::SpliceBody() {
  const auto& pieces = core_.intake_result.body;
  const uint64_t begin = pieces[0].size();
  const uint64_t tail = pieces[2].size();
  const uint64_t old_size = body_bytes_ - begin - tail;
  const uint64_t size = core_.intake_result.body_bytes();
  GrowBody(CapacityFor(size));
  char* value = body_.data() + begin;
  std::memmove(value + pieces[1].size(), value + old_size, tail);
  std::memcpy(value, pieces[1].data(), pieces[1].size());
  body_bytes_ = size;
}

bool ExtProcStream::IsSet(std::string_view name) const {
  return std::any_of(core_.set.begin(), core_.set.end(),
                     [name](const HeaderChange& change) { return change.name == name; });
}

void ExtProcStream::ListHeaderChanges(bool sets_length) {
  core_.set.clear();
  core_.remove.clear();
  const std::span<const Header> decided = decision_.headers();
  core_.set.push_back({kDestinationHeader, decided[0].value});
  if (sets_length) {
    auto& text = core_.length_text;
    const char* end = std::to_chars(text.data(), text.data() + text.size(), body_bytes_).ptr;
    core_.set.push_back({kContentLength, {text.data(), static_cast<size_t>(end - text.data())}});
  }
  for (const Header& header : decided.subspan(1)) core_.set.push_back({header.name, header.value});
  const std::string_view id = core_.request.id;
  if (id.data() == request_id_) core_.set.push_back({kRequestIdHeader, id});
  if (core_.options.echo_headers) ListEchoes();
  ListRemovals();
}

// All headers of the request that anybody may set, each once with its last value.
void ExtProcStream::ListEchoes() {
  for (size_t i = headers_.size(); i-- > 0;) {
    const Header& header = headers_[i];
    if (RuleOf(header.name) != HeaderRule::kFree || IsSet(header.name)) continue;
    core_.set.push_back({header.name, header.value});
  }
}

// What a client may tell the picker, or must not tell the server, stays behind.
void ExtProcStream::ListRemovals() {
  for (const Header& header : headers_) {
    const HeaderRule rule = RuleOf(header.name);
    if (rule == HeaderRule::kFree || header.name == "content-length" || IsSet(header.name))
      continue;
    if (std::find(core_.remove.begin(), core_.remove.end(), header.name) == core_.remove.end()) {
      core_.remove.push_back(header.name);
    }
  }
}

void ExtProcStream::ListMetadata() {
  core_.metadata.clear();
  core_.metadata.push_back({.name_space = kDestinationNamespace,
                            .key = kDestinationHeader,
                            .text = decision_.headers()[0].value});
  if (!core_.options.emit_scores) return;
  core_.explanation = decision_.explanation();
  core_.scores.clear();
  for (const Explanation::Profile& profile : core_.explanation.profiles) {
    if (!profile.primary || profile.scorers.empty()) continue;
    for (const Explanation::EndpointRow& row : profile.endpoints) {
      if (row.dropped_by.empty()) core_.scores.push_back({row.address, row.total});
    }
  }
  if (core_.scores.empty()) return;
  core_.metadata.push_back({.name_space = kDestinationNamespace,
                            .key = kScoresHeader,
                            .kind = MetadataEntry::Kind::kNumbers,
                            .numbers = core_.scores});
}

void ExtProcStream::SendRequestHeadersAnswer(bool sets_length) {
  ListHeaderChanges(sets_length);
  ListMetadata();
  const ModeOverride override = ResponseOverride();
  SendSmall(
      core_.writer.Headers(ExtProcPhase::kRequestHeaders,
                           {.set = core_.set, .remove = core_.remove, .clear_route_cache = true},
                           core_.metadata, overrides_mode_ ? &override : nullptr));
}

void ExtProcStream::SendRequestBodyAnswers(bool end_of_stream) {
  body_kept_ = body_bytes_ > kCopiedBodyBytesMax;
  std::string_view rest;
  if (body_) rest = {body_.data(), body_bytes_};
  do {
    const std::string_view piece = rest.substr(0, kAnswerBodyBytesMax);
    rest.remove_prefix(piece.size());
    const std::string_view head = core_.writer.BodyHead(
        ExtProcPhase::kRequestBody, {.kind = BodyAnswer::kStreamed,
                                     .body_bytes = piece.size(),
                                     .end_of_stream = end_of_stream && rest.empty()});
    output_->Send(head, piece, body_kept_);
  } while (!rest.empty());
}

// In buffered mode the proxy holds headers and body, and the answer to the body changes both.
void ExtProcStream::SendWholeBodyAnswer(bool body_changed) {
  ListHeaderChanges(/*sets_length=*/body_changed);
  ListMetadata();
  BodyAnswerFields fields;
  fields.kind = body_changed ? BodyAnswer::kReplace : BodyAnswer::kUnchanged;
  fields.body_bytes = body_changed ? body_bytes_ : 0;
  fields.changes = {.set = core_.set, .remove = core_.remove, .clear_route_cache = true};
  fields.metadata = core_.metadata;
  body_kept_ = fields.body_bytes > kCopiedBodyBytesMax;
  output_->Send(core_.writer.BodyHead(ExtProcPhase::kRequestBody, fields),
                {body_.data(), static_cast<size_t>(fields.body_bytes)}, body_kept_);
}

}  // namespace weir::io
