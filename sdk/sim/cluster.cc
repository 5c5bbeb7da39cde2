#include "weir/sim/cluster.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weir::sim {

class Cluster::Port final : public EngineObserver {
 public:
  Port(uint32_t engine, ClusterObserver& observer) : engine_(engine), observer_(observer) {}
  void OnToken(const TokenReport& token) override { observer_.OnToken(engine_, token); }
  void OnFinished(const FinishReport& finish) override { observer_.OnFinished(engine_, finish); }
  void OnBlocksStored(const StoreReport& store) override {
    observer_.OnBlocksStored(engine_, store);
  }
  void OnBlockRemoved(int64_t at_ns, BlockHash hash) override {
    observer_.OnBlockRemoved(engine_, at_ns, hash);
  }

 private:
  const uint32_t engine_;
  ClusterObserver& observer_;
};

absl::StatusOr<std::unique_ptr<Cluster>> Cluster::Create(const ClusterOptions& options,
                                                         ClusterObserver& observer) {
  if (options.engine_count < 1 || options.engine_count > kEnginesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("engine_count: ", options.engine_count, ", expected 1..", kEnginesMax));
  }
  if (options.scrape_interval_ns < 1 || options.scrape_delay_ns < 0) {
    return absl::InvalidArgumentError(
        "scrape_interval_ns, scrape_delay_ns: expected >= 1 and >= 0");
  }
  std::unique_ptr<Cluster> cluster(new Cluster(options, observer));
  for (uint32_t i = 0; i < options.engine_count; ++i) {
    EngineOptions engine = options.engine;
    engine.seed += i;
    cluster->ports_.push_back(std::make_unique<Port>(i, observer));
    auto created = Engine::Create(engine, *cluster->ports_.back());
    if (!created.ok()) return created.status();
    cluster->engines_.push_back(*std::move(created));
  }
  return cluster;
}

Cluster::Cluster(const ClusterOptions& options, ClusterObserver& observer)
    : options_(options), observer_(observer) {}

Cluster::~Cluster() = default;

absl::Status Cluster::Submit(uint32_t engine, RequestSpec spec) {
  if (engine >= engine_count()) {
    return absl::OutOfRangeError(
        absl::StrCat("engine ", engine, ": expected 0..", engine_count() - 1));
  }
  return engines_[engine]->Submit(std::move(spec), now_ns_);
}

bool Cluster::Cancel(uint32_t engine, RequestId id) {
  return engine < engine_count() && engines_[engine]->Cancel(id);
}

// Scrapes go round the engines, spread evenly over an interval.
int64_t Cluster::ScrapeTime(uint64_t scrape) const noexcept {
  const uint64_t round = scrape / engine_count();
  const uint64_t engine = scrape % engine_count();
  const auto interval = static_cast<uint64_t>(options_.scrape_interval_ns);
  return static_cast<int64_t>(round * interval + engine * interval / engine_count());
}

int64_t Cluster::NextEventTime() const noexcept {
  int64_t next = ScrapeTime(next_scrape_);
  if (!samples_.empty()) {
    next = std::min(next, samples_.front().sampled_ns + options_.scrape_delay_ns);
  }
  for (const auto& engine : engines_) next = std::min(next, engine->NextEventTime());
  return next;
}

void Cluster::AdvanceTo(int64_t now_ns) {
  for (int64_t next = NextEventTime(); next <= now_ns; next = NextEventTime()) {
    now_ns_ = std::max(now_ns_, next);
    for (const auto& engine : engines_) engine->AdvanceTo(now_ns_);
    while (ScrapeTime(next_scrape_) <= now_ns_) {
      const auto index = static_cast<uint32_t>(next_scrape_ % engine_count());
      samples_.push_back({index, ScrapeTime(next_scrape_), engines_[index]->stats()});
      ++next_scrape_;
    }
    while (!samples_.empty() && samples_.front().sampled_ns + options_.scrape_delay_ns <= now_ns_) {
      const Sample sample = samples_.front();
      samples_.pop_front();
      observer_.OnScrape(sample.engine, sample.stats, sample.sampled_ns);
    }
  }
  now_ns_ = std::max(now_ns_, now_ns);
  for (const auto& engine : engines_) engine->AdvanceTo(now_ns_);
}

bool Cluster::idle() const noexcept {
  return std::all_of(engines_.begin(), engines_.end(),
                     [](const auto& engine) { return engine->NextEventTime() == Engine::kNever; });
}

}  // namespace weir::sim
