// weir/sim/cluster.h: several engines, seen as a router sees them, in one virtual time.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "weir/sim/engine.h"
#include "weir/status.h"

namespace weir::sim {

// Most engines that a cluster may have.
inline constexpr uint32_t kEnginesMax = 4096;

struct ClusterOptions {
  EngineOptions engine;                     // of each; engine i is seeded with engine.seed + i
  uint32_t engine_count = 1;                // 1..kEnginesMax
  int64_t scrape_interval_ns = 50'000'000;  // engine i starts at i / engine_count of the first one
  int64_t scrape_delay_ns = 0;              // from the sample to OnScrape()
};

// Receives what a router could observe. Reports come in order of time; at equal times the engine
// with the lower index reports first, and scrapes come after the engines' reports.
class ClusterObserver {
 public:
  virtual ~ClusterObserver() = default;
  virtual void OnToken(uint32_t /*engine*/, const TokenReport&) {}
  virtual void OnFinished(uint32_t /*engine*/, const FinishReport&) {}
  virtual void OnBlocksStored(uint32_t /*engine*/, const StoreReport&) {}
  virtual void OnBlockRemoved(uint32_t /*engine*/, int64_t /*at_ns*/, BlockHash) {}
  // The engine's state of `sampled_ns`, scrape_delay_ns ago.
  virtual void OnScrape(uint32_t /*engine*/, const EngineStats&, int64_t /*sampled_ns*/) {}
};

// One thread at a time. An observer may call Submit() and Cancel().
class Cluster {
 public:
  // Borrows `observer` until the cluster is destroyed.
  // Errors: kInvalidArgument (an option out of range, named in the text).  [control]
  static absl::StatusOr<std::unique_ptr<Cluster>> Create(const ClusterOptions& options,
                                                         ClusterObserver& observer);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  uint32_t engine_count() const noexcept { return static_cast<uint32_t>(engines_.size()); }
  const Engine& engine(uint32_t index) const noexcept { return *engines_[index]; }
  int64_t now_ns() const noexcept { return now_ns_; }

  // Hands a request to an engine now. Errors: those of Engine::Submit(), and kOutOfRange for an
  // engine that does not exist.
  absl::Status Submit(uint32_t engine, RequestSpec spec);
  bool Cancel(uint32_t engine, RequestId id);

  // Time of the next report or scrape; with a scrape interval there always is one.
  int64_t NextEventTime() const noexcept;
  // Lets everything up to and including `now_ns` happen in order of time.
  void AdvanceTo(int64_t now_ns);
  // True if no engine holds a request.
  bool idle() const noexcept;

 private:
  class Port;  // tells the observer which engine reports
  struct Sample {
    uint32_t engine = 0;
    int64_t sampled_ns = 0;
    EngineStats stats;
  };

  Cluster(const ClusterOptions& options, ClusterObserver& observer);
  int64_t ScrapeTime(uint64_t scrape) const noexcept;

  const ClusterOptions options_;
  ClusterObserver& observer_;
  std::vector<std::unique_ptr<Port>> ports_;
  std::vector<std::unique_ptr<Engine>> engines_;
  std::deque<Sample> samples_;  // taken, not yet delivered
  uint64_t next_scrape_ = 0;    // counts scrapes of all engines
  int64_t now_ns_ = 0;
};

}  // namespace weir::sim
