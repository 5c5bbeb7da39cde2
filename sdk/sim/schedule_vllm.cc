// vLLM's scheduler: one budget of tokens per step, running requests first, then admission in order.
#include <algorithm>

#include "weir/sim/engine_request.h"

namespace weir::sim {

void Engine::ScheduleVllm() {
  uint32_t budget = options_.step_tokens_max;
  const uint32_t preemptions_before = step_preemptions_;
  ScheduleVllmRunning(budget);
  if (step_preemptions_ == preemptions_before) ScheduleVllmWaiting(budget);
}

void Engine::ScheduleVllmRunning(uint32_t& budget) {
  const uint32_t chunk_max =
      options_.prefill_chunk_tokens_max > 0 ? options_.prefill_chunk_tokens_max : UINT32_MAX;
  for (size_t i = 0; i < running_.size() && budget > 0;) {
    Request& request = *running_[i];
    const uint32_t new_tokens =
        std::min({request.known_tokens() - request.computed_tokens, chunk_max, budget});
    while (request.running && !Allocate(request, request.computed_tokens + new_tokens)) {
      const size_t victim = PickVictim();
      Unschedule(*running_[victim], budget);
      Preempt(victim, /*requeue_at_head=*/true);
      if (victim < i) --i;
    }
    if (!request.running) break;
    ScheduleItem(request, new_tokens);
    budget -= new_tokens;
    ++i;
  }
}

size_t Engine::PickVictim() const {
  size_t victim = running_.size() - 1;
  if (!options_.priority_scheduling) return victim;
  for (size_t i = running_.size(); i-- > 0;) {
    const Request& a = *running_[i];
    const Request& b = *running_[victim];
    if (a.priority != b.priority ? a.priority > b.priority : a.arrival_ns > b.arrival_ns)
      victim = i;
  }
  return victim;
}

// A victim that has its share of this step already gives it back.
void Engine::Unschedule(const Request& request, uint32_t& budget) {
  const auto found = std::find_if(scheduled_.begin(), scheduled_.end(),
                                  [&](const Scheduled& item) { return item.request == &request; });
  if (found == scheduled_.end()) return;
  budget += found->new_tokens;
  scheduled_.erase(found);
}

void Engine::ScheduleVllmWaiting(uint32_t& budget) {
  const uint32_t chunk_max =
      options_.prefill_chunk_tokens_max > 0 ? options_.prefill_chunk_tokens_max : UINT32_MAX;
  size_t index = 0;  // past those that wait for an adapter's slot
  while (index < waiting_.size() && budget > 0 && running_.size() < options_.running_requests_max) {
    Request& request = *waiting_[index];
    if (!LoraSlotFree(request)) {
      ++index;
      continue;
    }
    const uint32_t hits = FindPrefix(request);
    const uint32_t hit_tokens = hits * options_.block_tokens;
    const uint32_t new_tokens = std::min({request.known_tokens() - hit_tokens, chunk_max, budget});
    uint32_t needed = BlocksFor(hit_tokens + new_tokens) - hits;
    for (uint32_t i = 0; i < hits; ++i) needed += !pool_->in_use(pool_->Find(request.hashes[i]));
    if (needed > pool_->free_count()) break;
    Admit(index, hits, new_tokens);
    budget -= new_tokens;
  }
}

}  // namespace weir::sim
