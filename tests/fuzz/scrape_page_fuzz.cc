// Any bytes as a page of metrics, read by the plan of every engine.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "weir/io/scrape/params.h"
#include "weir/io/scrape/scrape_plan.h"

using namespace weir::io;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const ScrapePlans plans =
      ScrapePlans::Create(ParseCoreMetricsOptions(
                              R"({"engineConfigs": [{"name": "mine", "queuedRequestsSpec": "q{a=b}",
            "runningRequestsSpec": "q", "kvUsageSpec": "k", "loraSpec": "l", "cacheInfoSpec": "c",
            "customMetrics": [{"attributeKey": "x", "metricSpec": "q", "aggregate": "sum"}]}]})")
                              .value())
          .value();
  static const char* const kEngines[] = {"vllm",   "sglang", "trtllm-serve", "triton-tensorrt-llm",
                                         "triton", "mine"};
  const std::string_view page(reinterpret_cast<const char*>(data), size);
  for (const char* engine : kEngines) {
    const ScrapePlan& plan = plans.ForEngine(engine);
    EndpointSample sample;
    const ExtractStats stats = Extract(plan, page, sample);
    const bool sound = (sample.present & ~plan.fields()) == 0 &&
                       stats.updated == (sample.present != 0 || sample.custom_present != 0) &&
                       sample.kv_used_ratio >= 0 && sample.lora_active.size() <= kLoraAdaptersMax &&
                       sample.lora_waiting.size() <= kLoraAdaptersMax;
    if (!sound) std::abort();
    // Reading is a function of the page: the same page again changes nothing.
    EndpointSample again = sample;
    Extract(plan, page, again);
    if (again.waiting_requests != sample.waiting_requests || again.present != sample.present) {
      std::abort();
    }
  }
  (void)ParseMetricSpec(page.substr(0, 64));
  return 0;
}
