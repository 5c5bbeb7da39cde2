#include "weir/sim/observer.h"

#include <array>

namespace weir::sim {
namespace {

// Tells event kinds apart in the digest.
enum : uint64_t { kStep = 1, kToken, kFinished, kStored, kRemoved, kCleared };

uint64_t Word(int64_t value) { return static_cast<uint64_t>(value); }

}  // namespace

void EventLog::Mix(std::span<const uint64_t> words) noexcept {
  ++event_count_;
  for (const uint64_t word : words) {
    digest_ = (digest_ ^ word) * 0xFF51AFD7ED558CCDull;
    digest_ ^= digest_ >> 33;
  }
}

void EventLog::OnStep(const StepReport& step) {
  Mix(std::array<uint64_t, 6>{kStep, Word(step.start_ns), Word(step.end_ns), step.prefill_tokens,
                              step.decode_requests, step.preempted_requests});
}

void EventLog::OnToken(const TokenReport& token) {
  Mix(std::array<uint64_t, 6>{kToken, token.id, Word(token.at_ns), token.index, token.token,
                              token.cached_tokens});
}

void EventLog::OnFinished(const FinishReport& finish) {
  Mix(std::array<uint64_t, 10>{kFinished, finish.id, Word(finish.at_ns),
                               static_cast<uint64_t>(finish.reason), finish.prompt_tokens,
                               finish.cached_tokens, finish.output_tokens, finish.preemptions,
                               Word(finish.scheduled_ns), Word(finish.first_token_ns)});
}

void EventLog::OnBlocksStored(const StoreReport& store) {
  Mix(std::array<uint64_t, 4>{kStored, store.id, Word(store.at_ns), store.parent});
  Mix(store.hashes);
}

void EventLog::OnBlockRemoved(int64_t at_ns, BlockHash hash) {
  Mix(std::array<uint64_t, 3>{kRemoved, Word(at_ns), hash});
}

void EventLog::OnCacheCleared(int64_t at_ns) {
  Mix(std::array<uint64_t, 2>{kCleared, Word(at_ns)});
}

}  // namespace weir::sim
