// weir_intake_...: from the bytes of an HTTP request to a decision.
#include <vector>

#include "absl/strings/str_cat.h"
#include "capi/handles.h"

struct weir_intake {
  weir_intake(const weir_router* of, uint64_t seed)
      : router(weir::capi::Hold(of)), intake(std::in_place, *of->router, seed) {}
  ~weir_intake() {
    intake.reset();
    weir::capi::LetGo(router);
  }
  weir_intake(const weir_intake&) = delete;

  weir_router* const router;
  std::optional<weir::Intake> intake;
  std::vector<weir::Header> headers;  // of the request being read; keeps its memory
};

namespace weir::capi {
namespace {

constexpr uint32_t kHttpFlags =
    WEIR_HTTP_HEADERS_ONLY | WEIR_HTTP_MODEL_OPTIONAL | WEIR_HTTP_SUBSET;
constexpr std::string_view kNoData = "a size without data";

weir_code Check(const weir_http_request* request, const weir_http_result* result,
                weir_buffer* error) {
  if (request == nullptr) return Refuse(error, "request", "null");
  if (!IsKnownSize(request->struct_size, sizeof(weir_http_request), sizeof(weir_http_request))) {
    return RefuseSize(error, "weir_http_request", request->struct_size, sizeof(weir_http_request));
  }
  if (result != nullptr &&
      !IsKnownSize(result->struct_size, sizeof(weir_http_result), sizeof(weir_http_result))) {
    return RefuseSize(error, "weir_http_result", result->struct_size, sizeof(weir_http_result));
  }
  if ((request->flags & ~kHttpFlags) != 0) return Refuse(error, "flags", "unknown bits");
  if (!IsValid(request->path)) return Refuse(error, "path", kNoData);
  if (!IsValid(request->body)) return Refuse(error, "body", kNoData);
  if (!IsValid(request->subset)) return Refuse(error, "subset", kNoData);
  if (request->headers == nullptr && request->header_count != 0) {
    return Refuse(error, "headers", "null");
  }
  if (request->header_count > kHeadersMax) {
    return Fail(error, WEIR_OUT_OF_RANGE,
                absl::StrCat("headers: ", request->header_count, " of them, expected at most ",
                             kHeadersMax));
  }
  for (uint64_t i = 0; i < request->header_count; ++i) {
    if (!IsValid(request->headers[i].name) || !IsValid(request->headers[i].value)) {
      return Refuse(error, absl::StrCat("headers[", i, "]"), kNoData);
    }
  }
  return WEIR_OK;
}

void ToC(const IntakeResult& from, weir_http_result* result) {
  if (result == nullptr) return;
  result->flags = 0;
  if (from.stream) result->flags |= WEIR_HTTP_STREAM;
  if (from.body_changed) result->flags |= WEIR_HTTP_BODY_CHANGED;
  result->parser = Str(from.parser);
  result->incoming_model = Str(from.incoming_model);
  result->target_model = Str(from.target_model);
  for (size_t i = 0; i < from.body.size(); ++i) result->body[i] = Str(from.body[i]);
}

weir_code Decide(weir_intake& intake, const weir_http_request* request, weir_decision& decision,
                 weir_http_result* result, weir_buffer* error) {
  if (const weir_code code = Check(request, result, error); code != WEIR_OK) return code;
  intake.headers.clear();
  for (uint64_t i = 0; i < request->header_count; ++i) {
    intake.headers.push_back({View(request->headers[i].name), View(request->headers[i].value)});
  }
  const std::string_view subset = View(request->subset);
  IntakeInput input = {.headers = intake.headers,
                       .path = View(request->path),
                       .body = View(request->body),
                       .padding_bytes = request->padding_bytes,
                       .model_optional = (request->flags & WEIR_HTTP_MODEL_OPTIONAL) != 0};
  if ((request->flags & WEIR_HTTP_SUBSET) != 0) {
    input.subset.emplace(&subset, subset.empty() ? 0 : 1);
  }
  Request read;
  IntakeResult found;
  if ((request->flags & WEIR_HTTP_HEADERS_ONLY) != 0) {
    intake.intake->ReadHeadersOnly(input, &read, &found);
  } else if (const absl::Status status = intake.intake->Read(input, &read, &found); !status.ok()) {
    return Fail(error, status);
  }
  ToC(found, result);
  return DecideInto(*intake.router, read, decision, error);
}

}  // namespace
}  // namespace weir::capi

using weir::capi::Guarded;
using weir::capi::Refuse;

weir_code weir_intake_create(const weir_router* router, uint64_t seed, weir_intake** intake,
                             weir_buffer* error) {
  if (intake == nullptr) return Refuse(error, "intake", "null");
  *intake = nullptr;
  if (router == nullptr) return Refuse(error, "router", "null");
  return Guarded(error, [&] {
    *intake = new weir_intake(router, seed);
    return WEIR_OK;
  });
}

void weir_intake_destroy(weir_intake** intake) {
  if (intake != nullptr) delete std::exchange(*intake, nullptr);
}

weir_code weir_intake_decide(weir_intake* intake, const weir_http_request* request,
                             weir_decision* decision, weir_http_result* result,
                             weir_buffer* error) {
  if (intake == nullptr) return Refuse(error, "intake", "null");
  if (decision == nullptr) return Refuse(error, "decision", "null");
  return Guarded(error, [&] {
    weir_decision_release(decision);
    return weir::capi::Decide(*intake, request, *decision, result, error);
  });
}
