// weir_decide..., weir_decision_..., weir_begin and weir_flight_...: the way of one request.
#include <algorithm>
#include <span>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "capi/handles.h"

namespace weir::capi {
namespace {

constexpr uint32_t kQueryFlags =
    WEIR_QUERY_STREAM | WEIR_QUERY_SUBSET | WEIR_QUERY_IF_AVAILABLE | WEIR_QUERY_ANY_ENDPOINT;
// Of plugin ABI 1.0, which weir_usage comes from and may grow in.
constexpr size_t kUsageBytesMin = offsetof(weir_usage, output_tokens) + sizeof(int64_t);
constexpr std::string_view kNoData = "a size without data";

// A weir_query as the engine sees it. Arrays of usual size lie on the stack.
class Query {
 public:
  // Errors: as weir_decide.
  weir_code Read(const weir_query* query, weir_buffer* error) {
    if (query == nullptr) return Refuse(error, "query", "null");
    if (!IsKnownSize(query->struct_size, sizeof(weir_query), sizeof(weir_query))) {
      return RefuseSize(error, "weir_query", query->struct_size, sizeof(weir_query));
    }
    if (query->api > WEIR_API_IMAGES) return Refuse(error, "api", "not one of WEIR_API_...");
    if ((query->flags & ~kQueryFlags) != 0) return Refuse(error, "flags", "unknown bits");
    if (const weir_code code = ReadTexts(*query, error); code != WEIR_OK) return code;
    if (const weir_code code = ReadHeaders(*query, error); code != WEIR_OK) return code;
    return ReadPrompts(*query, error);
  }
  const Request& request() const { return request_; }

 private:
  weir_code ReadTexts(const weir_query& query, weir_buffer* error) {
    if (!IsValid(query.id)) return Refuse(error, "id", kNoData);
    if (!IsValid(query.model)) return Refuse(error, "model", kNoData);
    if (!IsValid(query.cache_salt)) return Refuse(error, "cache_salt", kNoData);
    if (!IsValid(query.objective)) return Refuse(error, "objective", kNoData);
    if (!IsValid(query.fairness_id)) return Refuse(error, "fairness_id", kNoData);
    if (!IsValid(query.subset)) return Refuse(error, "subset", kNoData);
    request_.api = static_cast<Api>(query.api);
    request_.id = View(query.id);
    request_.model = View(query.model);
    request_.cache_salt = View(query.cache_salt);
    request_.objective = View(query.objective);
    request_.fairness_id = View(query.fairness_id);
    request_.priority = query.priority;
    request_.stream = (query.flags & WEIR_QUERY_STREAM) != 0;
    request_.if_available = (query.flags & WEIR_QUERY_IF_AVAILABLE) != 0;
    request_.any_endpoint = (query.flags & WEIR_QUERY_ANY_ENDPOINT) != 0;
    request_.size_bytes = query.size_bytes;
    if (query.max_output_tokens >= 0) request_.max_output_tokens = query.max_output_tokens;
    if ((query.flags & WEIR_QUERY_SUBSET) != 0) {
      subset_ = View(query.subset);
      request_.subset.emplace(&subset_, subset_.empty() ? 0 : 1);
    }
    return WEIR_OK;
  }

  weir_code ReadHeaders(const weir_query& query, weir_buffer* error) {
    if (query.headers == nullptr && query.header_count != 0) {
      return Refuse(error, "headers", "null");
    }
    if (query.header_count > kHeadersMax) {
      return Fail(error, WEIR_OUT_OF_RANGE,
                  absl::StrCat("headers: ", query.header_count, " of them, expected at most ",
                               kHeadersMax));
    }
    for (uint64_t i = 0; i < query.header_count; ++i) {
      const weir_header& header = query.headers[i];
      if (!IsValid(header.name) || !IsValid(header.value)) {
        return Refuse(error, absl::StrCat("headers[", i, "]"), kNoData);
      }
      headers_.push_back({View(header.name), View(header.value)});
    }
    request_.headers = headers_;
    return WEIR_OK;
  }

  weir_code ReadPrompts(const weir_query& query, weir_buffer* error) {
    if (query.prompts == nullptr && query.prompt_count != 0) {
      return Refuse(error, "prompts", "null");
    }
    if (query.prompt_count > kPromptsMax) {
      return Fail(error, WEIR_OUT_OF_RANGE,
                  absl::StrCat("prompts: ", query.prompt_count, " of them, expected at most ",
                               kPromptsMax));
    }
    uint64_t part_count = 0;
    for (uint64_t p = 0; p < query.prompt_count; ++p) {
      const uint64_t more = query.prompts[p].part_count;
      if (more > kPromptPartsMax || part_count + more > kPromptPartsMax) {
        return Fail(error, WEIR_OUT_OF_RANGE,
                    absl::StrCat("prompts: more than ", kPromptPartsMax, " parts"));
      }
      part_count += more;
    }
    // One more for each prompt, see ReadPrompt. Reserved, so that spans of it stay valid.
    parts_.reserve(part_count + query.prompt_count);
    for (uint64_t p = 0; p < query.prompt_count; ++p) {
      if (const weir_code code = ReadPrompt(query.prompts[p], p, error); code != WEIR_OK) {
        return code;
      }
    }
    request_.prompts = prompts_;
    return WEIR_OK;
  }

