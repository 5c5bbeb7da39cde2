// model/pool.h: the endpoint pool behind weir::EndpointPool.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "model/live_load.h"
#include "model/snapshot.h"
#include "weir/clock.h"
#include "weir/endpoint.h"

namespace weir::internal {

class Pool final : public EndpointPool {
 public:
  // `slot_freed` is called under the pool's lock when no request on a removed endpoint is left.
  Pool(const Clock& clock, std::function<void(uint32_t slot)> slot_freed);

  absl::StatusOr<EndpointId> Upsert(const Endpoint& endpoint) override;
  absl::Status Remove(std::string_view name, std::string_view namespace_name) override;
  absl::Status Replace(std::span<const Endpoint> endpoints) override;
  void SampleStarted(EndpointId id) override;
  void ApplySamples(std::span<const MetricsUpdate> samples) override;
  std::shared_ptr<const PoolSnapshot> snapshot() const override { return Current(); }
  uint32_t in_flight(EndpointId id) const noexcept override;
  uint64_t pool_epoch() const noexcept override {
    return pool_epoch_.load(std::memory_order_acquire);
  }

  // Makes room for this many columns of scraped values. Before the first endpoint. [control]
  void DeclareAttributes(uint32_t count);

  // Changes with each publication. [hot, concurrent]
  uint64_t version() const noexcept { return version_.load(std::memory_order_acquire); }
  std::shared_ptr<const Snapshot> Current() const;
  LiveLoad& live_load() noexcept { return live_load_; }
  const LiveLoad& live_load() const noexcept { return live_load_; }

 private:
  static constexpr uint32_t kNoRow = UINT32_MAX;

  absl::StatusOr<EndpointId> UpsertLocked(const Endpoint& endpoint, int64_t now_ns)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RemoveRowLocked(uint32_t row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // REQUIRES: one element per row
  void RemoveRowsLocked(const std::vector<bool>& is_gone) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MergeMetricsLocked(uint32_t row, const EndpointMetrics& metrics, int64_t now_ns)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint32_t FindRowLocked(std::string_view name, std::string_view namespace_name) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Counts the keys for as long as an endpoint carries them; false, and nothing counted, if there
  // would be more than kLabelKeysMax.
  bool AddLabelKeysLocked(const std::map<std::string, std::string>& labels)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RemoveLabelKeysLocked(const std::map<std::string, std::string>& labels)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint32_t TakeSlotLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SweepDrainingLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Publishes next_ and makes a copy of it the new next_.
  void PublishLocked(bool members_changed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // The caller's code, which may wait for locks of its own: never read under mutex_.
  const Clock& clock_;
  const std::function<void(uint32_t)> slot_freed_;
  LiveLoad live_load_;
  std::atomic<uint64_t> version_{0};
  std::atomic<uint64_t> pool_epoch_{0};
  mutable std::mutex mutex_;
  std::shared_ptr<const Snapshot> current_ ABSL_GUARDED_BY(mutex_);
  Snapshot next_ ABSL_GUARDED_BY(mutex_);
  std::vector<Membership::Row> rows_ ABSL_GUARDED_BY(mutex_);
  std::vector<EndpointAdapters> adapters_ ABSL_GUARDED_BY(mutex_);  // per row
  bool adapters_changed_ ABSL_GUARDED_BY(mutex_) = false;           // since the last publication
  std::map<std::string, uint32_t> label_keys_ ABSL_GUARDED_BY(mutex_);  // endpoints with the key
  std::unordered_map<std::string, uint32_t> slot_of_name_ ABSL_GUARDED_BY(mutex_);  // by full name
  std::vector<uint32_t> row_of_slot_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint32_t> free_slots_ ABSL_GUARDED_BY(mutex_);  // smallest last
  std::vector<uint32_t> draining_slots_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace weir::internal
