// weir/io/fleet/metrics_feed.h: one data source of a pipeline with its extractor: from the metrics
// pages of the endpoints to the router's pool.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "weir/io/files/endpoints_file.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/socket.h"
#include "weir/io/scrape/scraper.h"
#include "weir/router.h"

namespace weir::io {

struct MetricsFeedOptions {
  std::string default_engine;      // of endpoints without an engine label; empty: the file's
  int64_t scrape_interval_ns = 0;  // of sources whose parameters name none; 0: 50 ms
  // Of endpoints labelled https, for sources whose parameters name no scheme and no port; null:
  // plain HTTP. Borrowed.
  const TlsContext* upstream_tls_or_null = nullptr;
  // Called on the loop's thread when the totals changed.
  std::function<void()> changed = [] {};
};

// All members belong to the thread of the loop.
class MetricsFeed final : private ScrapeSink {
 public:
  // The feeds that the router's pipeline needs, perhaps none: engines' pages for load columns and
  // adapters, clusters' pages for scraped attributes. Parameters are checked even where no feed is
  // needed. Borrowed: loop. Errors: kInvalidArgument (a parameter). [control]
  static absl::StatusOr<std::vector<std::unique_ptr<MetricsFeed>>> CreateAll(
      EventLoop& loop, const Router& router, const MetricsFeedOptions& options);
  // How often the feed of engines' pages reads each of them. Errors: kInvalidArgument (a
  // parameter). [control]
  static absl::StatusOr<int64_t> EngineIntervalNs(const Router& router,
                                                  const MetricsFeedOptions& options);
  MetricsFeed(const MetricsFeed&) = delete;
  MetricsFeed& operator=(const MetricsFeed&) = delete;

  // Begins to read the page of an endpoint of the pool, or goes on where nothing of it has changed.
  // `address` is the resolved form of found.metrics_address, invalid if it is not known.
  // Errors: as Scraper::Add. [control]
  absl::Status Add(EndpointId id, const DiscoveredEndpoint& found, const SocketAddress& address);
  // Forgets the endpoints that are not among `ids`. [control]
  void Retain(std::span<const EndpointId> ids);
  const ScrapeCounters& totals() const noexcept { return scraper_->totals(); }
  int64_t interval_ns() const noexcept { return scraper_->interval_ns(); }

 private:
  MetricsFeed(const Router& router, const MetricsFeedOptions& options);
  static absl::Status CreateForEngines(EventLoop& loop, const Router& router,
                                       const MetricsFeedOptions& options,
                                       std::vector<std::unique_ptr<MetricsFeed>>* feeds);
  static absl::Status CreateForClusters(EventLoop& loop, const Router& router,
                                        const MetricsFeedOptions& options,
                                        std::vector<std::unique_ptr<MetricsFeed>>* feeds);
  absl::Status Start(EventLoop& loop, MetricsSourceOptions source);

  void OnScrapeStarted(EndpointId id, int64_t now_ns) override;
  void OnSample(EndpointId id, const EndpointSample& sample, int64_t started_ns,
                int64_t now_ns) override;
  void OnFailure(EndpointId id, ScrapeError error, int64_t now_ns) override;
  void OnBatchEnd(int64_t now_ns) override;

  static constexpr uint32_t kNoAttribute = UINT32_MAX;

  const Router router_;
  const MetricsFeedOptions options_;
  std::unique_ptr<ScrapePlans> plans_;
  const ScrapePlan* only_plan_or_null_ = nullptr;  // for endpoints of every engine
  std::vector<uint32_t> attributes_;  // per custom value of the only plan: the pool's index of it
  std::unique_ptr<Scraper> scraper_;
  std::unordered_map<uint32_t, ScrapeTarget> scraped_;  // by slot of the pool
  std::vector<MetricsUpdate> updates_;
};

}  // namespace weir::io
