// weir/decision.h: where a request goes, and why.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/endpoint.h"
#include "weir/request.h"
#include "weir/status.h"

namespace weir {

namespace internal {
struct DecisionState;
}  // namespace internal

// One chosen endpoint. Views live as long as the decision.
struct Target {
  uint32_t endpoint_index = 0;  // in the decision's snapshot
  EndpointId id;
  std::string_view name;  // "namespace/name"
  std::string_view address;
};

// Why a decision came out as it did; owns all it holds.
struct Explanation {
  struct Scorer {
    std::string name;  // instance name
    double weight = 1;
    uint64_t nan_scores = 0;  // counted as 0
    bool failed = false;      // counted as 0 for all
  };
  struct EndpointRow {
    std::string name;
    std::string address;
    std::string dropped_by;        // instance name of the filter, "the subset hint", or empty
    std::vector<double> raw;       // per scorer, as returned, before clamp and weight
    std::vector<double> weighted;  // per scorer, what was added
    double total = 0;
    int32_t rank = -1;              // 0 is the pick, then fallbacks; -1 not picked
    int64_t sample_age_ms = -1;     // of the load columns, -1 never sampled
    uint32_t waiting_requests = 0;  // as the scorers saw them
    uint32_t running_requests = 0;
    double kv_used_ratio = 0;
    uint32_t sent_since_sample = 0;  // requests added to the columns above
  };
  struct Profile {
    std::string name;
    bool primary = false;
    bool failed = false;
    std::string picker;
    std::vector<std::string> filters;
    std::vector<Scorer> scorers;
    std::vector<EndpointRow> endpoints;  // all candidates, in pool order
  };
  std::string request_id;  // at most the first kNameBytesMax bytes, as of the model's name
  std::string model;
  int64_t time_ns = 0;     // injected time of the decision
  uint64_t seed = 0;       // of its draws
  uint32_t draws = 0;      // uniform numbers used
  double first_draw = -1;  // the first of them, -1 if there was none
  uint64_t pool_version = 0;
  uint64_t prompt_tokens = 0;  // after the token producer
  std::vector<Profile> profiles;

  // One line per endpoint, columns aligned.
  std::string ToText() const;
  std::string ToJson() const;
};

// The answer of Router::Decide. Movable; the router must outlive it. Const use is concurrent.
class Decision {
 public:
  Decision() noexcept = default;
  Decision(Decision&& other) noexcept;
  Decision& operator=(Decision&& other) noexcept;
  ~Decision();

  // False for a default-constructed or moved-from decision.
  explicit operator bool() const noexcept { return state_ != nullptr; }

  // The endpoint that serves the request. REQUIRES: *this
  const Target& primary() const noexcept;
  // The primary and its fallbacks, best first. REQUIRES: *this
  std::span<const Target> targets() const noexcept;
  // Headers for the request to the endpoint, x-gateway-destination-endpoint first: the comma-joined
  // addresses of the targets. REQUIRES: *this
  std::span<const Header> headers() const noexcept;

  // Lets go of the request's memory: call it when that goes before this decision does. A later
  // Begin shows plugins id, model and token counts, but no headers and no prompts. [hot]
  // REQUIRES: *this
  void ReleaseRequest() noexcept;

  // Copies the reasons out. Allocates. [control] REQUIRES: *this
  weir::Explanation explanation() const;
  std::string Explain() const;
  std::string ToJson() const;

 private:
  friend class Router;
  friend struct internal::DecisionState;
  explicit Decision(internal::DecisionState* state) noexcept : state_(state) {}
  internal::DecisionState* state_ = nullptr;
};

}  // namespace weir
