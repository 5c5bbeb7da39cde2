// weir/io/decision_log/events.h: what the threads that decide put into the ring, and what the
// writer's thread makes of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/decision_recorder.h"
#include "weir/io/decision_log/record.h"
#include "weir/io/decision_log/ring.h"

namespace weir::io {

enum class EventKind : uint64_t { kDecision, kBegin, kFirstToken, kEnd };

// An entry that stands alone.
struct FlightEvent {
  EventKind kind;
  uint64_t flight;
  uint64_t decision;  // of kBegin
  int64_t now_ns;
  uint32_t target_index;  // of kBegin
  uint32_t end;           // of kEnd
  weir::Usage usage;      // of kEnd
};

// An entry for a decision; arrays and texts follow it in the order of the counts.
struct DecisionEvent {
  struct Prompt {
    uint64_t token_count;
    uint32_t hash_count;
    uint32_t estimated;
  };
  struct Sent {
    uint32_t row, requests, tokens;
  };
  struct Profile {
    uint32_t index, failed, pick_count;
  };
  struct HeaderSizes {
    uint32_t name, value;
  };
  enum Flags : uint32_t {
    kStream = 1,
    kIncludeUsage = 2,
    kCut = 4,
    kHasMaxTokens = 8,
    kHasSent = 16,
    kHasSubset = 32,
    kIfAvailable = 64,
    kAnyEndpoint = 128
  };

  EventKind kind;
  uint64_t number;
  int64_t now_ns;
  uint64_t seed;
  uint64_t size_bytes;
  int64_t max_output_tokens;
  uint64_t snapshot_version;
  // Owns one reference of the snapshot if has_snapshot; the consumer takes it.
  alignas(std::shared_ptr<const PoolSnapshot>)
      std::array<std::byte, sizeof(std::shared_ptr<const PoolSnapshot>)> snapshot;
  uint32_t has_snapshot;
  uint32_t flags;
  uint32_t draws;
  int32_t code;
  uint32_t api;
  int32_t priority;
  uint32_t primary_profile;
  uint32_t prompt_count;
  uint32_t hash_count;  // of all prompts
  uint32_t pick_count;  // of all profiles
  uint32_t sent_count;
  uint32_t profile_count;
  uint32_t header_count;
  // Id, model, incoming model, objective, cache salt, fairness id.
  std::array<uint32_t, 6> text_bytes;
  uint32_t subset_bytes;  // addresses, each with a comma behind it
};

// Which parts of a decision become an event.
struct EventOptions {
  uint32_t prompt_block_tokens = 64;
  std::span<const std::string> headers;  // names beside those that are always kept
};

// Writes a decision into the ring and returns whether there was room. `with_snapshot` says whether
// the event brings its snapshot. Allocates nothing. [hot, concurrent]
bool PutDecision(const DecisionObservation& decision, const EventOptions& options, uint64_t number,
                 bool with_snapshot, size_t spare_bytes, EventRing& ring) noexcept;
bool PutFlight(const FlightEvent& event, EventRing& ring) noexcept;

// The value of a decision's event. *record's memory is reused.
void TakeDecision(const DecisionEvent& event, LoggedDecision* record);
// The snapshot that the event brought, null if none. It has none afterwards.
std::shared_ptr<const PoolSnapshot> TakeSnapshot(DecisionEvent& event) noexcept;

}  // namespace weir::io
