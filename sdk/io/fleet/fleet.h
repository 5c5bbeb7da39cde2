// weir/io/fleet/fleet.h: the endpoints behind a router: where they come from, and their metrics.
// Start at Fleet::Create().
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "weir/io/files/file_discovery.h"
#include "weir/io/fleet/host_names.h"
#include "weir/io/fleet/metrics_feed.h"
#include "weir/io/fleet/resources_feed.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/scrape/scraper.h"
#include "weir/router.h"

namespace weir::io {

struct FleetOptions {
  std::vector<std::string> endpoint_urls;  // "http://host:port", "https://host:port" or "host:port"
  std::string default_engine;      // of endpoints without an engine label; empty: the file's
  int64_t scrape_interval_ns = 0;  // of sources whose parameters name none; 0: 50 ms
  bool scrape = true;
  const TlsContext* upstream_tls_or_null = nullptr;  // see MetricsFeedOptions
};

// Writes the router's pool from the flags, or from the endpoints file that the pipeline names, and
// from what the endpoints report; and its resources from the file that the pipeline names. All
// members belong to the thread of the loop, except those marked.
class Fleet final : private FileDiscoverySink {
 public:
  using Log = std::function<void(LogLevel, const std::string&)>;

  // Borrowed: loop. Host names are resolved here and when the file changes, on this thread, which
  // waits for the resolver meanwhile.
  // Errors: kInvalidArgument (a flag, a parameter), kNotFound (the file), each naming it. [control]
  static absl::StatusOr<std::unique_ptr<Fleet>> Create(EventLoop& loop, const Router& router,
                                                       const FleetOptions& options, Log log);
  ~Fleet();

  // Whether there is an endpoint. [concurrent]
  bool has_endpoints() const noexcept { return endpoint_count_.load() > 0; }
  uint32_t endpoint_count() const noexcept { return endpoint_count_.load(); }
  // Sums of the scrapers' totals. [concurrent]
  struct ScrapeTotals {
    std::atomic<uint64_t> scrapes{0};
    std::atomic<uint64_t> samples{0};
    std::array<std::atomic<uint64_t>, kScrapeErrorCount> errors = {};
    std::atomic<uint64_t> missing{0};
    std::atomic<uint64_t> bad_values{0};
    std::atomic<uint64_t> malformed_lines{0};
  };
  const ScrapeTotals& scrape_totals() const noexcept { return totals_; }
  // Lookups of host names that failed.
  uint64_t names_unresolved() const noexcept { return names_.failures(); }
  uint64_t endpoints_rejected() const noexcept { return rejected_.load(); }
  // States of the endpoints file that could not be used, so that the earlier endpoints stayed.
  uint64_t lists_unusable() const noexcept { return unusable_.load(); }
  // The same of the resources file: what was wrong in it, and states of it that could not be used.
  uint64_t resources_rejected() const noexcept {
    return resources_ == nullptr ? 0 : resources_->problem_count();
  }
  uint64_t resources_unusable() const noexcept {
    return resources_ == nullptr ? 0 : resources_->unusable_count();
  }

 private:
  Fleet(EventLoop& loop, const Router& router, const FleetOptions& options, Log log);
  absl::Status CreateFeeds();
  absl::Status CreateDiscovery();
  absl::StatusOr<std::vector<DiscoveredEndpoint>> EndpointsOfFlags() const;
  void Apply(std::span<const DiscoveredEndpoint> endpoints);
  void FollowPool(std::span<const DiscoveredEndpoint> endpoints);

  void OnEndpoints(std::span<const DiscoveredEndpoint> endpoints,
                   std::span<const std::string> problems) override;
  void OnUnusable(std::string_view reason) override;
  void CopyTotals();

  EventLoop& loop_;
  const Router router_;
  const FleetOptions options_;
  const Log log_;
  std::unique_ptr<ResourcesFeed> resources_;  // null: the pipeline names no file
  std::vector<std::unique_ptr<MetricsFeed>> feeds_;
  HostNames names_;
  std::unique_ptr<FileDiscovery> discovery_;
  std::atomic<uint32_t> endpoint_count_{0};
  std::atomic<uint64_t> rejected_{0};
  std::atomic<uint64_t> unusable_{0};
  ScrapeTotals totals_;
};

}  // namespace weir::io
