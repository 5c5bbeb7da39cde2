// weir/io/scrape/params.h: reads the parameters of the scraping plugins of an EndpointPickerConfig.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weir/io/scrape/engine_config.h"

namespace weir::io {

// Parameters of `metrics-data-source`.
struct MetricsSourceOptions {
  std::string scheme;             // http or https; empty: as the endpoint is spoken to
  std::string path = "/metrics";  // starts with '/'
  uint16_t port = 0;              // 1..65535 overrides the endpoint's metrics port; 0: no override
  absl::Duration interval;        // zero: the host's default
  bool insecure_skip_verify = true;  // https without checking the server's certificate
  std::string ca_cert_path;          // PEM; empty: the system's
  std::string client_cert_path;      // PEM; both or none of certificate and key
  std::string client_key_path;
};

// Parameters of `core-metrics-extractor` from a JSON object; empty text means all defaults.
// Beyond llm-d's members it knows `aggregate` (sum, max, first) of an engine and of a custom
// metric. Errors: kInvalidArgument naming field, value and expectation; unknown members are errors.
// [control]
absl::StatusOr<CoreMetricsOptions> ParseCoreMetricsOptions(std::string_view json);

// Parameters of `metrics-data-source`, same rules. [control]
absl::StatusOr<MetricsSourceOptions> ParseMetricsSourceOptions(std::string_view json);

// Parameters of `multicluster-metrics-data-source`: the same with https and a checked certificate
// as defaults; the port is read and not used. [control]
absl::StatusOr<MetricsSourceOptions> ParseClusterSourceOptions(std::string_view json);

// The attributes that a cluster's page gives, in the order of ParseClusterMetricsOptions.
inline constexpr std::string_view kClusterKvUsedAttribute =
    "llm-d.ai/multicluster-kv-cache-utilization";
inline constexpr std::string_view kClusterQueueSizeAttribute = "llm-d.ai/multicluster-queue-size";

// Parameters of `multicluster-metrics-extractor`, as an engine with two custom metrics, same rules.
// [control]
absl::StatusOr<EngineConfig> ParseClusterMetricsOptions(std::string_view json);

}  // namespace weir::io
