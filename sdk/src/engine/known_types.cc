#include "engine/known_types.h"

#include <utility>

namespace weir::internal {
namespace {

// Parameters of the flow control types. Those that read none take any.
constexpr std::string_view kAnyParameters = R"({"type": "object", "additionalProperties": true})";
constexpr std::string_view kNoParameters = R"({"type": "object", "properties": {}})";
constexpr std::string_view kProgramAwareSchema = R"({"type": "object", "properties": {
  "strategy": {"type": "string"},
  "evictionTtlSeconds": {"type": "number", "minimum": 0},
  "evictionSweepSeconds": {"type": "number", "exclusiveMinimum": 0},
  "lasWeightService": {"type": "number", "minimum": 0},
  "lasWeightHeadWait": {"type": "number", "minimum": 0},
  "lasHalfLifeSeconds": {"type": "number", "minimum": 0}}})";
constexpr std::string_view kStaticLimitSchema =
    R"({"type": "object", "properties": {"threshold": {"type": "number"}}})";
constexpr std::string_view kHoldbackSchema = R"({"type": "object", "properties": {
  "minCeiling": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
  "maxCeiling": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
  "shape": {"type": "string", "enum": ["linear"]},
  "domain": {"type": "string", "enum": ["rank", "value"]}},
  "required": ["minCeiling"]})";

constexpr std::string_view kUtilizationSchema = R"({"type": "object", "properties": {
  "queueDepthThreshold": {"type": "integer", "exclusiveMinimum": 0},
  "kvCacheUtilThreshold": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
  "metricsStalenessThreshold": {"type": "string", "format": "duration"},
  "headroom": {"type": "number", "minimum": 0}}})";
constexpr std::string_view kConcurrencySchema = R"({"type": "object", "properties": {
  "maxConcurrency": {"type": "integer", "exclusiveMinimum": 0},
  "headroom": {"type": "number", "minimum": 0},
  "concurrencyMode": {"type": "string", "enum": ["requests", "tokens", "hybrid"]},
  "maxTokenConcurrency": {"type": "integer", "exclusiveMinimum": 0},
  "inFlightLoadProducerName": {"type": "string"}}})";

