// weir_router_...: making a router, and what it counts.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "capi/handles.h"
#include "weir/io/metrics/engine_metrics.h"

namespace weir::capi {
namespace {

constexpr uint32_t kRouterFlags =
    WEIR_ROUTER_EXPERIMENTAL_PLUGINS | WEIR_ROUTER_UNSCRAPED_IDLE | WEIR_ROUTER_SAMPLES_ONLY;

// Checks what the C++ options cannot.
weir_code CheckOptions(const weir_router_options& options, weir_buffer* error) {
  constexpr size_t kSizeBytes = sizeof(weir_router_options);
  constexpr size_t kVersionBytes = offsetof(weir_router_options, flags);
  const uint32_t size_bytes = options.struct_size;
  if (size_bytes >= kVersionBytes &&
      (options.api_major != WEIR_C_API_MAJOR || options.api_minor > WEIR_C_API_MINOR)) {
    return Fail(error, WEIR_FAILED_PRECONDITION,
                absl::StrCat("built for weir's C API ", options.api_major, ".", options.api_minor,
                             ", this library speaks ", WEIR_C_API_MAJOR, ".", WEIR_C_API_MINOR));
  }
  if (!IsKnownSize(size_bytes, kSizeBytes, kSizeBytes)) {
    return RefuseSize(error, "weir_router_options", size_bytes, kSizeBytes);
  }
  if ((options.flags & ~kRouterFlags) != 0) return Refuse(error, "flags", "unknown bits");
  if (options.reserved != 0) return Refuse(error, "reserved", "not 0");
  const struct {
    const char* name;
    weir_str text;
  } kTexts[] = {{"config_path", options.config_path},
                {"config_text", options.config_text},
                {"config_name", options.config_name}};
  for (const auto& [name, text] : kTexts) {
    if (!IsValid(text)) return Refuse(error, name, "a size without data");
  }
  if (options.config_path.size != 0 && options.config_text.data != nullptr) {
    return Refuse(error, "config_path, config_text", "both given, expected one");
  }
  if (options.plugin_files == nullptr && options.plugin_file_count != 0) {
    return Refuse(error, "plugin_files", "null");
  }
  for (uint64_t i = 0; i < options.plugin_file_count; ++i) {
    if (!IsValid(options.plugin_files[i])) {
      return Refuse(error, absl::StrCat("plugin_files[", i, "]"), "a size without data");
    }
  }
  return WEIR_OK;
}

RouterOptions ToCpp(const weir_router_options& options) {
  RouterOptions result;
  result.count_unscraped_requests = (options.flags & WEIR_ROUTER_SAMPLES_ONLY) == 0;
  result.unscraped = (options.flags & WEIR_ROUTER_UNSCRAPED_IDLE) != 0 ? UnscrapedPolicy::kIdle
                                                                       : UnscrapedPolicy::kWorst;
  result.sample_age_ns_max = options.sample_age_ns_max;
  result.allow_experimental_plugins = (options.flags & WEIR_ROUTER_EXPERIMENTAL_PLUGINS) != 0;
  for (uint64_t i = 0; i < options.plugin_file_count; ++i) {
    result.plugin_files.emplace_back(View(options.plugin_files[i]));
  }
  result.seed = options.seed;
  result.decisions_kept = options.decisions_kept;
  if (options.log != nullptr) {
    result.log = [log = options.log, context = options.log_context](LogLevel level,
                                                                    std::string_view text) {
      log(context, static_cast<uint32_t>(level), Str(text));
    };
  }
  return result;
}

absl::StatusOr<Router> Load(const weir_router_options& options, const RouterOptions& cpp) {
  if (options.config_path.size != 0) {
    return Router::FromFile(std::string(View(options.config_path)), cpp);
  }
  if (options.config_text.data == nullptr) return Router::Default(cpp);
  const std::string_view name =
      options.config_name.size == 0 ? std::string_view("config") : View(options.config_name);
  return Router::FromText(View(options.config_text), std::string(name), cpp);
}

weir_code Create(const weir_router_options& options, weir_router** router, weir_buffer* error) {
  if (const weir_code code = CheckOptions(options, error); code != WEIR_OK) return code;
  auto made = std::make_unique<weir_router>();
  RouterOptions cpp = ToCpp(options);
  if (options.now_ns != nullptr) {
    cpp.clock = &made->clock.emplace(options.now_ns, options.now_context);
  }
  absl::StatusOr<Router> loaded = Load(options, cpp);
  if (!loaded.ok()) return Fail(error, loaded.status());
  made->router.emplace(*std::move(loaded));
  *router = made.release();
  return WEIR_OK;
}

}  // namespace
}  // namespace weir::capi

