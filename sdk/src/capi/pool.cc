// weir_pool_...: endpoints and samples of their load.
#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "capi/handles.h"

namespace weir::capi {
namespace {

constexpr uint32_t kMetricBits = WEIR_METRIC_WAITING_REQUESTS | WEIR_METRIC_RUNNING_REQUESTS |
                                 WEIR_METRIC_KV_USED_RATIO | WEIR_METRIC_KV_BLOCKS |
                                 WEIR_METRIC_ADAPTERS;

// What is wrong with an argument; empty: nothing.
using Problem = std::string;

Problem SizeProblem(const char* type, uint32_t struct_size, size_t size_bytes) {
  if (IsKnownSize(struct_size, size_bytes, size_bytes)) return {};
  return absl::StrCat(type, ".struct_size: ", struct_size, ", expected ", size_bytes,
                      "; set it with ", type, "_init()");
}

Problem CopyNames(const char* what, const weir_str* names, uint64_t count,
                  std::vector<std::string>* copies) {
  if (names == nullptr && count != 0) return absl::StrCat(what, ": null");
  for (uint64_t i = 0; i < std::min<uint64_t>(count, kAdaptersPerEndpointMax); ++i) {
    if (!IsValid(names[i])) return absl::StrCat(what, "[", i, "]: a size without data");
    copies->emplace_back(View(names[i]));
  }
  return {};
}

Problem ToCpp(const weir_metrics& metrics, EndpointMetrics* result) {
  if (Problem size = SizeProblem("weir_metrics", metrics.struct_size, sizeof(weir_metrics));
      !size.empty()) {
    return size;
  }
  if (metrics.reserved != 0) return "metrics.reserved: not 0";
  const uint32_t present = metrics.present;
  if ((present & ~kMetricBits) != 0) return "metrics.present: unknown bits";
  if ((present & WEIR_METRIC_WAITING_REQUESTS) != 0) {
    result->waiting_requests = metrics.waiting_requests;
  }
  if ((present & WEIR_METRIC_RUNNING_REQUESTS) != 0) {
    result->running_requests = metrics.running_requests;
  }
  if ((present & WEIR_METRIC_KV_USED_RATIO) != 0) {
    if (!std::isfinite(metrics.kv_used_ratio)) return "metrics.kv_used_ratio: not a number";
    result->kv_used_ratio = metrics.kv_used_ratio;
  }
  if ((present & WEIR_METRIC_KV_BLOCKS) != 0) {
    result->kv_block_tokens = metrics.kv_block_tokens;
    result->kv_block_count = metrics.kv_block_count;
  }
  if ((present & WEIR_METRIC_ADAPTERS) == 0) return {};
  EndpointAdapters& adapters = result->adapters.emplace();
  adapters.adapters_max = metrics.adapters_max;
  Problem problem = CopyNames("metrics.active_adapters", metrics.active_adapters,
                              metrics.active_adapter_count, &adapters.active);
  if (!problem.empty()) return problem;
  return CopyNames("metrics.waiting_adapters", metrics.waiting_adapters,
                   metrics.waiting_adapter_count, &adapters.waiting);
}

Problem ToCpp(const weir_endpoint* endpoint, Endpoint* result) {
  if (endpoint == nullptr) return "endpoint: null";
  if (Problem size = SizeProblem("weir_endpoint", endpoint->struct_size, sizeof(weir_endpoint));
      !size.empty()) {
    return size;
  }
  if (endpoint->reserved != 0) return "reserved: not 0";
  if (!IsValid(endpoint->name)) return "name: a size without data";
  if (!IsValid(endpoint->namespace_name)) return "namespace_name: a size without data";
  if (!IsValid(endpoint->address)) return "address: a size without data";
  result->name = View(endpoint->name);
  if (endpoint->namespace_name.size != 0) result->namespace_name = View(endpoint->namespace_name);
  result->address = View(endpoint->address);
  if (endpoint->labels == nullptr && endpoint->label_count != 0) return "labels: null";
  if (endpoint->label_count > kLabelsPerEndpointMax) {
    return absl::StrCat("labels: ", endpoint->label_count, " of them, expected at most ",
                        kLabelsPerEndpointMax);
  }
  for (uint64_t i = 0; i < endpoint->label_count; ++i) {
    const weir_label& label = endpoint->labels[i];
    if (!IsValid(label.key) || !IsValid(label.value)) {
      return absl::StrCat("labels[", i, "]: a size without data");
    }
    result->labels.insert_or_assign(std::string(View(label.key)), std::string(View(label.value)));
  }
  return endpoint->metrics == nullptr ? Problem() : ToCpp(*endpoint->metrics, &result->metrics);
}

weir_code Replace(const weir_router& router, const weir_endpoint* const* endpoints, uint64_t count,
                  weir_buffer* error) {
  std::vector<Endpoint> list;
  Problem skipped;
  for (uint64_t i = 0; i < count; ++i) {
    Endpoint endpoint;
    const Problem problem = ToCpp(endpoints[i], &endpoint);
    if (problem.empty()) {
      list.push_back(std::move(endpoint));
    } else {
      absl::StrAppend(&skipped, "endpoints[", i, "]: ", problem, "\n");
    }
  }
  const absl::Status replaced = router.router->pool().Replace(list);
  if (skipped.empty()) return replaced.ok() ? WEIR_OK : Fail(error, replaced);
  absl::StrAppend(&skipped, replaced.message());
  return Fail(error, WEIR_INVALID_ARGUMENT, skipped);
}

weir_code ApplySamples(const weir_router& router, const weir_sample* const* samples, uint64_t count,
                       weir_buffer* error) {
  std::vector<MetricsUpdate> updates;
  for (uint64_t i = 0; i < count; ++i) {
    const weir_sample* sample = samples[i];
    const Problem problem = [&]() -> Problem {
      if (sample == nullptr || sample->metrics == nullptr) return "null";
      Problem size = SizeProblem("weir_sample", sample->struct_size, sizeof(weir_sample));
      if (!size.empty()) return size;
      if (sample->reserved != 0) return "reserved: not 0";
      MetricsUpdate& update = updates.emplace_back();
      update.id = {sample->id.slot, sample->id.generation};
      return ToCpp(*sample->metrics, &update.metrics);
    }();
    if (!problem.empty()) return Refuse(error, absl::StrCat("samples[", i, "]"), problem);
  }
  router.router->pool().ApplySamples(updates);
  return WEIR_OK;
}

}  // namespace
}  // namespace weir::capi

