#include "stream_testing.h"

#include <algorithm>
#include <optional>

namespace weir::io::testing {
namespace {

constexpr char kHead[] = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";
constexpr char kResources[] = R"(resources:
  objectives:
  - {name: my-model, priority: 2}
  - {name: sql-lora, priority: 2}
  - {name: sql-lora-sheddable}
  - {name: direct-model, priority: 2}
  - {name: inference-objective-with-priority-4, priority: 4}
  modelRewrites:
  - name: rewrite-test
    rules:
    - matches: [{model: {value: model-to-be-rewritten}}]
      targets: [{modelRewrite: rewritten-model}]
)";

Router MakeRouter(const std::string& pipeline, const Clock& clock) {
  RouterOptions options;
  options.clock = &clock;
  options.seed = 1;
  auto router = Router::FromText(pipeline, "golden.yaml", options);
  EXPECT_TRUE(router.ok()) << router.status();
  return *std::move(router);
}

}  // namespace

ExtProcMetrics::Series RecordingMetrics::SeriesOf(const RequestLabels& one) {
  labels.push_back({{"model", one.model},
                    {"target_model", one.target_model},
                    {"fairness_id", one.fairness_id},
                    {"priority", one.priority}});
  return static_cast<Series>(labels.size() - 1);
}

void RecordingMetrics::OnStreamEnd(uint32_t grpc_code, int64_t) {
  stream_codes.push_back(grpc_code);
  --streams;
}

void RecordingMetrics::OnRequestRouted(Series series, uint64_t request_bytes) {
  Json event = labels[series];
  event["bytes"] = request_bytes;
  routed.push_back(event);
  ++running;
}

void RecordingMetrics::OnRequestEnd(Series series, const ResponseRecord& record) {
  Json event = labels[series];
  event["routed"] = record.routed;
  event["streaming"] = record.streaming;
  event["complete"] = record.complete;
  event["duration_ns"] = record.duration_ns;
  event["first_byte_ns"] = record.first_byte_ns;
  event["response_bytes"] = record.response_bytes;
  event["prompt_tokens"] = record.prompt_tokens;
  event["cached_tokens"] = record.cached_tokens;
  event["output_tokens"] = record.output_tokens;
  ended.push_back(event);
  if (record.routed) --running;
}

void RecordingMetrics::OnRequestError(Series, std::string_view code) {
  errors.push_back(std::string(code));
}

std::string PipelineOf(const std::string& name) {
  const std::string scorers =
      "- {type: queue-scorer}\n- {type: kv-cache-utilization-scorer}\n"
      "- {type: prefix-cache-scorer}\n- {type: lora-affinity-scorer}\n";
  const std::string refs =
      "  - {pluginRef: queue-scorer}\n  - {pluginRef: kv-cache-utilization-scorer}\n"
      "  - {pluginRef: prefix-cache-scorer}\n  - {pluginRef: lora-affinity-scorer}\n";
  std::string plugins = scorers;
  std::string profile = refs;
  std::string handler;
  const std::pair<const char*, const char*> parsers[] = {{"passthrough", "passthrough-parser"},
                                                         {"openai_only", "openai-parser"},
                                                         {"vllmgrpc", "vllmgrpc-parser"}};
  const auto parser = std::find_if(std::begin(parsers), std::end(parsers),
                                   [&](const auto& one) { return one.first == name; });
  if (parser != std::end(parsers)) {
    const std::string type = parser->second;
    plugins += "- {type: " + type + "}\n";
    handler = "requestHandler: {parsers: [{pluginRef: " + type + "}]}\n";
  } else if (name == "fallbacks") {
    plugins += "- {type: max-score-picker, parameters: {maxNumOfEndpoints: 3}}\n";
    profile += "  - {pluginRef: max-score-picker}\n";
  } else if (name == "drained") {
    plugins += "- {type: by-label, parameters: {label: zone, validValues: [none]}}\n";
    profile += "  - {pluginRef: by-label}\n";
  } else if (name == "conformance") {
    plugins +=
        "- {type: header-based-testing-filter}\n- {type: destination-endpoint-served-verifier}\n";
    profile += "  - {pluginRef: header-based-testing-filter}\n";
  } else if (name != "scorers") {
    ADD_FAILURE() << "no pipeline " << name;
  }
  return kHead + ("plugins:\n" + plugins) + "schedulingProfiles:\n- name: default\n  plugins:\n" +
         profile + handler + kResources;
}

ExtProcOptions OptionsOf(const Json& json) {
  ExtProcOptions options;
  const std::pair<const char*, bool ExtProcOptions::*> flags[] = {
      {"emit_scores", &ExtProcOptions::emit_scores},
      {"ignore_subset", &ExtProcOptions::ignore_subset},
      {"skip_response_bodies", &ExtProcOptions::skip_response_bodies},
      {"echo_headers", &ExtProcOptions::echo_headers},
      {"mark_responses", &ExtProcOptions::mark_responses},
      {"buffer_responses", &ExtProcOptions::buffer_responses},
      {"empty_pool_internal_error", &ExtProcOptions::empty_pool_internal_error}};
  for (const auto& [name, flag] : flags) options.*flag = json.value(name, options.*flag);
  options.request_body_bytes_max =
      json.value("request_body_bytes_max", options.request_body_bytes_max);
  return options;
}

Picker::Picker(const std::string& pipeline, const Json& endpoints, const ExtProcOptions& options,
               uint64_t held_bytes_max)
    : router(MakeRouter(pipeline, clock)),
      held(held_bytes_max),
      core(router, options, held, metrics, clock, 7) {
  for (const Json& one : endpoints) {
    Endpoint endpoint;
    endpoint.name = endpoint.address = one["address"];
    endpoint.metrics.waiting_requests = one.value("waiting", 0);
    endpoint.metrics.kv_used_ratio = one.value("kv", 0.0);
    if (one.contains("adapters")) {
      endpoint.metrics.adapters = EndpointAdapters{.active = one["adapters"]};
    }
    EXPECT_TRUE(router.pool().Upsert(endpoint).ok());
  }
}

uint32_t Picker::InFlight(std::string_view address) const {
  const auto snapshot = router.pool().snapshot();
  for (uint32_t i = 0; i < snapshot->count(); ++i) {
    if (snapshot->address(i) == address) return router.pool().in_flight(snapshot->ids()[i]);
  }
  ADD_FAILURE() << "no endpoint " << address;
  return 0;
}

uint64_t Picker::InFlight() const {
  const RouterStats stats = router.stats();
  return stats.flights_begun - stats.flights_ended;
}

}  // namespace weir::io::testing
