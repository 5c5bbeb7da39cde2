// weir/router.h: the engine. Give it endpoints and requests, get decisions.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/decision.h"
#include "weir/endpoint.h"
#include "weir/flight.h"
#include "weir/options.h"
#include "weir/request.h"
#include "weir/resources.h"
#include "weir/status.h"

namespace weir {

namespace internal {
class Engine;
}  // namespace internal

// What Decide depends on besides the request and the plugins' own memory.
struct DecideInputs {
  std::shared_ptr<const PoolSnapshot> snapshot;  // of this router's pool
  int64_t now_ns = 0;
  uint64_t seed = 0;
  // Per endpoint of the snapshot, requests begun since its sample was taken and their prompt
  // tokens; both empty: as this router counts them.
  std::span<const uint32_t> sent_requests = {};
  std::span<const uint32_t> sent_tokens = {};
};

// Counters since creation. Each is exact; together they are not one instant.
struct RouterStats {
  struct Plugin {
    std::string name;
    std::string type;
    uint64_t failures = 0;           // calls that returned another code than ok
    uint64_t invalid_results = 0;    // NaN scores, set mask bits, bad indices
    std::vector<uint64_t> counters;  // of the plugin's own choice
  };
  uint64_t decisions = 0;
  uint64_t decisions_no_endpoint = 0;  // the pool was empty
  uint64_t decisions_all_dropped = 0;  // filters left nothing
  uint64_t flights_begun = 0;
  uint64_t flights_ended = 0;
  uint64_t flights_refused = 0;  // above kFlightsMax, or without memory
  uint64_t memory_bytes = 0;     // of decisions, with their scratch memory, and flights
  std::vector<Plugin> plugins;
};

// A file of manifests, read by weir_io.
struct ResourcesSource {
  std::string path;
  bool watch_file = false;  // follow its changes
  std::string pool_name;    // entries of other pools do not count; empty: all do
};

// What the pipeline asks of the world around it.
struct RouterNeeds {
  struct ConfiguredPlugin {  // data sources, extractors, discovery: run by weir_io
    std::string type;
    std::string name;
    std::string parameters_json;
  };
  bool waiting_requests = false;  // some plugin reads the column
  bool running_requests = false;
  bool kv_used_ratio = false;
  bool kv_blocks = false;
  bool adapters = false;
  // Responses say in a header which endpoint the proxy says served them; for conformance tests.
  bool report_served_endpoint = false;
  // Values that extractors scrape for plugins, in the order of AttributeValue::attribute.
  struct ScrapedAttribute {
    std::string name;       // "llm-d.ai/multicluster-queue-size"
    std::string extractor;  // instance name
  };
  std::vector<ScrapedAttribute> attributes;
  std::vector<ConfiguredPlugin> data_layer;  // in order of the configuration
  std::string discovery_plugin;              // instance name, empty: endpoints come from elsewhere
  std::optional<ResourcesSource> resources_file;  // for ParseResources and resources().Replace
};

// A value handle: copies share one engine. All methods are safe for concurrent use by many threads;
// it starts no thread, opens no socket, and reads no clock but that of its options.
class Router {
 public:
  // Loads an EndpointPickerConfig file (YAML or JSON). Errors name file, line, field, value and
  // what was expected, one per line. [control]
  static absl::StatusOr<Router> FromFile(const std::string& path,
                                         const RouterOptions& options = {});
  // The same from text; `name` stands for the file in errors. [control]
  static absl::StatusOr<Router> FromText(std::string_view text, const std::string& name,
                                         const RouterOptions& options = {});
  // The default pipeline: queue-scorer 2, kv-cache-utilization-scorer 2, prefix-cache-scorer 3,
  // max-score-picker. [control]
  static absl::StatusOr<Router> Default(const RouterOptions& options = {});

  EndpointPool& pool() const noexcept;
  // Objectives and model rewrites, for whoever reads requests; Decide does not use them.
  ResourceStore& resources() const noexcept;

  // Chooses an endpoint for the request among all of the pool, or those of the request's subset.
  // Never blocks; allocates nothing in steady state, a refusal's text aside. Errors: kUnavailable
  // (empty pool or subset), kResourceExhausted (filters left nothing, or scratch memory above
  // kArenaBytesMax), kFailedPrecondition (if_available, and nothing of the prompt is held),
  // kInternal (plugin). The texts may be shown to clients. [hot, concurrent]
  absl::StatusOr<Decision> Decide(const Request& request) const;
  // The pure form: same inputs, same plugin memory, same answer. Errors also: kInvalidArgument (a
  // snapshot of another library, columns of another length than the snapshot).
  absl::StatusOr<Decision> Decide(const Request& request, const DecideInputs& inputs) const;

  // Counts the request as in flight on targets()[target_index] until the flight ends: 0 for the
  // primary, another if a fallback took over. Empty, and counted in stats, above kFlightsMax and
  // when memory ran out.
  // REQUIRES: the request that was decided is still alive, or decision.ReleaseRequest() was called.
  // [hot, concurrent]
  Flight Begin(const Decision& decision, uint32_t target_index = 0) const;

  // Keeps the decision among the last decisions_kept, for RecentDecisions. [hot, concurrent]
  void Record(Decision decision) const;
  // Explanations of the recorded decisions, newest first. [control, concurrent]
  std::vector<Explanation> RecentDecisions() const;

  RouterStats stats() const;                  // [control, concurrent]
  const RouterNeeds& needs() const noexcept;  // constant
  // The pipeline as it runs: order of producers, profiles with filters, scorers, weights and
  // picker, plugins that were added; one line each. [control]
  std::string Describe() const;

 private:
  friend class Intake;
  explicit Router(std::shared_ptr<internal::Engine> engine) noexcept;
  std::shared_ptr<internal::Engine> engine_;
};

}  // namespace weir
