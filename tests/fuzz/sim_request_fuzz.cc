// Bodies of all generation APIs of weir-sim, and the text they become.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "sim/fault.h"
#include "sim/generate_request.h"
#include "sim/json_text.h"
#include "weir/sim/tokens.h"

namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

// The first byte chooses the API.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  using weir::sim::Api;
  constexpr Api kApis[] = {Api::kChat,     Api::kCompletions, Api::kResponses,
                           Api::kMessages, Api::kTokens,      Api::kSglang};
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto request = weir::sim::ParseGenerateRequest(kApis[data[0] % 6], body);
  if (request.ok()) {
    Require(!request->prompts.empty() && request->choices >= 1);
    for (const weir::sim::Prompt& prompt : request->prompts) Require(!prompt.tokens.empty());
  } else {
    Require(!request.status().message().empty());
  }
  std::string joined;
  for (const std::string_view token : weir::sim::SplitTokens(body)) joined += token;
  Require(joined == body);
  std::string quoted;
  weir::sim::AppendJsonString(quoted, body);
  Require(quoted.size() >= 2);
  (void)weir::sim::ParseFault(body);
  return 0;
}