  weir_code ReadPrompt(const weir_prompt& prompt, uint64_t index, weir_buffer* error) {
    if (prompt.parts == nullptr && prompt.part_count != 0) {
      return Refuse(error, absl::StrCat("prompts[", index, "].parts"), "null");
    }
    if (prompt.tokens == nullptr && prompt.token_count != 0) {
      return Refuse(error, absl::StrCat("prompts[", index, "].tokens"), "null");
    }
    const size_t first = parts_.size();
    for (uint64_t i = 0; i < prompt.part_count; ++i) {
      const weir_part& part = prompt.parts[i];
      if (part.kind > WEIR_PART_AUDIO || !IsValid(part.bytes)) {
        return Refuse(error, absl::StrCat("prompts[", index, "].parts[", i, "]"),
                      part.kind > WEIR_PART_AUDIO ? "kind is not one of WEIR_PART_..." : kNoData);
      }
      parts_.push_back({static_cast<PromptPart::Kind>(part.kind), View(part.bytes)});
    }
    prompts_.push_back(
        {std::span(parts_).subspan(first), std::span(prompt.tokens, prompt.token_count)});
    return WEIR_OK;
  }

  static constexpr size_t kPromptsInline = 8;
  static constexpr size_t kPartsInline = 32;
  Request request_;
  std::string_view subset_;
  absl::InlinedVector<Header, kHeadersMax> headers_;
  absl::InlinedVector<PromptPart, kPartsInline> parts_;
  absl::InlinedVector<Prompt, kPromptsInline> prompts_;
};

weir_code Decide(const weir_router& router, const weir_query* query, weir_decision& decision,
                 weir_buffer* error) noexcept {
  return Guarded(error, [&]() -> weir_code {
    weir_decision_release(&decision);
    Query cpp;
    if (const weir_code code = cpp.Read(query, error); code != WEIR_OK) return code;
    return DecideInto(router, cpp.request(), decision, error);
  });
}

bool IsEmpty(const weir_decision* decision) { return RouterOf(*decision) == nullptr; }

template <class Result, class From, class Convert>
weir_code CopyOut(std::span<const From> values, Result* results, uint64_t capacity, uint64_t* count,
                  Convert&& convert) {
  if (count == nullptr || (results == nullptr && capacity != 0)) return WEIR_INVALID_ARGUMENT;
  *count = values.size();
  for (size_t i = 0; i < std::min<uint64_t>(capacity, values.size()); ++i) {
    results[i] = convert(values[i]);
  }
  return WEIR_OK;
}

}  // namespace
}  // namespace weir::capi

using weir::Decision;
using weir::Flight;
using weir::capi::Answer;
using weir::capi::Guarded;
using weir::capi::In;
using weir::capi::IsEmpty;
using weir::capi::Refuse;
using weir::capi::RouterOf;
using weir::capi::Str;

weir_code weir_decide(const weir_router* router, const weir_query* query, weir_decision* decision,
                      weir_buffer* error) {
  if (router == nullptr) return Refuse(error, "router", "null");
  if (decision == nullptr) return Refuse(error, "decision", "null");
  return weir::capi::Decide(*router, query, *decision, error);
}

weir_code weir_decide_batch(const weir_router* router, const weir_query* const* queries,
                            uint64_t count, weir_decision* decisions, weir_code* codes,
                            weir_buffer* errors) {
  if (router == nullptr) return WEIR_INVALID_ARGUMENT;
  if (count != 0 && (queries == nullptr || decisions == nullptr || codes == nullptr)) {
    return WEIR_INVALID_ARGUMENT;
  }
  weir_code first = WEIR_OK;
  for (uint64_t i = 0; i < count; ++i) {
    weir_buffer* error = errors == nullptr ? nullptr : &errors[i];
    codes[i] = weir::capi::Decide(*router, queries[i], decisions[i], error);
    if (first == WEIR_OK) first = codes[i];
  }
  return first;
}

weir_code weir_admit(const weir_router* router, const weir_query* query, weir_decision* decision,
                     weir_admitted admitted, void* context, weir_buffer* error) {
  if (router == nullptr) return Refuse(error, "router", "null");
  if (decision == nullptr) return Refuse(error, "decision", "null");
  if (admitted == nullptr) return Refuse(error, "admitted", "null");
  char text[256];
  weir_buffer problem = {text, sizeof(text), 0};
  const weir_code code = weir::capi::Decide(*router, query, *decision, &problem);
  admitted(context, code, {text, std::min<uint64_t>(problem.size, sizeof(text) - 1)});
  return WEIR_OK;
}

