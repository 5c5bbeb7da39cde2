// load/generate.h: makes traces (load/trace.h) from a conversation plan.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "load/source.h"
#include "load/trace.h"

namespace weir::load {

struct GeneratePlan {
  ConversationPlan conversations;
  double conversations_per_s = 1;  // Poisson arrivals of first turns
  double answer_token_ms = 20;     // assumed time per answer token, before the next turn's pause
  uint32_t block_tokens = kTraceBlockTokens;
  size_t records_max = 100'000;
};

// Calls emit(record) for each request, in the order of time, until the plan's conversations or
// records_max are used up. A prompt is system text, then question and answer of each turn so far;
// blocks with equal content after equal blocks get equal ids, numbered as they first appear.
// Errors: kInvalidArgument (a rate or block size that is not above 0), kResourceExhausted (more
// than kTraceIdsMax ids).
absl::Status GenerateTrace(const GeneratePlan& plan,
                           const std::function<void(const TraceRecord&)>& emit);

}  // namespace weir::load
