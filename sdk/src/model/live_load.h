// model/live_load.h: what weir itself sent to each endpoint, counted while it happens.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include "weir/endpoint.h"

namespace weir::internal {

// Below zero for a moment where a sample came between a begin and its end.
inline uint32_t NotNegative(const std::atomic<int32_t>& count) noexcept {
  return static_cast<uint32_t>(std::max(0, count.load(std::memory_order_relaxed)));
}

// One endpoint's counters. Requests that began before the last sample was started are in the
// sample; the younger ones are counted here, in the bucket of the epoch they began in. A sample in
// progress opens a new epoch; when it arrives, the bucket of the epoch before is forgotten.
struct SlotLoad {
  std::array<std::atomic<int32_t>, 2> sent_requests = {};
  std::array<std::atomic<int32_t>, 2> sent_tokens = {};
  std::atomic<uint32_t> epoch{0};
  std::atomic<uint32_t> open_flights{0};
  std::atomic<uint32_t> generation{0};
  bool sample_in_progress = false;  // guarded by the pool's lock

  // Requests begun since the last sample was started and not ended. [hot, concurrent]
  uint32_t unseen_requests() const noexcept {
    return NotNegative(sent_requests[0]) + NotNegative(sent_requests[1]);
  }
  uint32_t unseen_tokens() const noexcept {
    return NotNegative(sent_tokens[0]) + NotNegative(sent_tokens[1]);
  }
};
static_assert(sizeof(SlotLoad) == 32);

// The share of one flight in its slot's counters.
struct SlotShare {
  EndpointId id;
  uint32_t epoch = 0;
  int32_t tokens = 0;
  bool counted = false;
};

class LiveLoad {
 public:
  SlotLoad& operator[](uint32_t slot) noexcept { return slots_[slot]; }
  const SlotLoad& operator[](uint32_t slot) const noexcept { return slots_[slot]; }

  // Counts a request on an endpoint; not counted if that endpoint is gone. [hot, concurrent]
  SlotShare Begin(EndpointId id, int32_t tokens) noexcept {
    SlotLoad& load = slots_[id.slot];
    // Open first, then look at the generation: Retire does it the other way round, so that one of
    // the two sees the other.
    load.open_flights.fetch_add(1);
    if (load.generation.load() != id.generation) {
      load.open_flights.fetch_sub(1);
      return {};
    }
    const uint32_t epoch = load.epoch.load(std::memory_order_relaxed);
    load.sent_requests[epoch & 1].fetch_add(1, std::memory_order_relaxed);
    load.sent_tokens[epoch & 1].fetch_add(tokens, std::memory_order_relaxed);
    return {id, epoch, tokens, true};
  }
  void End(const SlotShare& share) noexcept {
    if (!share.counted) return;
    SlotLoad& load = slots_[share.id.slot];
    if (load.epoch.load(std::memory_order_relaxed) - share.epoch <= 1) {
      load.sent_requests[share.epoch & 1].fetch_sub(1, std::memory_order_relaxed);
      load.sent_tokens[share.epoch & 1].fetch_sub(share.tokens, std::memory_order_relaxed);
    }
    load.open_flights.fetch_sub(1);
  }

  // Under the pool's lock. After a failed sample the next one changes nothing: what was sent since
  // the failed one stays counted for one sample longer.
  void SampleStarted(uint32_t slot) noexcept {
    SlotLoad& load = slots_[slot];
    if (load.sample_in_progress) return;
    load.sample_in_progress = true;
    const uint32_t next = load.epoch.load(std::memory_order_relaxed) + 1;
    load.sent_requests[next & 1].store(0, std::memory_order_relaxed);
    load.sent_tokens[next & 1].store(0, std::memory_order_relaxed);
    load.epoch.store(next, std::memory_order_relaxed);
  }
  void SampleApplied(uint32_t slot) noexcept {
    SlotLoad& load = slots_[slot];
    const uint32_t epoch = load.epoch.load(std::memory_order_relaxed);
    if (load.sample_in_progress) {
      ForgetBucket(load, (epoch + 1) & 1);
    } else {
      load.epoch.store(epoch + 2, std::memory_order_relaxed);
      ForgetBucket(load, 0);
      ForgetBucket(load, 1);
    }
    load.sample_in_progress = false;
  }
  // Ends this incarnation: later Begins with its id count nothing.
  void Retire(uint32_t slot) noexcept { slots_[slot].generation.fetch_add(1); }
  bool idle(uint32_t slot) const noexcept { return slots_[slot].open_flights.load() == 0; }
  void Clear(uint32_t slot) noexcept {
    SampleApplied(slot);
    SampleApplied(slot);
  }

 private:
  static void ForgetBucket(SlotLoad& load, uint32_t bucket) noexcept {
    load.sent_requests[bucket].store(0, std::memory_order_relaxed);
    load.sent_tokens[bucket].store(0, std::memory_order_relaxed);
  }

  std::array<SlotLoad, kEndpointsMax> slots_;
};

}  // namespace weir::internal