weir_code weir_decision_targets(const weir_decision* decision, weir_target* targets,
                                uint64_t capacity, uint64_t* count) {
  if (decision == nullptr) return WEIR_INVALID_ARGUMENT;
  const auto chosen =
      IsEmpty(decision) ? std::span<const weir::Target>() : In<Decision>(*decision).targets();
  return weir::capi::CopyOut(chosen, targets, capacity, count, [](const weir::Target& target) {
    return weir_target{
        {target.id.slot, target.id.generation}, Str(target.name), Str(target.address)};
  });
}

weir_code weir_decision_headers(const weir_decision* decision, weir_header* headers,
                                uint64_t capacity, uint64_t* count) {
  if (decision == nullptr) return WEIR_INVALID_ARGUMENT;
  const auto added =
      IsEmpty(decision) ? std::span<const weir::Header>() : In<Decision>(*decision).headers();
  return weir::capi::CopyOut(added, headers, capacity, count, [](const weir::Header& header) {
    return weir_header{Str(header.name), Str(header.value)};
  });
}

weir_code weir_decision_json(const weir_decision* decision, weir_buffer* json) {
  if (decision == nullptr || json == nullptr) return WEIR_INVALID_ARGUMENT;
  if (IsEmpty(decision)) return WEIR_FAILED_PRECONDITION;
  return Guarded(nullptr, [&] { return Answer(In<Decision>(*decision).ToJson(), json); });
}

weir_code weir_decision_text(const weir_decision* decision, weir_buffer* text) {
  if (decision == nullptr || text == nullptr) return WEIR_INVALID_ARGUMENT;
  if (IsEmpty(decision)) return WEIR_FAILED_PRECONDITION;
  return Guarded(nullptr, [&] { return Answer(In<Decision>(*decision).Explain(), text); });
}

weir_code weir_decision_record(weir_decision* decision) {
  if (decision == nullptr) return WEIR_INVALID_ARGUMENT;
  if (IsEmpty(decision)) return WEIR_FAILED_PRECONDITION;
  RouterOf(*decision)->router->Record(std::move(In<Decision>(*decision)));
  weir_decision_release(decision);
  return WEIR_OK;
}

void weir_decision_release(weir_decision* decision) {
  if (decision == nullptr || IsEmpty(decision)) return;
  weir::capi::Clear<Decision>(*decision);
}

weir_code weir_begin(const weir_decision* decision, uint32_t target_index, weir_flight* flight,
                     weir_buffer* error) {
  if (decision == nullptr) return Refuse(error, "decision", "null");
  if (flight == nullptr) return Refuse(error, "flight", "null");
  if (RouterOf(*flight) != nullptr) weir::capi::Clear<Flight>(*flight);
  if (IsEmpty(decision)) {
    return weir::capi::Fail(error, WEIR_FAILED_PRECONDITION, "decision: empty");
  }
  const Decision& made = In<Decision>(*decision);
  if (target_index >= made.targets().size()) {
    return weir::capi::Fail(error, WEIR_OUT_OF_RANGE, "target_index: the decision has fewer");
  }
  const weir_router* router = RouterOf(*decision);
  Flight begun = router->router->Begin(made, target_index);
  if (!begun) {
    return weir::capi::Fail(error, WEIR_RESOURCE_EXHAUSTED, "too many requests are in flight");
  }
  weir::capi::Put(std::move(begun), router, *flight);
  return WEIR_OK;
}

weir_code weir_flight_first_token(weir_flight* flight) {
  if (flight == nullptr) return WEIR_INVALID_ARGUMENT;
  if (RouterOf(*flight) == nullptr) return WEIR_FAILED_PRECONDITION;
  In<Flight>(*flight).FirstToken();
  return WEIR_OK;
}

weir_code weir_flight_finish(weir_flight* flight, const weir_usage* usage) {
  if (flight == nullptr) return WEIR_INVALID_ARGUMENT;
  if (usage != nullptr && (!weir::capi::IsKnownSize(usage->struct_size, weir::capi::kUsageBytesMin,
                                                    sizeof(weir_usage)) ||
                           usage->end > WEIR_END_FAILED)) {
    return WEIR_INVALID_ARGUMENT;
  }
  if (RouterOf(*flight) == nullptr) return WEIR_FAILED_PRECONDITION;
  if (usage == nullptr) {
    In<Flight>(*flight).Finish();
  } else {
    In<Flight>(*flight).Finish({.prompt_tokens = usage->prompt_tokens,
                                .cached_tokens = usage->cached_tokens,
                                .output_tokens = usage->output_tokens},
                               static_cast<weir::End>(usage->end));
  }
  weir::capi::Clear<Flight>(*flight);
  return WEIR_OK;
}
