#include "legacy_backend.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "content.h"
#include "weir/sim/block_pool.h"

namespace weir::sim {
namespace {

constexpr double kMillisecond = 1e6;
constexpr double kDrawMin = 0.3;  // of the mean
constexpr double kDrawMax = 1.7;

}  // namespace

double LatencyCalculator::LoadFactor(uint32_t running_requests) const noexcept {
  if (running_requests_max_ <= 1) return 1;
  return 1 + (latency_.time_factor_under_load - 1) * (static_cast<double>(running_requests) - 1) /
                 (running_requests_max_ - 1.0);
}

// Results count in whole milliseconds, and so do mean and deviation before the draw.
int64_t LatencyCalculator::Draw(Random& random, double mean_ns, double std_dev_ns) const {
  mean_ns = std::floor(mean_ns / kMillisecond) * kMillisecond;
  std_dev_ns = std::floor(std_dev_ns / kMillisecond) * kMillisecond;
  double drawn = mean_ns;
  if (std_dev_ns > 0) {
    drawn = mean_ns + std_dev_ns * NextNormal(random);
    drawn = std::clamp(drawn, kDrawMin * mean_ns, kDrawMax * mean_ns);
  }
  return static_cast<int64_t>(std::floor(drawn / kMillisecond) * kMillisecond);
}

int64_t LatencyCalculator::FirstTokenNs(Random& random, uint32_t running_requests,
                                        uint32_t prompt_tokens, uint32_t cached_tokens,
                                        bool remote_prefill) const {
  const auto constant = [this](const LatencyOption& latency) {
    if (!latency_.calculator.empty()) return latency_.calculator == "constant";
    return latency.mean_ns != 0 || latency.std_dev_ns != 0;
  };
  const auto ns = [](int64_t value) { return static_cast<double>(value); };
  if (remote_prefill) {
    if (constant(latency_.kv_transfer)) {
      return Draw(random, ns(latency_.kv_transfer.mean_ns), ns(latency_.kv_transfer.std_dev_ns));
    }
    return Draw(random, prompt_tokens * ns(latency_.kv_transfer_per_token.mean_ns),
                ns(latency_.kv_transfer_per_token.std_dev_ns));
  }
  const double factor = LoadFactor(running_requests);
  if (constant(latency_.time_to_first_token)) {
    return Draw(random, ns(latency_.time_to_first_token.mean_ns) * factor,
                ns(latency_.time_to_first_token.std_dev_ns));
  }
  const double prefill = (prompt_tokens - std::min(prompt_tokens, cached_tokens)) *
                         ns(latency_.prefill_per_token.mean_ns) * factor;
  return Draw(random, ns(latency_.prefill_overhead_ns) * factor + prefill,
              ns(latency_.prefill_per_token.std_dev_ns));
}

int64_t LatencyCalculator::InterTokenNs(Random& random, uint32_t running_requests) const {
  return Draw(random,
              static_cast<double>(latency_.inter_token.mean_ns) * LoadFactor(running_requests),
              static_cast<double>(latency_.inter_token.std_dev_ns));
}

namespace {

class LegacyBackend final : public Backend {
 public:
  LegacyBackend(const SimOptions& options, uint32_t index, EngineObserver& observer)
      : running_max_(*options.running_requests_max),
        waiting_max_(options.waiting_requests_max),
        block_tokens_(options.block_tokens == 0 ? 16 : options.block_tokens),
        calculator_(options.latency, running_max_),
        random_(options.seed + index),
        observer_(observer) {
    if (options.legacy_kv_cache) pool_ = std::make_unique<BlockPool>(options.legacy_kv_blocks);
  }

  absl::Status Submit(RequestSpec spec, int64_t now_ns) override {
    if (pool_ != nullptr && spec.prompt_tokens.size() / block_tokens_ > pool_->block_count()) {
      return absl::InternalError(
          "the kv cache does not have sufficient capacity to store this request");
    }
    if (running_.size() >= running_max_ && waiting_.size() >= waiting_max_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("waiting queue is full: ", waiting_max_, " requests"));
    }
    Request request{.spec = std::move(spec), .arrival_ns = now_ns};
    waiting_.push_back(std::move(request));
    StartWaiting();
    return absl::OkStatus();
  }

