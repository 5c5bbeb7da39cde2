// weir/io/metrics/request_metrics.h: what happens to requests, as the metrics that llm-d's picker
// shows: same names, labels and buckets. Start at RequestMetrics.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weir/io/ext_proc/ext_proc_metrics.h"
#include "weir/io/metrics/request_counters.h"
#include "weir/io/metrics/series_names.h"
#include "weir/io/metrics/text.h"

namespace weir::io {

inline constexpr uint32_t kModelLabelsMax = 1000;     // distinct models, asked for and served
inline constexpr uint32_t kFairnessLabelsMax = 1000;  // distinct fairness ids
// Distinct sets of model, target model, fairness id and priority: 2 KB each and thread, and up to
// 50 KB of the page. More count as "other".
inline constexpr uint32_t kRequestSeriesMax = 2048;
inline constexpr uint32_t kAttemptSeriesMax = 8192;  // of target model and endpoint

class RequestMetrics;

// The counters of one thread. Events come from that thread; the page is written by another.
class WorkerMetrics final : public ExtProcMetrics {
 public:
  ~WorkerMetrics() override;

  Series SeriesOf(const RequestLabels& labels) override;
  void OnStreamBegin() override { streams_.begun.Add(1); }
  void OnStreamEnd(uint32_t grpc_code, int64_t duration_ns) override;
  void OnDecision(bool success, std::string_view target_model, std::string_view endpoint,
                  std::string_view address, int64_t duration_ns) override;
  void OnRequestRouted(Series series, uint64_t request_bytes) override;
  void OnRequestProcessed(int64_t duration_ns) override {
    streams_.request_processing.Add(duration_ns);
  }
  void OnResponseProcessed(int64_t duration_ns) override {
    streams_.response_processing.Add(duration_ns);
  }
  void OnResponseGap(Series series, int64_t gap_ns) override { At(series).itl.Add(gap_ns); }
  void OnRequestEnd(Series series, const ResponseRecord& response) override;
  void OnRequestError(Series series, std::string_view code) override;

  // Null if this thread never saw the series. [concurrent]
  const RequestCounters* request(uint32_t series) const noexcept {
    return requests_[series].load(std::memory_order_acquire);
  }
  const StreamCounters& streams() const noexcept { return streams_; }  // [concurrent]
  uint64_t attempts(uint32_t series) const noexcept { return attempts_[series].value(); }

 private:
  friend class RequestMetrics;
  explicit WorkerMetrics(RequestMetrics& owner);
  RequestCounters& At(Series series);
  // Begins key_ anew with these parts.
  void Key(std::initializer_list<std::string_view> parts);

  RequestMetrics& owner_;
  std::array<std::atomic<RequestCounters*>, kRequestSeriesMax> requests_ = {};  // owned
  StreamCounters streams_;
  std::vector<Counter> attempts_;
  SeriesCache request_cache_, attempt_cache_;
  std::string key_;
};

// The counters of all threads, and their page. The workers belong to it.
class RequestMetrics {
 public:
  // Worker i is for thread i.
  explicit RequestMetrics(uint32_t worker_count);
  ~RequestMetrics();

  WorkerMetrics& worker(uint32_t index) { return *workers_[index]; }

  // These models, in place of those of the call before, are always shown as themselves: for those
  // that the configuration names. [control, concurrent]
  void KeepModels(std::span<const std::string_view> names) { models_.Keep(names); }

  // Writes all families that have samples, each followed by its deprecated twin, which carries the
  // sums of the same numbers. `streams`: also those of the streams. [control, concurrent]
  void Write(MetricsText& text, bool streams) const;

 private:
  friend class WorkerMetrics;

  NameGuard models_{kModelLabelsMax};
  NameGuard fairness_ids_{kFairnessLabelsMax};
  SeriesNames request_names_;
  SeriesNames attempt_names_;
  std::vector<std::unique_ptr<WorkerMetrics>> workers_;
};

}  // namespace weir::io
