// Intake: path, headers and body of a request become what Decide needs and what goes upstream.
#include "weir/intake.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/engine.h"
#include "weir/random.h"
#include "weir/resources.h"
#include "wire/body_reader.h"
#include "wire/json_string.h"
#include "wire/parsers.h"

namespace weir {
namespace {

// Headers that are read, each with the name it had before.
enum Field : uint32_t {
  kPath,
  kOriginalPath,
  kForwardedPath,
  kRequestId,
  kObjective,
  kFairnessId,
  kModelRewrite,
  kPrefer,
  kFieldCount,
};
struct Name {
  std::string_view name, old_name;
};
constexpr Name kNames[kFieldCount] = {
    {":path", ""},
    {"x-original-path", ""},
    {"x-forwarded-path", ""},
    {"x-request-id", ""},
    {"x-llm-d-inference-objective", "x-gateway-inference-objective"},
    {"x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id"},
    {"x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite"},
    {"prefer", ""},
};
constexpr std::string_view kDefaultPath = "/v1/completions";
constexpr std::string_view kIfAvailable = "if-available";

struct HeaderValues {
  std::string_view values[kFieldCount];
  std::string_view operator[](Field field) const { return values[field]; }
};

// The last value of each; the new name goes before the old one, even with an empty value.
HeaderValues ReadHeaders(std::span<const Header> headers) {
  HeaderValues found;
  bool is_new[kFieldCount] = {};
  for (const Header& header : headers) {
    if (header.name.empty()) continue;
    const char first = header.name[0];
    if (first != 'x' && first != 'p' && first != ':') continue;
    for (uint32_t field = 0; field < kFieldCount; ++field) {
      if (header.name == kNames[field].name) {
        is_new[field] = true;
      } else if (is_new[field] || header.name != kNames[field].old_name) {
        continue;
      }
      found.values[field] = header.value;
      break;
    }
  }
  return found;
}

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

bool EqualsIgnoringCase(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c) != lower[i]) return false;
  }
  return true;
}

// Whether a Prefer header (RFC 7240) holds the preference; its parameters do not count.
bool Prefers(std::string_view value, std::string_view preference) {
  while (!value.empty()) {
    const size_t comma = value.find(',');
    const std::string_view one = value.substr(0, comma);
    if (EqualsIgnoringCase(Trimmed(one.substr(0, one.find_first_of(";="))), preference)) {
      return true;
    }
    if (comma == std::string_view::npos) return false;
    value.remove_prefix(comma + 1);
  }
  return false;
}

std::string_view PathOf(std::string_view given, const HeaderValues& headers) {
  for (const std::string_view path :
       {given, headers[kPath], headers[kOriginalPath], headers[kForwardedPath]}) {
    if (!path.empty()) return path;
  }
  return kDefaultPath;
}

}  // namespace

struct Intake::State {
  State(const Router& router_in, const internal::PipelineSpec& spec, uint64_t seed)
      : router(router_in), resources(router.resources()), random(seed) {
    for (const uint32_t plugin : spec.parsers) {
      const internal::ParserType* type = internal::FindParserType(spec.plugins[plugin].type);
      if (type != nullptr) parsers.push_back(type);
      if (type != nullptr && type->claims.empty())
        break;  // takes what comes; the rest is not asked
    }
  }

  HeaderValues ReadHead(const IntakeInput& input, Request* request, IntakeResult* result);
  absl::Status RewriteModel(const IntakeInput& input, const internal::ModelPlace& place,
                            std::string_view asked, Request* request, IntakeResult* result);

  const Router router;  // keeps the engine
  ResourceReader resources;
  Random random;
  std::vector<const internal::ParserType*> parsers;  // in the order they are asked
  internal::BodyReader reader;
  std::string replacement;  // what stands where the model's value was
};

Intake::Intake(const Router& router, uint64_t seed)
    : state_(std::make_unique<State>(
          router, router.engine_->pipeline().spec,
          seed != 0 ? seed : static_cast<uint64_t>(router.engine_->clock().now_ns()))) {}
Intake::~Intake() = default;
Intake::Intake(Intake&&) noexcept = default;
Intake& Intake::operator=(Intake&&) noexcept = default;

HeaderValues Intake::State::ReadHead(const IntakeInput& input, Request* request,
                                     IntakeResult* result) {
  const HeaderValues headers = ReadHeaders(input.headers);
  const ResourceTable& table = resources.table();
  *result = {};
  request->headers = input.headers;
  request->id = headers[kRequestId];
  request->objective = headers[kObjective];
  request->fairness_id = headers[kFairnessId];
  request->priority =
      request->objective.empty() ? 0 : table.Priority(request->objective).value_or(0);
  request->subset = input.subset;
  request->if_available = Prefers(headers[kPrefer], kIfAvailable);
  request->any_endpoint = false;
  request->incoming_model = {};
  return headers;
}

void Intake::ReadHeadersOnly(const IntakeInput& input, Request* request, IntakeResult* result) {
  state_->ReadHead(input, request, result);
  internal::ModelPlace place;
  (void)state_->reader.Read(internal::BodyFormat::kRaw, Api::kOther, {}, 0, request, &place);
  request->any_endpoint = true;
  request->if_available = false;  // there is no prompt to hold
}

absl::Status Intake::Read(const IntakeInput& input, Request* request, IntakeResult* result) {
  const HeaderValues headers = state_->ReadHead(input, request, result);
  const std::string_view path = internal::CleanPath(PathOf(input.path, headers));
  const internal::ParserChoice parser = internal::ChooseParser(state_->parsers, path);
  if (parser.type == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("no parser registered matching path suffix for: ", std::string(path)));
  }
  const internal::ParserClaim& claim = parser.claim;
  internal::ModelPlace place;
  absl::Status status = state_->reader.Read(claim.format, claim.api, input.body,
                                            input.padding_bytes, request, &place);
  if (!status.ok()) return status;
  result->parser = parser.type->name;
  result->incoming_model = request->incoming_model = request->model;
  result->response_format = claim.responses;
  result->stream = request->stream;
  result->skip_response = claim.skip_response;
  result->can_rewrite = parser.type->can_rewrite && place.is_object;
  result->body = {input.body, {}, {}};
  return state_->RewriteModel(input, place, headers[kModelRewrite], request, result);
}

// `asked` is the model that the header names, or empty.
absl::Status Intake::State::RewriteModel(const IntakeInput& input,
                                         const internal::ModelPlace& place, std::string_view asked,
                                         Request* request, IntakeResult* result) {
  std::string_view target = asked.empty() ? request->model : asked;
  if (result->can_rewrite) {
    const ResourceTable& table = resources.table();
    if (table.rewrite_count() > 0) {
      target = table.Rewrite(request->model, random.NextUniform()).value_or(target);
    }
    if (target.empty() && (place.has_value || !input.model_optional)) {
      return absl::InvalidArgumentError("model not found in request body");
    }
    if (target != request->model) {
      const bool inserted = place.begin == place.end;
      replacement.clear();
      if (inserted) replacement += "\"model\":";
      internal::AppendJsonString(target, &replacement);
      if (inserted) replacement += ',';
      result->body = {input.body.substr(0, place.begin), replacement, input.body.substr(place.end)};
      result->body_changed = true;
    }
  }
  result->target_model = request->model = target;
  return absl::OkStatus();
}

}  // namespace weir
