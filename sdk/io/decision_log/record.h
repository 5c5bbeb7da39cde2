// weir/io/decision_log/record.h: what a decision log holds, as values. docs/decision_log_format.md
// says how they lie in the file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "weir/endpoint.h"
#include "weir/flight.h"
#include "weir/limits.h"
#include "weir/options.h"
#include "weir/request.h"
#include "weir/status.h"

namespace weir::io {

// What a log may hold; a reader refuses more, so that a hostile file costs no more than an honest
// one.
inline constexpr uint32_t kDecisionLogVersion = 1;                     // a reader reads no other
inline constexpr uint32_t kDecisionLogRecordBytesMax = 4u << 20;       // the pipeline's text fits
inline constexpr uint32_t kDecisionLogStringsMax = 1u << 14;           // texts written once
inline constexpr uint32_t kDecisionLogStringBytesMax = kNameBytesMax;  // of a text of a request
inline constexpr uint32_t kDecisionLogHeadersMax = 32;                 // of one request
inline constexpr uint32_t kDecisionLogBlocksMax = 1u << 14;  // of one request: a million tokens
inline constexpr uint32_t kDecisionLogSubsetMax = kEndpointsMax;    // addresses of one request
inline constexpr uint32_t kDecisionLogSubsetBytesMax = 128u << 10;  // of these, with separators
inline constexpr uint32_t kDecisionLogNodesMax = 1u << 18;  // blocks written once, then named

// The first record of every log.
struct LogHeader {
  uint32_t minor_version = 0;  // of the format that wrote it
  std::string weir_version = {};
  std::string pipeline_name = {};
  std::string pipeline_text = {};
  uint64_t pipeline_hash = 0;  // XXH64 of the text
  // Of RouterOptions.
  bool count_unscraped_requests = true;
  UnscrapedPolicy unscraped = UnscrapedPolicy::kWorst;
  int64_t sample_age_ns_max = 0;
  bool allow_experimental_plugins = false;
  std::vector<std::string> plugin_files = {};
  uint32_t attribute_count = 0;      // scraped columns beside those of load
  uint32_t prompt_block_tokens = 0;  // tokens that one hash of a prompt stands for
  int64_t start_unix_ns = 0;         // wall clock when the log was opened
  bool operator==(const LogHeader&) const = default;
};

// One endpoint as a snapshot shows it.
struct LoggedEndpoint {
  EndpointId id = {};
  std::string name = {};  // "namespace/name"
  std::string address = {};
  std::map<std::string, std::string> labels = {};
  uint32_t waiting_requests = 0;
  uint32_t running_requests = 0;
  float kv_used_ratio = 0;
  uint32_t kv_block_tokens = 0;
  uint32_t kv_block_count = 0;
  int64_t sample_time_ns = INT64_MIN;  // never sampled
  EndpointAdapters adapters = {};
  std::vector<std::optional<double>> attributes = {};  // empty where never reported
  bool operator==(const LoggedEndpoint&) const = default;
};

// From the pool of the decisions before to that of the decisions after.
struct PoolDelta {
  enum Field : uint32_t {
    kWaiting = 1,
    kRunning = 2,
    kKvUsed = 4,
    kBlockTokens = 8,
    kBlockCount = 16,
    kSampleTime = 32,
    kAddress = 64,
    kLabels = 128,
    kAdapters = 256,
    kAttributes = 512,
    kAllFields = 1023,
  };
  struct Change {
    uint32_t row = 0;  // after removals
    uint32_t fields = 0;
    LoggedEndpoint values = {};  // id, name and what `fields` leaves out are empty
    bool operator==(const Change&) const = default;
  };
  uint64_t version = 0;  // of the snapshot
  uint64_t pool_epoch = 0;
  std::vector<uint32_t> removed = {};      // rows before, ascending
  std::vector<Change> changed = {};        // ascending rows
  std::vector<LoggedEndpoint> added = {};  // at the end
  bool operator==(const PoolDelta&) const = default;
};

struct LoggedPrompt {
  uint64_t token_count = 0;
  // No plugin and no client made tokens: they are those of the default token producer, four bytes
  // of text each and one per media asset.
  bool estimated = false;
  // h_1, h_2, ... as weir/prefix_hash.h has them, of the header's prompt_block_tokens, for the
  // model
  // "" without salt; the last one may stand for less tokens. Fewer than the prompt has if that has
  // more than kDecisionLogBlocksMax.
  std::vector<uint64_t> block_hashes = {};
  bool operator==(const LoggedPrompt&) const = default;
};

struct LoggedRequest {
  Api api = Api::kOther;
  std::string id = {};
  std::string model = {};
  std::string incoming_model = {};  // empty: the same
  std::string objective = {};
  std::string cache_salt = {};
  std::string fairness_id = {};
  int32_t priority = 0;
  bool stream = false;
  bool include_usage = false;
  bool if_available = false;
  bool any_endpoint = false;
  bool cut = false;  // something was longer or more than the log's limits
  std::optional<int64_t> max_output_tokens = {};
  uint64_t size_bytes = 0;
  std::optional<std::vector<std::string>> subset = {};  // lists divided at their commas
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::vector<LoggedPrompt> prompts = {};
  bool operator==(const LoggedRequest&) const = default;
};

struct LoggedDecision {
  // What was begun at an endpoint since its sample.
  struct Sent {
    uint32_t row = 0;
    uint32_t requests = 0;  // at least 1
    uint32_t tokens = 0;
    bool operator==(const Sent&) const = default;
  };
  struct Pick {
    uint32_t row = 0;
    double score = 0;
    bool operator==(const Pick&) const = default;
  };
  struct Profile {
    uint32_t index = 0;
    bool failed = false;
    std::vector<Pick> picks = {};  // best first
    bool operator==(const Profile&) const = default;
  };
  uint64_t number = 0;  // from 1; neighbours may be swapped, and those not kept are missing
  int64_t now_ns = 0;
  uint64_t seed = 0;
  uint32_t draws = 0;
  Code code = Code::kOk;
  LoggedRequest request = {};
  bool has_sent = false;               // false: it failed before the load was counted
  std::vector<Sent> sent = {};         // ascending rows; the others have none
  uint32_t primary_profile = 0;        // index in the pipeline, if code is kOk
  std::vector<Profile> profiles = {};  // those that ran
  bool operator==(const LoggedDecision&) const = default;

