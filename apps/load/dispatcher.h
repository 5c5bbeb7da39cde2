// load/dispatcher.h: when to ask. Turns a source and an arrival process into launches, in any time.
#pragma once

#include <cstdint>
#include <vector>

#include "load/source.h"
#include "weir/random.h"

namespace weir::load {

enum class Arrival : uint8_t {
  kClosed,    // `concurrency` requests in flight at all times
  kFixed,     // `rate_per_s`, equal gaps
  kPoisson,   // `rate_per_s`, exponential gaps
  kRecorded,  // at due_ns[i]
};

struct DispatchPlan {
  Arrival arrival = Arrival::kClosed;
  double rate_per_s = 1;
  int64_t phase_ns = 0;  // added to the times of kFixed
  uint32_t concurrency = 1;
  int64_t ramp_ns = 0;          // kClosed: reach the concurrency evenly over this time
  std::vector<int64_t> due_ns;  // kRecorded: ascending
  uint32_t in_flight_max = 100'000;
  uint64_t requests_max = 0;     // 0: no limit
  int64_t duration_ns = 0;       // nothing is due after it; 0: no limit
  int64_t warmup_ns = 0;         // requests due before it are not measured
  uint64_t warmup_requests = 0;  // nor are the first so many
  uint64_t seed = 1;
};

// The part of the plan that one of shard.count dispatchers carries out; together they do the whole.
// REQUIRES: shard.count is at most MaxShards(plan).
DispatchPlan ShareOf(const DispatchPlan& plan, Shard shard);
// How many dispatchers can share the plan so that each has something to do.
uint32_t MaxShards(const DispatchPlan& plan);

// Arrivals that could not be sent (in_flight_max, no conversation ready) this long after the end of
// the run count as unsent.
inline constexpr int64_t kArrivalGraceNs = 1'000'000'000;

// A request to send now.
struct Launch {
  Item item;
  // The time it should have been sent. Latencies count from here: a generator that cannot keep
  // pace, or a server that blocks it, shows in the figures instead of hiding in them. A turn is not
  // due before the answer to the turn before it, and the user's time to think, are over.
  int64_t due_ns = 0;
  bool measured = true;
};

struct Step {
  enum class Kind : uint8_t { kSend, kWaitUntil, kWaitForFinish, kDone };
  Kind kind;
  int64_t until_ns = 0;  // kWaitUntil
};

// One thread at a time. Reads no clock: the caller says what time it is, counted from the start.
class Dispatcher {
 public:
  // Borrowed: `source`, for the life of the dispatcher.
  Dispatcher(DispatchPlan plan, Source& source);

  // What to do at now_ns. After kSend the caller asks again; after kDone nothing more is sent.
  Step Next(int64_t now_ns, Launch* launch);

  // Says that a launched request ended; see Source::Finish.
  void Finish(const Launch& launch, std::string_view escaped_answer, int64_t now_ns);

  uint64_t launched() const noexcept { return launched_; }
  uint32_t in_flight() const noexcept { return in_flight_; }
  // Arrivals of an open loop that were due and never sent; final after kDone.
  uint64_t unsent() const noexcept { return unsent_; }
  // Arrivals of an open loop that found no conversation ready for its next turn.
  uint64_t waited_for_turn() const noexcept { return waited_for_turn_; }

 private:
  Step NextClosed(int64_t now_ns, Launch* launch);
  Step NextOpen(int64_t now_ns, Launch* launch);
  Step Take(int64_t now_ns, int64_t due_ns, Launch* launch);
  void AdvanceDue();

  const DispatchPlan plan_;
  Source& source_;
  Random random_;
  uint64_t launched_ = 0;
  uint32_t in_flight_ = 0;
  int64_t due_ns_ = 0;
  double due_exact_ns_ = 0;
  uint64_t arrivals_ = 0;
  uint64_t unsent_ = 0;
  uint64_t waited_for_turn_ = 0;
  int64_t turn_ready_ns_ = 0;  // the source had nothing to offer before
  bool blocked_ = false;       // nor has it until a request finishes
  bool arrivals_over_ = false;
};

}  // namespace weir::load
