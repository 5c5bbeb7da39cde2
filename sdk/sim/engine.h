// weir/sim/engine.h: a continuous-batching inference engine in virtual time. Start at
// Engine::Create().
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "weir/random.h"
#include "weir/sim/block_pool.h"
#include "weir/sim/hardware.h"
#include "weir/sim/observer.h"
#include "weir/sim/step_time.h"
#include "weir/status.h"

namespace weir::sim {

// Whose scheduler the engine follows.
enum class Personality : uint8_t { kVllm, kSglang };

enum class Jitter : uint8_t {
  kNone,  // steps take what the formula says
  kReal,  // log-normal noise, and one step in a thousand takes three times as long
};

// Highest limits that options may set.
inline constexpr uint32_t kWaitingRequestsMax = 1u << 20;
inline constexpr uint32_t kRunningRequestsMax = 1u << 14;
inline constexpr uint32_t kModelTokensMax = 1u << 23;

struct EngineOptions {
  // Affects what is served.
  Personality personality = Personality::kVllm;
  ModelShape model;   // required
  Hardware hardware;  // required
  uint32_t tensor_parallel = 1;
  Precision precision = Precision::kBf16;

  // Affects memory.
  MemoryPlan memory;
  uint32_t block_tokens = 0;  // 0: 16 for vLLM, 1 for SGLang
  uint32_t block_count = 0;   // 0: what fits on the hardware
  bool prefix_caching = true;

  // Affects scheduling.
  uint32_t model_tokens_max = 131072;        // context limit, prompt and output
  uint32_t step_tokens_max = 0;              // 0: the engine's default for the hardware
  uint32_t running_requests_max = 0;         // 0: the engine's default for the hardware
  uint32_t waiting_requests_max = 65536;     // Submit() fails beyond
  uint32_t prefill_chunk_tokens_max = 0;     // per request and step; 0: no limit (vLLM)
  bool priority_scheduling = false;          // lower value first, preempts (vLLM)
  uint32_t loras_max = 0;                    // distinct adapters running; 0: no limit
  uint32_t prefill_step_tokens_max = 16384;  // of one prefill batch (SGLang)
  bool mixed_chunk = false;                  // decodes join prefill batches (SGLang)
  bool longest_prefix_first = false;         // order of the waiting queue (SGLang)

  // Affects time.
  int64_t ingress_ns = 15'600'000;   // API server, before a request is queued
  int64_t token_output_ns = 46'000;  // from the end of a step to the client
  int64_t finish_ns = 780'000;       // more, for the end of a request
  Jitter jitter = Jitter::kNone;
  double jitter_sigma = 0.03;
  uint64_t seed = 0;
};

struct RequestSpec {
  RequestId id = 0;
  std::vector<uint32_t> prompt_tokens;  // at least one
  std::vector<uint32_t> output_tokens;  // what the model will answer, at least one
  uint32_t output_tokens_max = 0;       // the client's limit; 0: none
  int32_t priority = 0;
  uint32_t lora = 0;        // adapter number, 0: the base model
  uint64_t cache_salt = 0;  // requests with different salts share no blocks
};

// Gauges are of now; counters start with the engine and survive Restart().
struct EngineStats {
  uint32_t running_requests = 0;
  uint32_t waiting_requests = 0;
  uint32_t used_blocks = 0;
  uint32_t block_count = 0;
  uint64_t steps = 0;
  uint64_t preemptions = 0;
  uint64_t evicted_blocks = 0;  // allocated again while they held content
  uint64_t prefix_queried_tokens = 0;
  uint64_t prefix_hit_tokens = 0;
  uint64_t prompt_tokens = 0;  // of requests whose prompt is computed
  uint64_t output_tokens = 0;
  uint64_t finished_requests[3] = {};  // by FinishReason
};

// A deterministic state machine: equal options, seed and calls give equal reports. It has no
// thread, socket or clock. One thread at a time.
class Engine {
 public:
  // Borrows `observer` until the engine is destroyed.
  // Errors: kInvalidArgument (an option out of range, named in the text; a model that does not
  // fit). [control]
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options,
                                                        EngineObserver& observer);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Hands over a request that arrives at `arrival_ns`, which may lie ahead.
  // Errors: kInvalidArgument (no tokens, arrival before now() or before an earlier arrival),
  // kAlreadyExists (id), kOutOfRange (the prompt leaves no room for an answer within
  // model_tokens_max, or prompt and answer need more blocks than there are), kResourceExhausted
  // (too many waiting).
  absl::Status Submit(RequestSpec spec, int64_t arrival_ns);

