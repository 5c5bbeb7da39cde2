// weir/sim/workload.h: which requests arrive when, in virtual time. Start at
// Workload::Conversations(), or add requests of your own.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "weir/status.h"

namespace weir::sim {

inline constexpr uint32_t kWorkloadRequestsMax = 1u << 20;
inline constexpr uint64_t kWorkloadTokensMax = 1ull << 28;  // kept of all requests: 1 GiB
inline constexpr uint32_t kWorkloadGroupsMax = 1u << 16;
inline constexpr uint32_t kRequestTokensMax = 1u << 20;  // of one prompt, and of one answer
inline constexpr double kWorkloadSecondsMax = 1e6;       // to an arrival, were answers instant

// No request, or no session.
inline constexpr uint32_t kNone = UINT32_MAX;

// A request to add.
struct RequestRecord {
  int64_t arrival_ns = 0;    // not before
  int64_t pause_ns = 0;      // at least this long after the end of the session's last request
  uint32_t session = kNone;  // its requests come one after the other
  uint32_t group = 0;        // whom it shares a prefix with; for reports, nothing else
  std::span<const uint32_t> prompt;       // token ids, at least one
  std::span<const uint32_t> answer = {};  // token ids; empty: made up
  uint32_t output_tokens = 0;             // length of a made-up answer
};

// Conversations of several turns. Those of one group begin with the same system prompt; each turn's
// prompt holds all questions and answers so far.
struct ConversationOptions {
  uint32_t conversations = 120;  // 1..kWorkloadRequestsMax, as their turns in all
  uint32_t turns = 4;            // of each, at least 1
  uint32_t groups = 12;          // 1..kWorkloadGroupsMax
  double group_skew = 0;         // 0: equally often; else group g counts 1 / (g + 1)^skew; up to 8
  uint32_t system_tokens = 1500;
  uint32_t input_tokens = 120;     // mean of a question, at least 1
  uint32_t output_tokens = 80;     // mean of an answer, at least 1
  double pause_s = 2;              // mean, between an answer and the next question
  double spread = 0.5;             // lengths and pauses are uniform in mean * (1 -+ spread); 0..1
  double conversations_per_s = 4;  // Poisson arrivals of first turns; above 0
  uint64_t seed = 1;
};

// Requests in the order of addition. Const use is concurrent.
class Workload {
 public:
  struct Entry {
    int64_t arrival_ns = 0;
    int64_t pause_ns = 0;
    uint32_t follows = kNone;      // index of the session's request before
    uint32_t followed_by = kNone;  // and after
    uint32_t session = kNone;
    uint32_t group = 0;
    uint32_t turn = 0;        // place in its session
    int64_t earliest_ns = 0;  // arrival if answers were instant
    uint32_t prompt_tokens = 0;
    uint32_t output_tokens = 0;
    uint64_t prompt_begin = 0;  // in the array of all tokens
    uint64_t answer_begin = 0;
  };

  // Equal options give equal workloads. Errors: kInvalidArgument (an option out of range, named in
  // the text), kResourceExhausted (kWorkloadTokensMax). [control]
  static absl::StatusOr<Workload> Conversations(const ConversationOptions& options);

  // Copies the tokens. Errors: kInvalidArgument (a field out of range, named in the text),
  // kResourceExhausted (kWorkloadRequestsMax, kWorkloadTokensMax). [control]
  absl::Status Add(const RequestRecord& record);

  uint32_t size() const noexcept { return static_cast<uint32_t>(entries_.size()); }
  std::span<const Entry> entries() const noexcept { return entries_; }
  // Groups are 0..group_count() - 1.
  uint32_t group_count() const noexcept { return group_count_; }
  // Views into this workload, valid until it is added to. REQUIRES: index < size()
  std::span<const uint32_t> prompt(uint32_t index) const noexcept {
    return std::span(tokens_).subspan(entries_[index].prompt_begin, entries_[index].prompt_tokens);
  }
  std::span<const uint32_t> answer(uint32_t index) const noexcept {
    return std::span(tokens_).subspan(entries_[index].answer_begin, entries_[index].output_tokens);
  }

 private:
  absl::Status Append(Entry entry);

  std::vector<Entry> entries_;
  // The turns of a generated conversation are views of one history, so their tokens are kept once.
  std::vector<uint32_t> tokens_;
  absl::flat_hash_map<uint32_t, uint32_t> last_of_session_;
  uint32_t group_count_ = 0;
};

}  // namespace weir::sim
