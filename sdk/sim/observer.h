// weir/sim/observer.h: what a simulated engine tells the world, in virtual time.
#pragma once

#include <cstdint>
#include <span>

#include "weir/sim/block_pool.h"

namespace weir::sim {

// Chosen by the caller; unique among the requests that an engine holds.
using RequestId = uint64_t;

enum class FinishReason : uint8_t {
  kStop,    // the model said all it had to say
  kLength,  // the client's limit or the context limit
  kAbort,   // cancelled, or the engine was restarted
};

// A scheduler step that ended.
struct StepReport {
  int64_t start_ns = 0;
  int64_t end_ns = 0;
  uint32_t prefill_tokens = 0;   // tokens of prompts, recomputation included
  uint32_t decode_requests = 0;  // each computed one token
  uint32_t preempted_requests = 0;
};

// One token reached the client.
struct TokenReport {
  RequestId id = 0;
  int64_t at_ns = 0;
  uint32_t index = 0;  // 0 for the first token
  uint32_t token = 0;
  uint32_t cached_tokens = 0;  // of the prompt, found in the cache at first scheduling
};

// A request left the engine.
struct FinishReport {
  RequestId id = 0;
  int64_t at_ns = 0;
  FinishReason reason = FinishReason::kStop;
  uint32_t prompt_tokens = 0;
  uint32_t cached_tokens = 0;
  uint32_t output_tokens = 0;
  uint32_t preemptions = 0;
  int64_t arrival_ns = 0;
  int64_t scheduled_ns = -1;    // start of its first step; -1 if it never ran
  int64_t first_token_ns = -1;  // when the client saw it; -1 if there was none
};

// Consecutive blocks of one request that became full and computed.
struct StoreReport {
  int64_t at_ns = 0;
  RequestId id = 0;
  bool has_parent = false;
  BlockHash parent = 0;               // of the first block, if has_parent
  std::span<const BlockHash> hashes;  // valid until the call returns
  std::span<const uint32_t> tokens;   // hashes.size() * block_tokens; valid until the call returns
  uint32_t block_tokens = 0;
};

// Receives the reports of an engine in order of time. The last three are the engine's KV events; a
// publisher turns them into the engine's wire format.
// OnStep, OnToken and OnFinished may call Submit() and Cancel() of the engine that called them; the
// other methods may call nothing of it.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void OnStep(const StepReport&) {}
  virtual void OnToken(const TokenReport&) {}
  virtual void OnFinished(const FinishReport&) {}
  virtual void OnBlocksStored(const StoreReport&) {}
  virtual void OnBlockRemoved(int64_t /*at_ns*/, BlockHash) {}
  virtual void OnCacheCleared(int64_t /*at_ns*/) {}
};

// Digests everything an engine reports, so that two runs compare by one number.
class EventLog final : public EngineObserver {
 public:
  uint64_t digest() const noexcept { return digest_; }
  uint64_t event_count() const noexcept { return event_count_; }

  void OnStep(const StepReport& step) override;
  void OnToken(const TokenReport& token) override;
  void OnFinished(const FinishReport& finish) override;
  void OnBlocksStored(const StoreReport& store) override;
  void OnBlockRemoved(int64_t at_ns, BlockHash hash) override;
  void OnCacheCleared(int64_t at_ns) override;

 private:
  void Mix(std::span<const uint64_t> words) noexcept;

  uint64_t digest_ = 0;
  uint64_t event_count_ = 0;
};

}  // namespace weir::sim
