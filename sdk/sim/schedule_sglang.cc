// SGLang's scheduler: batches of prefills go before batches of decodes; admission keeps room for a
// share of the output that running requests may still produce; exhaustion retracts requests.
#include <algorithm>
#include <numeric>
#include <utility>

#include "weir/sim/engine_request.h"

namespace weir::sim {
namespace {

constexpr uint32_t kReservedOutputTokensMax = 4096;
constexpr double kNewTokenRatioMin = 0.7 * 0.14;
constexpr double kNewTokenRatioDecay = (0.7 - kNewTokenRatioMin) / 600;  // per decode step
constexpr uint32_t kRetractHeadroomSteps = 20;
constexpr size_t kPrefixSortRequestsMax = 128;  // longer queues fall back to first come

}  // namespace

void Engine::ScheduleSglang() {
  if (options_.longest_prefix_first) SortByPrefix();
  // A request that comes back this step may miss just one token, like those that decode.
  const size_t decoding_end = running_.size();
  const bool prefill = ScheduleSglangPrefill();
  if (!prefill || options_.mixed_chunk) ScheduleSglangDecode(decoding_end);
  // Prompts in chunks can hold all memory between them; the newest gives way.
  while (scheduled_.empty() && running_.size() > 1) {
    Preempt(running_.size() - 1, /*requeue_at_head=*/false);
    if (!ScheduleSglangPrefill()) ScheduleSglangDecode(running_.size());
  }
}

double Engine::ReservedTokens(const Request& request) const {
  const uint32_t open =
      request.output_tokens_max - std::min(request.output_tokens_max, request.emitted_tokens);
  return std::min(open, kReservedOutputTokensMax) * new_token_ratio_;
}

bool Engine::ScheduleSglangPrefill() {
  uint32_t chunk_left = options_.step_tokens_max;
  uint32_t batch_left = options_.prefill_step_tokens_max;
  double room_tokens = static_cast<double>(pool_->free_count()) * options_.block_tokens;
  for (Request* request : running_) {
    room_tokens -= ReservedTokens(*request);
    if (request->decoding()) continue;
    const uint32_t new_tokens =
        std::min({request->known_tokens() - request->computed_tokens, chunk_left, batch_left});
    if (new_tokens == 0 || !Allocate(*request, request->computed_tokens + new_tokens)) continue;
    ScheduleItem(*request, new_tokens);
    room_tokens -= new_tokens;
    chunk_left -= new_tokens;
    batch_left -= new_tokens;
  }
  size_t index = 0;
  while (index < waiting_.size() && chunk_left > 0 && batch_left > 0 &&
         running_.size() < options_.running_requests_max) {
    Request& request = *waiting_[index];
    if (!LoraSlotFree(request)) {
      ++index;
      continue;
    }
    const uint32_t hits = FindPrefix(request);
    const uint32_t open_tokens = request.known_tokens() - hits * options_.block_tokens;
    uint32_t idle_hits = 0;
    for (uint32_t i = 0; i < hits; ++i) idle_hits += !pool_->in_use(pool_->Find(request.hashes[i]));
    const double needed = open_tokens + static_cast<double>(idle_hits) * options_.block_tokens;
    const double reserved = ReservedTokens(request);
    const bool fits = running_.empty() || needed + reserved <= room_tokens;
    const uint32_t new_tokens = std::min({open_tokens, chunk_left, batch_left});
    const uint32_t blocks = BlocksFor(hits * options_.block_tokens + new_tokens) - hits + idle_hits;
    if (!fits || blocks > pool_->free_count()) break;
    Admit(index, hits, new_tokens);
    room_tokens -= needed + reserved;
    chunk_left -= new_tokens;
    batch_left -= new_tokens;
  }
  return !scheduled_.empty();
}

// Decodes the first `decoding_end` running requests; makes room for them if nothing else runs.
void Engine::ScheduleSglangDecode(size_t decoding_end) {
  const auto blocks_needed = [this] {
    uint32_t needed = 0;
    for (const Request* request : running_) {
      needed += request->decoding() && BlocksFor(request->computed_tokens + 1) >
                                           static_cast<uint32_t>(request->blocks.size());
    }
    return needed;
  };
  const bool alone = scheduled_.empty();
  const uint32_t preempted_before = step_preemptions_;
  while (alone && running_.size() > 1 && blocks_needed() > pool_->free_count()) {
    size_t victim = running_.size() - 1;
    for (size_t i = running_.size(); i-- > 0;) {
      if (running_[i]->emitted_tokens < running_[victim]->emitted_tokens) victim = i;
    }
    Preempt(victim, /*requeue_at_head=*/false);
  }
  double emitted = 0;
  double asked = 0;
  bool decoded = false;
  decoding_end = std::min(decoding_end, running_.size());
  for (size_t i = 0; i < decoding_end; ++i) {
    Request* request = running_[i];
    emitted += request->emitted_tokens + kRetractHeadroomSteps;
    asked += request->output_tokens_max;
    const bool fits = request->decoding() && Allocate(*request, request->computed_tokens + 1);
    if (fits) ScheduleItem(*request, 1);
    decoded |= fits;
  }
  if (step_preemptions_ > preempted_before && asked > 0) {
    new_token_ratio_ = std::min(1.0, emitted / asked);
  } else if (decoded) {
    new_token_ratio_ = std::max(kNewTokenRatioMin, new_token_ratio_ - kNewTokenRatioDecay);
  }
}

void Engine::SortByPrefix() {
  if (waiting_.size() > kPrefixSortRequestsMax) return;
  std::vector<std::pair<uint32_t, Request*>> order;
  order.reserve(waiting_.size());
  for (Request* request : waiting_) order.emplace_back(FindPrefix(*request), request);
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::transform(order.begin(), order.end(), waiting_.begin(),
                 [](const auto& entry) { return entry.second; });
}

}  // namespace weir::sim