  bool Cancel(RequestId id) override {
    const auto waits = std::find_if(waiting_.begin(), waiting_.end(),
                                    [&](const Request& r) { return r.spec.id == id; });
    if (waits != waiting_.end()) {
      Request request = std::move(*waits);
      waiting_.erase(waits);
      Report(request, FinishReason::kAbort);
      return true;
    }
    const auto runs = running_.find(id);
    if (runs == running_.end()) return false;
    due_.erase({runs->second.due_ns, id});
    End(runs, FinishReason::kAbort);
    StartWaiting();
    return true;
  }

  int64_t NextEventTime() const override {
    return due_.empty() ? Engine::kNever : due_.begin()->first;
  }

  void AdvanceTo(int64_t now_ns) override {
    while (!due_.empty() && due_.begin()->first <= now_ns) {
      now_ns_ = std::max(now_ns_, due_.begin()->first);
      const RequestId id = due_.begin()->second;
      due_.erase(due_.begin());
      EmitToken(running_.find(id));
    }
    now_ns_ = std::max(now_ns_, now_ns);
  }

  EngineStats stats() const override {
    EngineStats stats = counters_;
    stats.running_requests = static_cast<uint32_t>(running_.size());
    stats.waiting_requests = static_cast<uint32_t>(waiting_.size());
    stats.block_count = pool_ == nullptr ? 0 : pool_->block_count();
    stats.used_blocks = pool_ == nullptr ? 0 : pool_->used_count();
    return stats;
  }

  bool ResetPrefixCache() override {
    if (pool_ == nullptr) return true;
    if (pool_->used_count() > 0) return false;
    pool_->ClearCache();
    observer_.OnCacheCleared(now_ns_);
    return true;
  }

  void Restart() override {
    std::deque<Request> waiting;
    waiting.swap(waiting_);
    due_.clear();
    while (!running_.empty()) End(running_.begin(), FinishReason::kAbort);
    for (Request& request : waiting) Report(request, FinishReason::kAbort);
    ResetPrefixCache();
  }

  void set_step_time_factor(double factor) override { time_factor_ = factor; }
  uint32_t block_tokens() const override { return block_tokens_; }
  bool SetLatency(const LegacyLatency& latency) override {
    calculator_ = LatencyCalculator(latency, running_max_);
    return true;
  }

 private:
  struct Request {
    RequestSpec spec;
    int64_t arrival_ns = 0;
    int64_t scheduled_ns = -1;
    int64_t first_token_ns = -1;
    int64_t due_ns = 0;
    uint32_t cached_tokens = 0;
    uint32_t emitted_tokens = 0;
    std::vector<BlockId> blocks;
  };
  using Running = std::map<RequestId, Request>;

  int64_t Stretch(int64_t ns) const {
    return static_cast<int64_t>(static_cast<double>(ns) * time_factor_);
  }

  void StartWaiting() {
    while (!waiting_.empty() && running_.size() < running_max_ && TakeBlocks(waiting_.front())) {
      const RequestId id = waiting_.front().spec.id;
      Request& request = running_[id] = std::move(waiting_.front());
      waiting_.pop_front();
      request.scheduled_ns = now_ns_;
      const auto prompt = static_cast<uint32_t>(request.spec.prompt_tokens.size());
      counters_.prefix_queried_tokens += prompt;
      counters_.prefix_hit_tokens += request.cached_tokens;
      const auto running = static_cast<uint32_t>(running_.size());
      request.due_ns = now_ns_ + Stretch(calculator_.FirstTokenNs(random_, running, prompt,
                                                                  request.cached_tokens, false));
      due_.insert({request.due_ns, id});
    }
  }