constexpr KnownType kKnownTypes[] = {
    {"label-selector-filter", kRoleFilter},
    {"by-label-selector", kRoleFilter},
    {"by-label", kRoleFilter},
    {"decode-filter", kRoleFilter},
    {"prefill-filter", kRoleFilter},
    {"encode-filter", kRoleFilter},
    {"prefix-cache-affinity-filter", kRoleFilter},
    {"slo-headroom-tier-filter", kRoleFilter},
    {"session-affinity-filter", kRoleFilter},
    {"multicluster-session-affinity-filter", kRoleFilter},
    {"topology-affinity-filter", kRoleFilter},
    {"utilization-filter", kRoleFilter},
    {"endpoint-attribute-filter", kRoleFilter},
    {"header-based-testing-filter", kRoleFilter},
    {"disaggregatedset-rollout-screener", kRoleOther},
    {"prefix-cache-scorer", kRoleScorer},
    {"multicluster-prefix-cache-scorer", kRoleScorer},
    {"precise-prefix-cache-scorer", kRoleScorer | kRoleProducer},
    {"queue-scorer", kRoleScorer},
    {"multicluster-queue-scorer", kRoleScorer},
    {"running-requests-size-scorer", kRoleScorer},
    {"kv-cache-utilization-scorer", kRoleScorer},
    {"multicluster-kv-cache-utilization-scorer", kRoleScorer},
    {"load-aware-scorer", kRoleScorer},
    {"active-request-scorer", kRoleScorer},
    {"token-load-scorer", kRoleScorer},
    {"lora-affinity-scorer", kRoleScorer},
    {"no-hit-lru-scorer", kRoleScorer},
    {"session-affinity-scorer", kRoleScorer},
    {"context-length-aware", kRoleScorer | kRoleFilter},
    {"latency-scorer", kRoleScorer},
    {"mm-embeddings-cache-scorer", kRoleScorer},
    {"endpoint-attribute-scorer", kRoleScorer},
    {"header-label-affinity-scorer", kRoleScorer},
    {"topology-affinity-scorer", kRoleScorer},
    {"max-score-picker", kRolePicker},
    {"random-picker", kRolePicker},
    {"weighted-random-picker", kRolePicker},
    {"single-profile-handler", kRoleProfileHandler},
    {"disagg-profile-handler", kRoleProfileHandler},
    {"pd-profile-handler", kRoleProfileHandler},
    {"data-parallel-profile-handler", kRoleProfileHandler},
    {"header-profile-handler", kRoleProfileHandler},
    {"prefix-based-pd-decider", kRoleOther},
    {"always-disagg-pd-decider", kRoleOther},
    {"always-disagg-multimodal-decider", kRoleOther},
    {"disagg-headers-handler", kRoleOther},
    {"prefill-header-handler", kRoleOther},
    {"approx-prefix-cache-producer", kRoleProducer},
    {"multicluster-approx-prefix-cache-producer", kRoleProducer},
    {"precise-prefix-cache-producer", kRoleProducer | kRoleExtractor},
    {"token-producer", kRoleProducer},
    {"tokenizer", kRoleProducer},
    {"inflight-load-producer", kRoleProducer | kRoleExtractor},
    {"predicted-latency-producer", kRoleProducer},
    {"mm-embeddings-cache-producer", kRoleProducer | kRoleExtractor},
    {"session-id-producer", kRoleProducer},
    {"burst-prefix-cache-producer", kRoleProducer},
    {"p2p-source-producer", kRoleProducer},
    {"latency-slo-admitter", kRoleOther},
    {"probabilistic-admitter", kRoleOther},
    {"agent-identity", kRoleOther},
    {"request-attribute-reporter", kRoleOther},
    {"destination-endpoint-served-verifier", kRoleOther},
    {"metrics-data-source", kRoleSource},
    {"core-metrics-extractor", kRoleExtractor},
    {"multicluster-metrics-data-source", kRoleSource},
    {"multicluster-metrics-extractor", kRoleExtractor},
    {"models-data-source", kRoleSource},
    {"models-data-extractor", kRoleExtractor},
    {"dcgm-data-source", kRoleSource},
    {"dcgm-extractor", kRoleExtractor},
    {"topology-extractor", kRoleExtractor},
    {"k8s-notification-source", kRoleSource},
    {"endpoint-notification-source", kRoleSource},
    {"file-discovery", kRoleDiscovery},
    {"multicluster-file-discovery", kRoleDiscovery},
    {"openai-parser", kRoleParser},
    {"anthropic-parser", kRoleParser},
    {"vllmhttp-parser", kRoleParser},
    {"vllmgrpc-parser", kRoleParser},
    {"sglanghttp-parser", kRoleParser},
    {"vertexai-parser", kRoleParser},
    {"passthrough-parser", kRoleParser},
    {"global-strict-fairness-policy", kRoleFairness, kAnyParameters},
    {"round-robin-fairness-policy", kRoleFairness, kAnyParameters},
    {"program-aware-fairness", kRoleFairness, kProgramAwareSchema},
    {"fcfs-ordering-policy", kRoleOrdering, kAnyParameters},
    {"edf-ordering-policy", kRoleOrdering, kAnyParameters},
    {"slo-deadline-ordering-policy", kRoleOrdering, kAnyParameters},
    {"static-usage-limit-policy", kRoleUsageLimit, kStaticLimitSchema},
    {"priority-holdback-policy", kRoleUsageLimit, kHoldbackSchema, true},
    {"soft-reflective-ceiling-policy", kRoleUsageLimit, kNoParameters, true},
    {"sheddable-eviction-filter", kRoleEviction, kAnyParameters, true},
    {"priority-then-time-eviction-order-policy", kRoleEviction, kAnyParameters, true},
    {"utilization-detector", kRoleSaturationDetector | kRoleFilter, kUtilizationSchema},
    {"concurrency-detector", kRoleSaturationDetector | kRoleFilter, kConcurrencySchema},
};

constexpr std::pair<std::string_view, std::string_view> kRenamed[] = {
    {"prefix-scorer", "prefix-cache-scorer"},
    {"queue-depth-scorer", "queue-scorer"},
    {"prefill-endpoints-filter", "prefill-filter"},
    {"decode-endpoints-filter", "decode-filter"},
    {"approximate-prefix", "approx-prefix-cache-producer"},
    {"predicted-latency", "predicted-latency-producer"},
    {"simple-profile-handler", "single-profile-handler"},
    {"active-request-filter", "utilization-filter"},
};

}  // namespace

std::span<const KnownType> KnownTypes() { return kKnownTypes; }

const KnownType* FindKnownType(std::string_view type) {
  for (const KnownType& known : kKnownTypes) {
    if (known.type == type) return &known;
  }
  return nullptr;
}

std::string_view RenamedType(std::string_view type) {
  for (const auto& [old_name, name] : kRenamed) {
    if (old_name == type) return name;
  }
  return {};
}

}  // namespace weir::internal
