// weir/decision_recorder.h: a listener to everything that decisions depend on, for logs that can be
// replayed. weir_io has one that writes a file: weir/io/decision_log/writer.h.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "weir/endpoint.h"
#include "weir/flight.h"
#include "weir/options.h"
#include "weir/request.h"
#include "weir/status.h"

namespace weir {

// A router at its start. Borrowed, until return.
struct RouterDescription {
  std::string_view pipeline_name;  // the file's, as in errors
  std::string_view pipeline_text;
  const RouterOptions& options;
  uint32_t attribute_count = 0;  // columns of PoolSnapshot::attribute
};

// One decision: what went in and what came out. Borrowed, until return.
struct DecisionObservation {
  struct Profile {
    uint32_t index = 0;  // in the pipeline
    bool failed = false;
    std::span<const uint32_t> picks;  // endpoint indices, best first
    std::span<const double> scores;   // weighted sums of the picks
  };
  const Request& request;
  // As the plugins saw them: with tokens if there is a token producer.
  std::span<const Prompt> prompts;
  // shared_from_this() keeps it.
  const PoolSnapshot& snapshot;
  bool snapshot_given = false;  // by the caller, so that its version says nothing about the pool's
  // Per endpoint of the snapshot, what was begun since its sample and counted as load; empty if the
  // decision failed before that.
  std::span<const uint32_t> sent_requests;
  std::span<const uint32_t> sent_tokens;
  int64_t now_ns = 0;
  uint64_t seed = 0;
  uint32_t draws = 0;
  Code code = Code::kOk;
  uint32_t primary_profile = 0;       // index in the pipeline, if code is kOk
  std::span<const Profile> profiles;  // those that ran
};

// Give one to RouterOptions::recorder. Calls marked hot come on the threads that decide.
class DecisionRecorder {
 public:
  virtual ~DecisionRecorder() = default;

  // A router with this recorder is being made; comes before every other call. An error fails the
  // router's creation with it. [control]
  virtual absl::Status Start(const RouterDescription& router) = 0;

  // Returns a number for OnBegin, or 0 if this decision is not kept. [hot, concurrent]
  virtual uint64_t OnDecision(const DecisionObservation& decision) noexcept = 0;
  // Returns a number for the calls below, or 0 if they are not wanted. Not called for decisions
  // that are not kept. `target_index` is the place in the decision's targets. [hot, concurrent]
  virtual uint64_t OnBegin(uint64_t decision, uint32_t target_index, int64_t now_ns) noexcept = 0;
  // At most once, before OnEnd. [hot, concurrent]
  virtual void OnFirstToken(uint64_t flight, int64_t now_ns) noexcept = 0;
  // Exactly once. [hot, concurrent]
  virtual void OnEnd(uint64_t flight, int64_t now_ns, const Usage& usage, End end) noexcept = 0;
};

}  // namespace weir