  // The picks that the decision's targets were, empty if it failed.
  const std::vector<Pick>& targets() const;
};

struct LoggedBegin {
  uint64_t flight = 0;    // from 1
  uint64_t decision = 0;  // its number
  uint32_t target_index = 0;
  int64_t now_ns = 0;
  bool operator==(const LoggedBegin&) const = default;
};

struct LoggedFirstToken {
  uint64_t flight = 0;
  int64_t now_ns = 0;
  bool operator==(const LoggedFirstToken&) const = default;
};

struct LoggedEnd {
  uint64_t flight = 0;
  int64_t now_ns = 0;
  End end = End::kCompleted;
  weir::Usage usage = {};
  bool operator==(const LoggedEnd& other) const {
    return flight == other.flight && now_ns == other.now_ns && end == other.end &&
           usage.prompt_tokens == other.usage.prompt_tokens &&
           usage.cached_tokens == other.usage.cached_tokens &&
           usage.output_tokens == other.usage.output_tokens;
  }
};

// So many decisions and events are missing here, because the writer could not keep up.
struct LoggedGap {
  uint64_t dropped = 0;
  bool operator==(const LoggedGap&) const = default;
};

// The last record of a log that was closed.
struct LogEnd {
  enum class Reason : uint32_t { kClosed = 0, kBytesMax = 1 };
  Reason reason = Reason::kClosed;
  uint64_t decisions = 0;  // in the log
  uint64_t dropped = 0;    // missing in it
  bool operator==(const LogEnd&) const = default;
};

using LogRecord = std::variant<LogHeader, PoolDelta, LoggedDecision, LoggedBegin, LoggedFirstToken,
                               LoggedEnd, LoggedGap, LogEnd>;

// The pool that the next decision of a log saw.
struct LoggedPool {
  uint64_t version = 0;
  uint64_t pool_epoch = 0;
  std::vector<LoggedEndpoint> endpoints = {};

  // REQUIRES: the delta's rows exist, as in deltas that a reader returned and those of Diff.
  void Apply(const PoolDelta& delta);
  // What makes this pool the snapshot. An endpoint whose place in the order changed is removed and
  // added again. REQUIRES: the snapshot has this many columns of attributes.
  PoolDelta Diff(const PoolSnapshot& snapshot, uint32_t attribute_count) const;
};

}  // namespace weir::io
