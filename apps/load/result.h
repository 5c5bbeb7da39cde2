// load/result.h: what a run measured. One Recorder per thread; merged at the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "load/histogram.h"

namespace weir::load {

inline constexpr size_t kServersMax = 4096;   // names kept; further ones count as "(other)"
inline constexpr size_t kErrorKindsMax = 64;  // likewise
inline constexpr size_t kSeriesBucketsMax = 600;
inline constexpr int kSeriesPrecisionBits = 4;  // 3 % error in the plots over time

// Limits that a request must keep to count as good; 0 is no limit.
struct Slo {
  int64_t ttft_ns = 0;
  int64_t itl_ns = 0;  // of the mean gap between the tokens of one request
  int64_t e2e_ns = 0;
  bool any() const noexcept { return ttft_ns > 0 || itl_ns > 0 || e2e_ns > 0; }
};

// One ended request. Times count from the start of the run; -1 means it never came to that.
struct Sample {
  int64_t due_ns = 0;
  int64_t sent_ns = 0;
  int64_t first_token_ns = -1;
  int64_t last_token_ns = -1;
  int64_t end_ns = 0;
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;
  uint64_t output_tokens = 0;
  bool measured = true;
  std::string_view error;   // empty: success; else its kind, for example "http 503"
  std::string_view server;  // which server answered; empty: unknown
};

// A stretch of time in the plots. Requests are filed under the time they were due, tokens and
// completions under the time they came.
struct SeriesBucket {
  uint64_t due = 0, completed = 0, errors = 0, output_tokens = 0;
  Histogram ttft_ns{kSeriesPrecisionBits};
};

// What a run, or one thread's part of it, measured. Only measured requests, except warmup_requests.
struct Figures {
  // Latencies in ns of successful requests, from the due time; itl and tpot are gaps.
  Histogram ttft, itl, tpot, e2e;
  Histogram lateness;     // sent - due, of all requests
  uint64_t requests = 0;  // ended, with errors
  uint64_t errors = 0;
  uint64_t warmup_requests = 0;
  uint64_t unfinished = 0;    // cut off when the run ended; neither requests nor errors
  uint64_t token_events = 0;  // that came while measuring, of any request
  int64_t first_event_ns = -1, last_event_ns = -1;
  uint64_t good = 0;  // successful and within the limits
  uint64_t prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
  int64_t first_due_ns = -1, last_due_ns = -1, last_end_ns = -1;
  std::map<std::string, uint64_t, std::less<>> errors_by_kind;
  std::map<std::string, uint64_t, std::less<>> requests_by_server;
  int64_t series_step_ns = 250'000'000;
  std::vector<SeriesBucket> series;  // from time 0

  // From the first arrival to the last answer: the arrival window and its drain.
  double duration_s() const noexcept {
    return first_due_ns < 0 ? 0.0 : static_cast<double>(last_end_ns - first_due_ns) / 1e9;
  }
  double error_ratio() const noexcept {
    return requests == 0 ? 0.0 : static_cast<double>(errors) / static_cast<double>(requests);
  }
};

// Adds up samples into figures. One thread at a time.
class Recorder {
 public:
  explicit Recorder(const Slo& slo = {}) : slo_(slo) {}

  // Files one ended request; warm-up requests are only counted.
  void Add(const Sample& sample);
  // Files the gap between two token events of one request. [hot]
  void AddGap(int64_t gap_ns) noexcept { figures_.itl.Record(gap_ns); }
  // Counts events with text that came at `now_ns`. [hot]
  void AddTokenEvents(uint64_t count, int64_t now_ns) noexcept {
    figures_.token_events += count;
    if (figures_.first_event_ns < 0) figures_.first_event_ns = now_ns;
    figures_.last_event_ns = now_ns;
  }
  // Counts a request that the end of the run cut off.
  void AddUnfinished() noexcept { ++figures_.unfinished; }
  void Merge(const Recorder& other);

  const Figures& figures() const noexcept { return figures_; }

 private:
  SeriesBucket& BucketAt(int64_t time_ns);

  const Slo slo_;
  Figures figures_;
};

}  // namespace weir::load
