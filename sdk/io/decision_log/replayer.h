// weir/io/decision_log/replayer.h: makes the decisions of a log again. Start at
// DecisionReplayer::Create().
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "weir/clock.h"
#include "weir/decision_recorder.h"
#include "weir/io/decision_log/record.h"
#include "weir/router.h"

namespace weir::io {

// Decisions whose flights may still begin; older ones are forgotten.
inline constexpr size_t kReplayDecisionsKept = 1024;
// Tokens of one request that are made up again, 128 MiB of them.
inline constexpr uint64_t kReplayTokensMax = 1u << 25;

struct ReplayOptions {
  std::string pipeline_text;                        // empty: the log's own
  std::string pipeline_name = "replayed pipeline";  // in errors
  // Requests that were recorded without tokens get the estimated ones, for a pipeline that wants
  // them although the recorded one did not.
  bool estimated_tokens = false;
  std::function<void(LogLevel, std::string_view)> log;  // of the router
};

// One decision, then and now.
struct ReplayedDecision {
  const LoggedDecision* logged = nullptr;  // of the record that was applied
  Code code = Code::kOk;
  uint32_t primary_profile = 0;
  std::vector<LoggedDecision::Profile> profiles;
  bool same_targets = false;  // the same result: code, profile and its picks, in order
  bool same_scores = false;   // also the same scores, bit for bit
};

// A fresh router that lives through a log: its pool follows the log's, its plugins see every
// request, first token and end in the recorded order, and each decision is made from the recorded
// snapshot, load, time and seed. With the log's own pipeline and no gaps the results are those
// recorded, as far as the log tells: threads that decided at the same time may have seen plugins'
// memory in another order. Prompts are made up: as many tokens, equal where the blocks were equal.
// One thread at a time.
class DecisionReplayer final : private DecisionRecorder {
 public:
  // Errors: those of Router::FromText. [control]
  static absl::StatusOr<std::unique_ptr<DecisionReplayer>> Create(const LogHeader& header,
                                                                  const ReplayOptions& options);
  ~DecisionReplayer() override;

  // Applies the next record. The result is null unless the record is a decision; owned, until the
  // next call, as is the record. Errors: kInvalidArgument (an endpoint that no pool takes, a prompt
  // above kReplayTokensMax, a pool of another size than the log's); the replay cannot go on.
  absl::StatusOr<const ReplayedDecision*> Apply(const LogRecord& record);

  const Router& router() const noexcept { return *router_; }
  uint64_t decisions() const noexcept { return decisions_; }
  uint64_t different() const noexcept { return different_; }  // of these, other targets
  uint64_t missing() const noexcept { return missing_; }      // as gaps say

 private:
  class ReplayClock final : public Clock {
   public:
    int64_t now_ns() const noexcept override { return now_ns_; }
    // Any time: samples of a pool may be older than the decision before.
    void Set(int64_t now_ns) noexcept { now_ns_ = now_ns; }

   private:
    int64_t now_ns_ = 0;
  };
  // A request and all that its views point to.
  struct Replay {
    LoggedRequest logged;
    std::vector<Header> headers;
    std::vector<std::string_view> subset;
    std::vector<std::vector<uint32_t>> tokens;
    std::vector<Prompt> prompts;
    Request request;
    Decision decision;
  };

  DecisionReplayer(const LogHeader& header, const ReplayOptions& options);
  absl::Status ApplyPool(const PoolDelta& delta);
  absl::Status ApplySamples(std::vector<uint32_t> rows);
  absl::Status ApplyDecision(const LoggedDecision& decision);
  absl::Status MakeRequest(const LoggedRequest& logged, Replay& replay) const;
  void Compare(const LoggedDecision& logged);
  void ApplyBegin(const LoggedBegin& begin);

  absl::Status Start(const RouterDescription&) override { return absl::OkStatus(); }
  uint64_t OnDecision(const DecisionObservation& decision) noexcept override;
  uint64_t OnBegin(uint64_t, uint32_t, int64_t) noexcept override { return 0; }
  void OnFirstToken(uint64_t, int64_t) noexcept override {}
  void OnEnd(uint64_t, int64_t, const weir::Usage&, End) noexcept override {}

  const ReplayOptions options_;
  const uint32_t prompt_block_tokens_;
  ReplayClock clock_;
  std::optional<Router> router_;
  LoggedPool pool_;
  ReplayedDecision result_;
  std::vector<uint32_t> sent_requests_;
  std::vector<uint32_t> sent_tokens_;
  std::unordered_map<uint64_t, std::unique_ptr<Replay>> replays_;  // by number
  std::deque<uint64_t> replay_order_;
  std::unordered_map<uint64_t, Flight> flights_;
  uint64_t decisions_ = 0;
  uint64_t different_ = 0;
  uint64_t missing_ = 0;
};

}  // namespace weir::io
