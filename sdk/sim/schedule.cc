// The parts of scheduling that both personalities share.
#include <algorithm>
#include <cassert>

#include "weir/sim/engine_request.h"

namespace weir::sim {

uint32_t Engine::BlocksFor(uint32_t tokens) const noexcept {
  return (tokens + options_.block_tokens - 1) / options_.block_tokens;
}

void Engine::Enqueue(Request& request, bool at_head) {
  if (options_.priority_scheduling) {
    const auto before = [](const Request* a, const Request* b) {
      return a->priority != b->priority ? a->priority < b->priority : a->arrival_ns < b->arrival_ns;
    };
    const auto at = at_head ? std::lower_bound(waiting_.begin(), waiting_.end(), &request, before)
                            : std::upper_bound(waiting_.begin(), waiting_.end(), &request, before);
    waiting_.insert(at, &request);
  } else if (at_head) {
    waiting_.push_front(&request);
  } else {
    waiting_.push_back(&request);
  }
}

void Engine::HashFullBlocks(Request& request, uint32_t tokens) {
  const std::span<const uint32_t> all(request.tokens);
  const size_t width = options_.block_tokens;
  const size_t full = tokens / width;
  request.hashes.reserve(full);
  for (size_t i = request.hashes.size(); i < full; ++i) {
    const BlockHash parent = i == 0 ? request.salt : request.hashes[i - 1];
    request.hashes.push_back(ChainHash(parent, all.subspan(i * width, width)));
  }
}

// Blocks of the leading run that the cache holds. At least one token is left to compute.
uint32_t Engine::FindPrefix(Request& request) {
  if (!options_.prefix_caching) return 0;
  HashFullBlocks(request, request.known_tokens());
  const uint32_t blocks_max = (request.known_tokens() - 1) / options_.block_tokens;
  uint32_t hits = 0;
  while (hits < blocks_max && pool_->Find(request.hashes[hits]) != kNoBlock) ++hits;
  return hits;
}

// Gives the request blocks for `tokens` tokens; takes nothing if there are not enough.
bool Engine::Allocate(Request& request, uint32_t tokens) {
  const size_t needed = BlocksFor(tokens);
  if (needed <= request.blocks.size()) return true;
  if (needed - request.blocks.size() > pool_->free_count()) return false;
  while (request.blocks.size() < needed) {
    const BlockPool::Allocation allocation = pool_->Allocate();
    assert(allocation.block != kNoBlock);
    request.blocks.push_back(allocation.block);
    if (allocation.evicted) {
      ++counters_.evicted_blocks;
      observer_.OnBlockRemoved(now_ns_, allocation.evicted_hash);
    }
  }
  return true;
}

void Engine::ReleaseBlocks(Request& request) {
  pool_->Release(request.blocks);
  request.blocks.clear();
  request.stored_blocks = 0;
}

bool Engine::LoraSlotFree(const Request& request) const {
  return request.lora == 0 || options_.loras_max == 0 ||
         running_loras_.size() < options_.loras_max || running_loras_.contains(request.lora);
}

// Moves a waiting request to the running list with the blocks that it hits and those that
// `new_tokens` need. REQUIRES: enough blocks are free
void Engine::Admit(size_t waiting_index, uint32_t hit_blocks, uint32_t new_tokens) {
  Request& request = *waiting_[waiting_index];
  waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(waiting_index));
  for (uint32_t i = 0; i < hit_blocks; ++i) {
    const BlockId block = pool_->Find(request.hashes[i]);
    pool_->Acquire(block);
    request.blocks.push_back(block);
  }
  request.stored_blocks = hit_blocks;
  request.computed_tokens = hit_blocks * options_.block_tokens;
  if (request.scheduled_ns < 0) {
    request.scheduled_ns = now_ns_;
    request.cached_tokens = request.computed_tokens;
    counters_.prefix_queried_tokens += request.prompt_tokens;
    counters_.prefix_hit_tokens += request.cached_tokens;
  }
  request.running = true;
  running_.push_back(&request);
  if (request.lora != 0) ++running_loras_[request.lora];
  [[maybe_unused]] const bool allocated = Allocate(request, request.computed_tokens + new_tokens);
  assert(allocated);
  ScheduleItem(request, new_tokens);
}

void Engine::ScheduleItem(Request& request, uint32_t new_tokens) {
  scheduled_.push_back({.request = &request, .new_tokens = new_tokens});
}

void Engine::Preempt(size_t running_index, bool requeue_at_head) {
  Request& request = *running_[running_index];
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(running_index));
  request.running = false;
  if (request.lora != 0 && --running_loras_[request.lora] == 0) running_loras_.erase(request.lora);
  ReleaseBlocks(request);
  request.computed_tokens = 0;
  ++request.preemptions;
  ++counters_.preemptions;
  ++step_preemptions_;
  Enqueue(request, requeue_at_head);
}

}  // namespace weir::sim