  // Full blocks of the prompt; they are named at once, before the time of a prefill has passed.
  bool TakeBlocks(Request& request) {
    if (pool_ == nullptr) return true;
    const std::span<const uint32_t> tokens(request.spec.prompt_tokens);
    const size_t full = tokens.size() / block_tokens_;
    std::vector<BlockHash> hashes;
    BlockHash parent = request.spec.lora;
    for (size_t i = 0; i < full; ++i) {
      hashes.push_back(parent =
                           ChainHash(parent, tokens.subspan(i * block_tokens_, block_tokens_)));
    }
    size_t hits = 0;
    size_t idle_hits = 0;
    while (hits < full && pool_->Find(hashes[hits]) != kNoBlock) {
      idle_hits += !pool_->in_use(pool_->Find(hashes[hits++]));
    }
    if (full - hits + idle_hits > pool_->free_count()) return false;
    for (size_t i = 0; i < hits; ++i) {
      request.blocks.push_back(pool_->Find(hashes[i]));
      pool_->Acquire(request.blocks.back());
    }
    for (size_t i = hits; i < full; ++i) {
      const BlockPool::Allocation allocation = pool_->Allocate();
      if (allocation.evicted) observer_.OnBlockRemoved(now_ns_, allocation.evicted_hash);
      pool_->Store(allocation.block, hashes[i]);
      request.blocks.push_back(allocation.block);
    }
    request.cached_tokens = static_cast<uint32_t>(hits) * block_tokens_;
    return true;
  }

  void EmitToken(Running::iterator entry) {
    Request& request = entry->second;
    const RequestSpec& spec = request.spec;
    const uint32_t index = request.emitted_tokens++;
    ++counters_.output_tokens;
    if (index == 0) {
      request.first_token_ns = now_ns_;
      counters_.prompt_tokens += spec.prompt_tokens.size();
    }
    const TokenReport report{spec.id, now_ns_, index, spec.output_tokens[index],
                             request.cached_tokens};
    const bool limited =
        spec.output_tokens_max > 0 && request.emitted_tokens == spec.output_tokens_max;
    const bool last = limited || request.emitted_tokens == spec.output_tokens.size();
    if (!last) {
      const auto running = static_cast<uint32_t>(running_.size());
      request.due_ns = now_ns_ + Stretch(calculator_.InterTokenNs(random_, running));
      due_.insert({request.due_ns, spec.id});
    }
    observer_.OnToken(report);
    entry = running_.find(report.id);  // the observer may have cancelled it
    if (!last || entry == running_.end()) return;
    End(entry, limited ? FinishReason::kLength : FinishReason::kStop);
    StartWaiting();
  }

  void End(Running::iterator entry, FinishReason reason) {
    Request request = std::move(entry->second);
    running_.erase(entry);
    if (pool_ != nullptr) pool_->Release(request.blocks);
    Report(request, reason);
  }

  void Report(const Request& request, FinishReason reason) {
    ++counters_.finished_requests[static_cast<size_t>(reason)];
    observer_.OnFinished({.id = request.spec.id,
                          .at_ns = now_ns_,
                          .reason = reason,
                          .prompt_tokens = static_cast<uint32_t>(request.spec.prompt_tokens.size()),
                          .cached_tokens = request.cached_tokens,
                          .output_tokens = request.emitted_tokens,
                          .arrival_ns = request.arrival_ns,
                          .scheduled_ns = request.scheduled_ns,
                          .first_token_ns = request.first_token_ns});
  }

  const uint32_t running_max_;
  const uint32_t waiting_max_;
  const uint32_t block_tokens_;
  LatencyCalculator calculator_;
  Random random_;
  EngineObserver& observer_;
  std::unique_ptr<BlockPool> pool_;
  Running running_;
  std::deque<Request> waiting_;
  std::set<std::pair<int64_t, RequestId>> due_;  // when each running request says its next token
  int64_t now_ns_ = 0;
  double time_factor_ = 1;
  EngineStats counters_;
};

}  // namespace

std::unique_ptr<Backend> CreateLegacyBackend(const SimOptions& options, uint32_t index,
                                             EngineObserver& observer) {
  return std::make_unique<LegacyBackend>(options, index, observer);
}

}  // namespace weir::sim