using weir::capi::Guarded;
using weir::capi::Refuse;

weir_code weir_pool_upsert(weir_router* router, const weir_endpoint* endpoint, weir_endpoint_id* id,
                           weir_buffer* error) {
  if (router == nullptr) return Refuse(error, "router", "null");
  return Guarded(error, [&]() -> weir_code {
    weir::Endpoint cpp;
    const weir::capi::Problem problem = weir::capi::ToCpp(endpoint, &cpp);
    if (!problem.empty()) return weir::capi::Fail(error, WEIR_INVALID_ARGUMENT, problem);
    const absl::StatusOr<weir::EndpointId> added = router->router->pool().Upsert(cpp);
    if (!added.ok()) return weir::capi::Fail(error, added.status());
    if (id != nullptr) *id = {added->slot, added->generation};
    return WEIR_OK;
  });
}

weir_code weir_pool_remove(weir_router* router, weir_str name, weir_str namespace_name,
                           weir_buffer* error) {
  if (router == nullptr) return Refuse(error, "router", "null");
  if (!weir::capi::IsValid(name)) return Refuse(error, "name", "a size without data");
  if (!weir::capi::IsValid(namespace_name)) {
    return Refuse(error, "namespace_name", "a size without data");
  }
  return Guarded(error, [&] {
    const std::string_view in =
        namespace_name.size == 0 ? std::string_view("default") : weir::capi::View(namespace_name);
    const absl::Status removed = router->router->pool().Remove(weir::capi::View(name), in);
    return removed.ok() ? WEIR_OK : weir::capi::Fail(error, removed);
  });
}

weir_code weir_pool_replace(weir_router* router, const weir_endpoint* const* endpoints,
                            uint64_t count, weir_buffer* error) {
  if (router == nullptr) return Refuse(error, "router", "null");
  if (endpoints == nullptr && count != 0) return Refuse(error, "endpoints", "null");
  return Guarded(error, [&] { return weir::capi::Replace(*router, endpoints, count, error); });
}

weir_code weir_pool_sample_started(weir_router* router, weir_endpoint_id id) {
  if (router == nullptr) return WEIR_INVALID_ARGUMENT;
  return Guarded(nullptr, [&] {
    router->router->pool().SampleStarted({id.slot, id.generation});
    return WEIR_OK;
  });
}

weir_code weir_pool_apply_samples(weir_router* router, const weir_sample* const* samples,
                                  uint64_t count, weir_buffer* error) {
  if (router == nullptr) return Refuse(error, "router", "null");
  if (samples == nullptr && count != 0) return Refuse(error, "samples", "null");
  return Guarded(error, [&] { return weir::capi::ApplySamples(*router, samples, count, error); });
}

uint32_t weir_pool_in_flight(const weir_router* router, weir_endpoint_id id) {
  if (router == nullptr) return 0;
  return router->router->pool().in_flight({id.slot, id.generation});
}
