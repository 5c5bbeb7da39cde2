// engine/state.h: the working memory of one decision and of one request in flight.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/arena.h"
#include "model/live_load.h"
#include "model/snapshot.h"
#include "plugin/registry.h"
#include "weir/decision.h"
#include "weir/limits.h"
#include "weir/plugin/abi.h"
#include "weir/random.h"

namespace weir::internal {

class Engine;

// In dropped_by: not a filter, but the request's subset hint.
inline constexpr uint8_t kDroppedBySubset = UINT8_MAX;
static_assert(kPluginsPerProfileMax < kDroppedBySubset);

// One profile's part in a decision. Arrays lie in the arena.
struct ProfileRun {
  uint32_t state = WEIR_PROFILE_NOT_RUN;
  uint32_t survivor_count = 0;
  const uint32_t* survivors = nullptr;  // endpoint indices; null: all endpoints
  uint8_t* dropped_by = nullptr;        // per endpoint: 1 + position of the filter, 0 if kept,
                                        // or kDroppedBySubset
  double** raw = nullptr;               // per scorer: scores of the survivors, null if it failed
  uint32_t* nan_scores = nullptr;       // per scorer
  double* total = nullptr;              // per survivor
  std::array<uint32_t, kTargetsMax> picks = {};  // endpoint indices, best first
  uint32_t pick_count = 0;
};

// What the host slots see behind a weir_call.
struct CallState : weir_call {
  const DecisionState* state = nullptr;
  uint32_t plugin = 0;                  // that is being called
  const uint32_t* survivors = nullptr;  // of the batch it sees; null: all endpoints
  Arena* arena = nullptr;               // null in an observer's begin
  Random random{0};
  uint32_t draws = 0;
  double first_draw = -1;

  double Draw() noexcept {
    const double draw = random.NextUniform();
    if (draws++ == 0) first_draw = draw;
    return draw;
  }
};

// The columns that one plugin declared, while it is called.
using BoundColumns = std::array<const void*, kAttributesPerTypeMax>;

// What was begun since each endpoint's sample, per endpoint of a snapshot. Empty: as counted here.
struct SentLoad {
  std::span<const uint32_t> requests;
  std::span<const uint32_t> tokens;
};

struct DecisionState {
  // For the free list.
  std::atomic<uint32_t> free_next{0};
  uint32_t free_index = 0;

  Engine* engine = nullptr;
  Arena arena{kArenaBytesMax};
  std::shared_ptr<const Snapshot> snapshot;
  bool snapshot_given = false;  // by the caller, so its version says nothing about the pool's
  CallState call = {};
  weir_request request = {};
  weir_prompt* prompts = nullptr;  // request.prompts, writable for a token producer
  weir_batch batch = {};           // all endpoints
  uint32_t* waiting = nullptr;     // columns of batch that this decision computed
  uint32_t* running = nullptr;
  float* kv_used = nullptr;
  uint32_t* sample_age_ms = nullptr;
  uint64_t* allowed = nullptr;        // mask of endpoints that the subset hint leaves; null: all
  bool any_endpoint = false;          // draw among what filters leave
  std::string_view refusal;           // why there is no decision; a constant
  uint32_t* unseen = nullptr;         // requests sent since the sample
  uint32_t* unseen_tokens = nullptr;  // of these; only with a recorder
  SentLoad given_sent;
  bool prepared = false;            // request and batch are this decision's
  void** columns = nullptr;         // per pipeline column, null if not produced
  void** request_states = nullptr;  // per plugin, null if it has none or failed
  uint64_t seed = 0;
  int64_t now_ns = 0;
  ProfileRun* profiles = nullptr;  // per profile of the pipeline, in the arena
  uint32_t primary_profile = 0;
  uint64_t record = 0;  // the recorder's number of this decision, 0 if it keeps none
  std::array<Target, kTargetsMax> targets;
  uint32_t target_count = 0;
  std::array<Header, 1> headers;
  std::string_view request_id;  // copies
  std::string_view model;

  std::span<const Target> chosen() const { return {targets.data(), target_count}; }

  // Keeps of the request what lies in the arena: id, model and token counts.
  void ForgetRequest() noexcept {
    request.id = {request_id.data(), request_id.size()};
    request.model = {model.data(), model.size()};
    request.cache_salt = request.fairness_id = {nullptr, 0};
    request.headers = nullptr;
    request.header_count = 0;
    for (uint64_t p = 0; p < request.prompt_count; ++p) {
      prompts[p] = {nullptr, 0, nullptr, prompts[p].token_count};
    }
  }
};

struct FlightState {
  std::atomic<uint32_t> free_next{0};
  uint32_t free_index = 0;

  Engine* engine = nullptr;
  bool first_token_seen = false;
  uint64_t record = 0;    // the recorder's number of this flight, 0 if it keeps none
  bool observed = false;  // the plugins were told; not if its endpoint was gone when it began
  uint32_t share_count = 0;
  std::array<SlotShare, kProfilesMax> shares;  // at the first picks of the profiles
  alignas(8) std::array<std::byte, kFlightStateTotalBytesMax> observer_bytes;
};

}  // namespace weir::internal
