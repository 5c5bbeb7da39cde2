// weir/io/scrape/scraper.h: keeps asking model servers for their metrics. Start at
// Scraper::Create().
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "weir/endpoint.h"
#include "weir/io/http/client.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/socket.h"
#include "weir/io/loop/timer.h"
#include "weir/io/loop/tls.h"
#include "weir/io/scrape/endpoint_sample.h"
#include "weir/io/scrape/params.h"
#include "weir/io/scrape/scrape_plan.h"
#include "weir/io/scrape/scrape_schedule.h"

namespace weir::io {

// Why a scrape brought no sample.
enum class ScrapeError : uint8_t {
  kConnect = 0,   // no connection: refused, unreachable, TLS, no descriptors left
  kTimeout,       // no complete answer within timeout_ns
  kClosed,        // the connection ended before the answer was complete
  kBadResponse,   // not an HTTP/1 answer that weir reads, or a compressed one
  kStatus,        // another status than 200
  kPageTooLarge,  // more than page_bytes_max
  kNothingFound,  // a page without any wanted metric
};
inline constexpr uint32_t kScrapeErrorCount = static_cast<uint32_t>(ScrapeError::kNothingFound) + 1;

// A short name for metrics and logs, for example "page_too_large". Lives forever. [concurrent]
std::string_view ScrapeErrorName(ScrapeError error) noexcept;

struct ScraperOptions {
  MetricsSourceOptions source;           // scheme, path, port, TLS; interval zero means 50 ms
  int64_t timeout_ns = 1'000'000'000;    // of one scrape, connecting included
  uint64_t page_bytes_max = 8ull << 20;  // of one page
  // Samples that arrive this close together end in one OnBatchEnd(). Earlier if no scrape is out.
  int64_t batch_ns = 5'000'000;
  uint64_t seed = 1;  // of the jitter of back-off
};

// One endpoint to scrape.
struct ScrapeTarget {
  EndpointId id;
  std::string metrics_address;   // "10.0.0.1:8000", "[fd00::1]:8000" or "host:8000"
  SocketAddress socket_address;  // what a host name resolved to; may be left out for numeric ones
  const ScrapePlan* plan = nullptr;  // borrowed until the endpoint is removed
  // Where the source names neither scheme nor port; null: plain HTTP. Borrowed, as the plan.
  const TlsContext* tls_or_null = nullptr;
  std::string server_name;  // that the certificate must carry; empty: metrics_address's host

  friend bool operator==(const ScrapeTarget&, const ScrapeTarget&) = default;
};

// What happened to one endpoint, or to all, since it was added.
struct ScrapeCounters {
  uint64_t scrapes = 0;  // begun
  uint64_t samples = 0;
  std::array<uint64_t, kScrapeErrorCount> errors = {};  // by ScrapeError
  uint64_t missing = 0;                                 // see ExtractStats
  uint64_t bad_values = 0;
  uint64_t malformed_lines = 0;
  uint64_t adapters_dropped = 0;
};

// Learns the outcomes. Called on the loop's thread. Add() and Remove() may be called inside.
class ScrapeSink {
 public:
  // A request goes out now: what the server counts from here on is in its answer. [hot, serial]
  virtual void OnScrapeStarted(EndpointId id, int64_t now_ns) = 0;
  // The last known values of the endpoint; sample.present says which the page had. Borrowed until
  // return. Publish them at OnBatchEnd(). [hot, serial]
  virtual void OnSample(EndpointId id, const EndpointSample& sample, int64_t started_ns,
                        int64_t now_ns) = 0;
  // The values of before stay what is known. [hot, serial]
  virtual void OnFailure(EndpointId id, ScrapeError error, int64_t now_ns) = 0;
  // A group of at least one OnSample() is complete. [hot, serial]
  virtual void OnBatchEnd(int64_t now_ns) = 0;

 protected:
  ~ScrapeSink() = default;
};

// Scrapes each endpoint once per interval over one kept connection, spread over the interval, at
// most one request per endpoint at a time; see ScrapeSchedule for failing ones. All members belong
// to the thread of the loop.
class Scraper {
 public:
  // Borrowed: `loop` and `sink`, for the scraper's life.
  // Errors: kInvalidArgument (TLS files). [control]
  static absl::StatusOr<std::unique_ptr<Scraper>> Create(EventLoop& loop,
                                                         const ScraperOptions& options,
                                                         ScrapeSink& sink);
  // REQUIRES: not within a call to the sink
  ~Scraper();
  Scraper(const Scraper&) = delete;
  Scraper& operator=(const Scraper&) = delete;

  // Begins to scrape within one interval.
  // Errors: kInvalidArgument (address neither numeric nor resolved), kAlreadyExists,
  // kResourceExhausted at kEndpointsMax. [control]
  absl::Status Add(const ScrapeTarget& target);
  // Stops; no call for `id` follows. Does nothing for an unknown id. [control]
  void Remove(EndpointId id);

  uint32_t endpoint_count() const noexcept { return static_cast<uint32_t>(by_id_.size()); }
  // Null for an unknown id. Valid until the endpoint is removed. [control]
  const ScrapeCounters* counters_or_null(EndpointId id) const;
  // Of all endpoints, removed ones included.
  const ScrapeCounters& totals() const noexcept { return totals_; }
  int64_t interval_ns() const noexcept { return schedule_.interval_ns(); }

 private:
  class Subject;  // an endpoint

  Scraper(EventLoop& loop, const ScraperOptions& options, ScrapeSink& sink,
          std::unique_ptr<TlsContext> tls);
  void OnDue();
  void ArmFor(int64_t due_ns);
  void Begin(Subject& subject);
  void Succeeded(Subject& subject, const ExtractStats& stats);
  void Failed(Subject& subject, ScrapeError error);
  void EndScrape(uint32_t slot, bool ok);
  void EndBatchIfQuiet();
  void EndBatch();

  EventLoop& loop_;
  const ScraperOptions options_;
  ScrapeSink& sink_;
  const std::unique_ptr<TlsContext> tls_;  // null: plain HTTP
  ScrapeSchedule schedule_;
  std::vector<std::unique_ptr<Subject>> subjects_;  // by slot of the schedule; null: free
  std::unordered_map<uint64_t, uint32_t> by_id_;
  ScrapeCounters totals_;
  uint32_t out_count_ = 0;   // scrapes under way
  bool batch_open_ = false;  // samples were handed over since the last OnBatchEnd()
  int64_t armed_for_ns_ = ScrapeSchedule::kNever;
  Timer due_ = Timer::Calling<&Scraper::OnDue>(*this);
  Timer batch_ = Timer::Calling<&Scraper::EndBatch>(*this);
};

}  // namespace weir::io