  // Ends a request at the next step boundary, at once if it waits; it finishes with kAbort.
  // False if the engine does not hold `id`.
  bool Cancel(RequestId id);

  // Time of the next thing that happens, or kNever.
  static constexpr int64_t kNever = INT64_MAX;
  int64_t NextEventTime() const noexcept;

  // Lets everything up to and including `now_ns` happen, reporting in order of time. A time before
  // now() changes nothing.
  void AdvanceTo(int64_t now_ns);

  int64_t now_ns() const noexcept { return now_ns_; }
  EngineStats stats() const noexcept;
  // Options with the defaults filled in.
  const EngineOptions& options() const noexcept { return options_; }
  const BlockPool& pool() const noexcept { return *pool_; }

  // Forgets cached blocks. False, and nothing changes, while a request holds blocks.
  bool ResetPrefixCache();
  // Aborts all requests, reports them, and forgets all cached blocks.
  void Restart();
  // Stretches each step that starts from now on. REQUIRES: factor > 0
  void set_step_time_factor(double factor) noexcept { step_time_factor_ = factor; }

 private:
  struct Request;
  struct Scheduled {
    Request* request = nullptr;
    uint32_t new_tokens = 0;
  };
  struct Output {
    int64_t at_ns = 0;
    TokenReport token;
    Request* finished = nullptr;  // set: a finish, else a token
  };

  Engine(const EngineOptions& options, EngineObserver& observer);

  // engine.cc: time, queues, the end of a step
  void TakeArrivals();
  void StartStep();
  void CommitStep();
  void StoreFullBlocks(Request& request);
  void EmitToken(Request& request);
  void Finish(Request& request, FinishReason reason);
  void DeliverOutputs();
  void SweepCancelled();
  int64_t StepNs();

  // schedule.cc: what both schedulers need
  void Enqueue(Request& request, bool at_head);
  uint32_t FindPrefix(Request& request);
  void HashFullBlocks(Request& request, uint32_t tokens);
  bool Allocate(Request& request, uint32_t tokens);
  void ReleaseBlocks(Request& request);
  void Admit(size_t waiting_index, uint32_t hit_blocks, uint32_t new_tokens);
  bool LoraSlotFree(const Request& request) const;
  void Preempt(size_t running_index, bool requeue_at_head);
  void ScheduleItem(Request& request, uint32_t new_tokens);
  uint32_t BlocksFor(uint32_t tokens) const noexcept;

  void ScheduleVllm();
  void ScheduleVllmRunning(uint32_t& budget);
  void ScheduleVllmWaiting(uint32_t& budget);
  size_t PickVictim() const;
  void Unschedule(const Request& request, uint32_t& budget);

  void ScheduleSglang();
  bool ScheduleSglangPrefill();
  void ScheduleSglangDecode(size_t decoding_end);
  double ReservedTokens(const Request& request) const;
  void SortByPrefix();

  const EngineOptions options_;
  EngineObserver& observer_;
  const StepTimeModel step_time_;
  std::unique_ptr<BlockPool> pool_;
  Random random_;

  int64_t now_ns_ = 0;
  int64_t step_start_ns_ = 0;
  int64_t step_end_ns_ = kNever;  // kNever: no step in progress
  double step_time_factor_ = 1;
  double new_token_ratio_;  // SGLang's estimate of how much of the asked output comes

  absl::flat_hash_map<RequestId, std::unique_ptr<Request>> requests_;  // until reported finished
  std::deque<Request*> arriving_;                                      // in order of time
  std::deque<Request*> waiting_;
  std::vector<Request*> running_;  // in order of admission
  std::vector<Scheduled> scheduled_;
  std::vector<StepItem> items_;      // scratch
  std::deque<Output> tokens_out_;    // in order of time
  std::deque<Output> finishes_out_;  // in order of time
  absl::flat_hash_map<uint32_t, uint32_t> running_loras_;
  uint32_t step_preemptions_ = 0;
  bool cancel_pending_ = false;
  EngineStats counters_;
};

}  // namespace weir::sim
