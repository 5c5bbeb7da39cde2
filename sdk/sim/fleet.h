// weir/sim/fleet.h: engines and a router in one virtual time. Start at RunFleet().
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "weir/clock.h"
#include "weir/router.h"
#include "weir/sim/cluster.h"
#include "weir/sim/workload.h"
#include "weir/status.h"

namespace weir::sim {

// Load samples that a run keeps; beyond, every second one is dropped and the steps double.
inline constexpr uint32_t kLoadSamplesMax = 1u << 16;
// Servers times groups of a run.
inline constexpr uint64_t kCacheMapCellsMax = 1u << 24;

struct FleetOptions {
  ClusterOptions cluster;         // its scrapes feed the router's pool
  std::string model = "model";    // that requests ask for
  std::string name_prefix = "s";  // servers are s0, s1, ...
};

enum class Outcome : uint8_t {
  kServed = 0,
  kRefused = 1,   // the router found no endpoint
  kRejected = 2,  // the server did not take it: too long, or its queue was full
};

// What became of one request. Times count from the start of the run.
struct FleetRecord {
  Outcome outcome = Outcome::kRefused;
  uint32_t server = kNone;      // where it was sent; kNone if refused
  int64_t arrival_ns = 0;       // when it was decided
  int64_t first_token_ns = -1;  // when the client saw it; -1 if there was none
  int64_t end_ns = 0;
  uint32_t cached_tokens = 0;  // of the prompt, found in the server's cache
  uint32_t output_tokens = 0;  // that the client got
};

// A server's state when it was scraped.
struct LoadSample {
  int64_t time_ns = 0;
  uint32_t server = 0;
  uint32_t waiting_requests = 0;
  uint32_t running_requests = 0;
  float kv_used_ratio = 0;
};

struct FleetRun {
  uint32_t server_count = 0;
  uint32_t group_count = 0;
  std::vector<FleetRecord> records;  // one per request of the workload
  std::vector<LoadSample> samples;   // in order of time, at most kLoadSamplesMax
  // Tokens of each group's requests in each server's prefix cache when the last request ended:
  // element server * group_count + group. A block counts for the group that stored it first.
  std::vector<uint64_t> cached_tokens;
  std::string first_failure;  // text of the first refusal or rejection, or empty
  int64_t end_ns = 0;         // when the last request ended
};

// What a caller may do during a run; each may stay empty.
struct FleetHooks {
  std::function<bool()> keep_going;  // asked every 1,024 events; false ends the run
  // Takes each decision once its request was sent. Empty: Router::Record takes them, and
  // RecentDecisions() shows the last.
  std::function<void(uint32_t request, Decision decision)> on_decision;
};

// Lets the requests arrive, decides each with `router` (Decide, Begin, FirstToken, Finish), runs it
// on the chosen engine and feeds the engines' samples to the router's pool. Equal arguments and an
// equally new router give equal runs, bit by bit. The router's pool afterwards holds the fleet's
// servers and nothing else. A request's id is its index; it carries its session and group as
// headers x-session-id and x-group.
// `clock` is the router's clock and is moved on; no other thread may use router or clock.
// Errors: kInvalidArgument (an option out of range, named in the text; an empty workload),
// kCancelled (keep_going said no); those of EndpointPool::Upsert(). [control]
absl::StatusOr<FleetRun> RunFleet(const FleetOptions& options, const Workload& workload,
                                  const Router& router, ManualClock& clock,
                                  const FleetHooks& hooks = {});

}  // namespace weir::sim
