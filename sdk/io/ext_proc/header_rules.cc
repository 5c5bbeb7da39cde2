#include "weir/io/ext_proc/header_rules.h"

namespace weir::io {
namespace {

struct NamedRule {
  std::string_view name;
  HeaderRule rule;
};

constexpr NamedRule kRules[] = {
    {kDestinationHeader, HeaderRule::kOutput},
    {kServedHeader, HeaderRule::kOutput},
    {kScoresHeader, HeaderRule::kOutput},
    {kDropReasonHeader, HeaderRule::kOutput},
    {kSubsetKey, HeaderRule::kControl},
    {"x-llm-d-inference-objective", HeaderRule::kControl},
    {"x-gateway-inference-objective", HeaderRule::kControl},
    {"x-llm-d-inference-fairness-id", HeaderRule::kControl},
    {"x-gateway-inference-fairness-id", HeaderRule::kControl},
    {"x-llm-d-model-name-rewrite", HeaderRule::kControl},
    {"x-gateway-model-name-rewrite", HeaderRule::kControl},
    {"x-llm-d-slo-ttft-ms", HeaderRule::kControl},
    {"x-slo-ttft-ms", HeaderRule::kControl},
    {"x-llm-d-slo-tpot-ms", HeaderRule::kControl},
    {"x-slo-tpot-ms", HeaderRule::kControl},
    {"x-llm-d-video-fps", HeaderRule::kControl},
    {"x-llm-d-video-duration-seconds", HeaderRule::kControl},
    {"x-llm-d-video-resolution", HeaderRule::kControl},
    {"x-prefiller-host-port", HeaderRule::kRouting},
    {"x-encoder-hosts-ports", HeaderRule::kRouting},
    {"x-data-parallel-host-port", HeaderRule::kRouting},
    {"x-kv-cache-source-host-port", HeaderRule::kRouting},
};

}  // namespace

HeaderRule RuleOf(std::string_view name) noexcept {
  if (!name.starts_with("x-")) {
    return name == "content-length" ? HeaderRule::kOutput : HeaderRule::kFree;
  }
  for (const NamedRule& rule : kRules) {
    if (rule.name == name) return rule.rule;
  }
  return HeaderRule::kFree;
}

void LowerCase(char* text, size_t size) noexcept {
  for (char* end = text + size; text != end; ++text) {
    if (*text >= 'A' && *text <= 'Z') *text = static_cast<char>(*text + ('a' - 'A'));
  }
}

}  // namespace weir::io
