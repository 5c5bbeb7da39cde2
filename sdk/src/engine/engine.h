// engine/engine.h: joins pool, pipeline and decisions. weir::Router is a handle to one.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/free_list.h"
#include "engine/pipeline.h"
#include "engine/state.h"
#include "model/pool.h"
#include "weir/router.h"

namespace weir::internal {

class Engine {
 public:
  static absl::StatusOr<std::shared_ptr<Engine>> Create(std::string_view text,
                                                        const std::string& name,
                                                        const RouterOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  Pool& pool() { return pool_; }
  ResourceStore& resources() { return resources_; }
  const Pipeline& pipeline() const { return *pipeline_; }
  const RouterNeeds& needs() const { return needs_; }
  const Clock& clock() const { return clock_; }

  // [hot, concurrent]
  absl::StatusOr<DecisionState*> DecideNow(const Request& request);
  absl::StatusOr<DecisionState*> Decide(const Request& request,
                                        std::shared_ptr<const Snapshot> snapshot, int64_t now_ns,
                                        uint64_t seed, const SentLoad& sent = {});
  // Gives a decision's memory back to the list, and what is more than usual to the process.
  void Release(DecisionState* state) noexcept;
  FlightState* Begin(const DecisionState& state, uint32_t target_index) noexcept;
  void FirstToken(FlightState* flight) noexcept;
  void Finish(FlightState* flight, const Usage& usage, End end) noexcept;
  void Record(DecisionState* state) noexcept;

  // [control, concurrent]
  std::vector<Explanation> RecentDecisions();
  Explanation Explain(const DecisionState& state) const;
  RouterStats Stats();
  std::string Describe() const;

  // For the host slots.
  void CountPlugin(uint32_t plugin, uint32_t counter, uint64_t delta) noexcept;
  bool WritesTokens(uint32_t plugin) const { return pipeline_->writes_tokens[plugin]; }
  void Log(LogLevel level, std::string_view text) const;

 private:
  struct PluginCounters {
    std::atomic<uint64_t> failures{0};
    std::atomic<uint64_t> invalid_results{0};
    std::array<std::atomic<uint64_t>, kPluginCountersMax> own = {};
  };
  struct Host : weir_host {
    Engine* engine = nullptr;
  };

  Engine(const RouterOptions& options, const Resources& resources);

  Code Run(const Request& request, DecisionState& state) noexcept;
  bool PrepareRequest(const Request& request, DecisionState& state) noexcept;
  bool PrepareBatch(DecisionState& state) noexcept;
  void ProjectLoad(DecisionState& state) noexcept;
  void ReplaceUnsampled(DecisionState& state) noexcept;
  bool Produce(DecisionState& state) noexcept;
  Code RunProfiles(DecisionState& state) noexcept;
  Code RunProfile(uint32_t profile, DecisionState& state) noexcept;
  bool Filter(const Pipeline::Profile& profile, DecisionState& state, ProfileRun& run) noexcept;
  bool Compact(const Pipeline::Profile& profile, DecisionState& state, const ProfileRun& run,
               weir_batch* batch, void** columns) noexcept;
  bool Score(const Pipeline::Profile& profile, DecisionState& state, ProfileRun& run,
             weir_batch& batch, void* const* columns) noexcept;
  void Pick(const Pipeline::Profile& profile, DecisionState& state, ProfileRun& run,
            weir_batch& batch, void* const* columns) noexcept;
  void PickAny(DecisionState& state, ProfileRun& run) noexcept;
  bool FirstPickHoldsPrefix(const DecisionState& state) const noexcept;
  bool Conclude(DecisionState& state) noexcept;
  // Shows a decision to the recorder.
  void Observe(const Request& request, DecisionState& state, Code code) noexcept;
  // Makes a decision's request in flight known to the plugins.
  void TellBegun(const DecisionState& state, const weir_choice& choice,
                 FlightState& flight) noexcept;
  // Shows `batch` the columns that one plugin declared, in its order. False if one that it requires
  // is missing, because its producer failed.
  bool BindColumns(uint32_t plugin, void* const* columns, BoundColumns& bound,
                   weir_batch& batch) const noexcept;
  void CountFailure(uint32_t plugin, std::string_view call, weir_code code) noexcept;
  void SlotFreed(uint32_t slot) noexcept;

  const RouterOptions options_;
  const Clock& clock_;
  Host host_ = {};
  RouterNeeds needs_;
  std::unique_ptr<Pipeline> pipeline_;
  std::unique_ptr<PluginCounters[]> counters_;
  Pool pool_;
  ResourceStore resources_;
  FreeList<DecisionState, kDecisionsMax> decisions_;
  FreeList<FlightState, kFlightsMax> flights_;
  std::atomic<uint64_t> next_seed_;
  std::unique_ptr<std::atomic<DecisionState*>[]> recorded_;
  std::atomic<uint64_t> next_record_{0};
  std::atomic<uint64_t> decision_count_{0};
  std::atomic<uint64_t> no_endpoint_count_{0};
  std::atomic<uint64_t> all_dropped_count_{0};
  std::atomic<uint64_t> flights_begun_{0};
  std::atomic<uint64_t> flights_ended_{0};
  std::atomic<uint64_t> flights_refused_{0};
};

// The hot slots of a weir_host. engine/host.cc
void SetHotSlots(weir_host* host);

}  // namespace weir::internal