using weir::capi::Answer;
using weir::capi::Guarded;
using weir::capi::Refuse;

weir_code weir_router_create(const weir_router_options* options, weir_router** router,
                             weir_buffer* error) {
  return Guarded(error, [&]() -> weir_code {
    if (router == nullptr) return Refuse(error, "router", "null");
    *router = nullptr;
    if (options == nullptr) return Refuse(error, "options", "null");
    return weir::capi::Create(*options, router, error);
  });
}

void weir_router_destroy(weir_router** router) {
  if (router == nullptr || *router == nullptr) return;
  weir::capi::LetGo(std::exchange(*router, nullptr));
}

weir_code weir_router_describe(const weir_router* router, weir_buffer* text) {
  if (router == nullptr || text == nullptr) return WEIR_INVALID_ARGUMENT;
  return Guarded(nullptr, [&] { return Answer(router->router->Describe(), text); });
}

weir_code weir_router_stats(const weir_router* router, weir_stats* stats) {
  if (router == nullptr || stats == nullptr ||
      !weir::capi::IsKnownSize(stats->struct_size, sizeof(weir_stats), sizeof(weir_stats))) {
    return WEIR_INVALID_ARGUMENT;
  }
  return Guarded(nullptr, [&] {
    const weir::RouterStats counted = router->router->stats();
    *stats = {.struct_size = stats->struct_size,
              .endpoint_count = router->router->pool().snapshot()->count(),
              .decisions = counted.decisions,
              .decisions_no_endpoint = counted.decisions_no_endpoint,
              .decisions_all_dropped = counted.decisions_all_dropped,
              .flights_begun = counted.flights_begun,
              .flights_ended = counted.flights_ended,
              .flights_refused = counted.flights_refused,
              .memory_bytes = counted.memory_bytes};
    return WEIR_OK;
  });
}

weir_code weir_router_metrics(const weir_router* router, weir_buffer* page) {
  if (router == nullptr || page == nullptr) return WEIR_INVALID_ARGUMENT;
  return Guarded(nullptr, [&] {
    weir::io::MetricsText text;
    weir::io::WriteEngineMetrics(router->router->stats(), text);
    return Answer(text.text(), page);
  });
}

weir_code weir_router_recent_decisions(const weir_router* router, weir_buffer* json) {
  if (router == nullptr || json == nullptr) return WEIR_INVALID_ARGUMENT;
  return Guarded(nullptr, [&] {
    std::string array = "[";
    for (const weir::Explanation& one : router->router->RecentDecisions()) {
      absl::StrAppend(&array, array.size() == 1 ? "" : ",", one.ToJson());
    }
    return Answer(array + "]", json);
  });
}

uint32_t weir_router_needs(const weir_router* router) {
  if (router == nullptr) return 0;
  const weir::RouterNeeds& needs = router->router->needs();
  uint32_t bits = 0;
  if (needs.waiting_requests) bits |= WEIR_METRIC_WAITING_REQUESTS;
  if (needs.running_requests) bits |= WEIR_METRIC_RUNNING_REQUESTS;
  if (needs.kv_used_ratio) bits |= WEIR_METRIC_KV_USED_RATIO;
  if (needs.kv_blocks) bits |= WEIR_METRIC_KV_BLOCKS;
  if (needs.adapters) bits |= WEIR_METRIC_ADAPTERS;
  return bits;
}
