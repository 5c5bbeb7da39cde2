#include "weir/io/fleet/metrics_feed.h"

#include <utility>

#include "weir/io/fleet/routes.h"
#include "weir/io/scrape/params.h"

namespace weir::io {
namespace {

constexpr std::string_view kSourceType = "metrics-data-source";
constexpr std::string_view kExtractorType = "core-metrics-extractor";
constexpr std::string_view kClusterSourceType = "multicluster-metrics-data-source";
constexpr std::string_view kClusterExtractorType = "multicluster-metrics-extractor";

uint32_t SampleFields(const RouterNeeds& needs) {
  uint32_t fields = 0;
  if (needs.waiting_requests) fields |= kSampleWaiting;
  if (needs.running_requests) fields |= kSampleRunning;
  if (needs.kv_used_ratio) fields |= kSampleKvUsed;
  if (needs.kv_blocks) fields |= kSampleBlockTokens | kSampleBlockCount;
  if (needs.adapters) fields |= kSampleLora;
  return fields;
}

// The first plugin of a type, null if there is none.
const RouterNeeds::ConfiguredPlugin* FindPlugin(const RouterNeeds& needs, std::string_view type) {
  for (const RouterNeeds::ConfiguredPlugin& plugin : needs.data_layer) {
    if (plugin.type == type) return &plugin;
  }
  return nullptr;
}

std::string ParametersOf(const RouterNeeds::ConfiguredPlugin* plugin) {
  return plugin == nullptr ? "" : plugin->parameters_json;
}

// What a source says about itself goes before what is said about all.
absl::Duration IntervalOf(const MetricsSourceOptions& source, const MetricsFeedOptions& options) {
  if (source.interval > absl::ZeroDuration()) return source.interval;
  return absl::Nanoseconds(options.scrape_interval_ns > 0 ? options.scrape_interval_ns
                                                          : kScrapeIntervalNsDefault);
}

std::string LabelOf(const DiscoveredEndpoint& found, std::string_view key) {
  const auto label = found.labels.find(std::string(key));
  return label == found.labels.end() ? "" : label->second;
}

}  // namespace

MetricsFeed::MetricsFeed(const Router& router, const MetricsFeedOptions& options)
    : router_(router), options_(options) {}

absl::StatusOr<std::vector<std::unique_ptr<MetricsFeed>>> MetricsFeed::CreateAll(
    EventLoop& loop, const Router& router, const MetricsFeedOptions& options) {
  std::vector<std::unique_ptr<MetricsFeed>> feeds;
  absl::Status status = CreateForEngines(loop, router, options, &feeds);
  if (status.ok()) status = CreateForClusters(loop, router, options, &feeds);
  if (!status.ok()) return status;
  return feeds;
}

absl::StatusOr<int64_t> MetricsFeed::EngineIntervalNs(const Router& router,
                                                      const MetricsFeedOptions& options) {
  const auto source =
      ParseMetricsSourceOptions(ParametersOf(FindPlugin(router.needs(), kSourceType)));
  if (!source.ok()) return source.status();
  return absl::ToInt64Nanoseconds(IntervalOf(*source, options));
}

absl::Status MetricsFeed::CreateForEngines(EventLoop& loop, const Router& router,
                                           const MetricsFeedOptions& options,
                                           std::vector<std::unique_ptr<MetricsFeed>>* feeds) {
  const RouterNeeds& needs = router.needs();
  const uint32_t fields = SampleFields(needs);
  auto extractor = ParseCoreMetricsOptions(ParametersOf(FindPlugin(needs, kExtractorType)));
  if (!extractor.ok()) return extractor.status();
  if (!options.default_engine.empty()) extractor->default_engine = options.default_engine;
  auto plans = ScrapePlans::Create(*extractor, fields);
  if (!plans.ok()) return plans.status();
  auto source = ParseMetricsSourceOptions(ParametersOf(FindPlugin(needs, kSourceType)));
  if (!source.ok()) return source.status();
  if (fields == 0) return absl::OkStatus();
  std::unique_ptr<MetricsFeed> feed(new MetricsFeed(router, options));
  feed->plans_ = std::make_unique<ScrapePlans>(*std::move(plans));
  if (absl::Status status = feed->Start(loop, *std::move(source)); !status.ok()) return status;
  feeds->push_back(std::move(feed));
  return absl::OkStatus();
}

absl::Status MetricsFeed::CreateForClusters(EventLoop& loop, const Router& router,
                                            const MetricsFeedOptions& options,
                                            std::vector<std::unique_ptr<MetricsFeed>>* feeds) {
  const RouterNeeds& needs = router.needs();
  const auto* extractor = FindPlugin(needs, kClusterExtractorType);
  if (extractor == nullptr) return absl::OkStatus();
  const auto engine = ParseClusterMetricsOptions(extractor->parameters_json);
  if (!engine.ok()) return engine.status();
  CoreMetricsOptions plan_options;
  plan_options.default_engine = engine->name;
  plan_options.engine_configs = {*engine};
  auto plans = ScrapePlans::Create(plan_options, 0);
  if (!plans.ok()) return plans.status();
  auto source = ParseClusterSourceOptions(ParametersOf(FindPlugin(needs, kClusterSourceType)));
  if (!source.ok()) return source.status();
  std::unique_ptr<MetricsFeed> feed(new MetricsFeed(router, options));
  feed->plans_ = std::make_unique<ScrapePlans>(*std::move(plans));
  feed->only_plan_or_null_ = &feed->plans_->ForEngine(engine->name);
  bool is_read = false;
  for (const std::string& key : feed->only_plan_or_null_->custom_keys()) {
    uint32_t index = kNoAttribute;
    for (uint32_t i = 0; i < needs.attributes.size(); ++i) {
      const RouterNeeds::ScrapedAttribute& one = needs.attributes[i];
      if (one.name == key && one.extractor == extractor->name) index = i;
    }
    feed->attributes_.push_back(index);
    is_read |= index != kNoAttribute;
  }
  if (!is_read) return absl::OkStatus();
  if (absl::Status status = feed->Start(loop, *std::move(source)); !status.ok()) return status;
  feeds->push_back(std::move(feed));
  return absl::OkStatus();
}

absl::Status MetricsFeed::Start(EventLoop& loop, MetricsSourceOptions source) {
  ScraperOptions scraper;
  scraper.source = std::move(source);
  scraper.source.interval = IntervalOf(scraper.source, options_);
  auto made = Scraper::Create(loop, scraper, *this);
  if (!made.ok()) return made.status();
  scraper_ = *std::move(made);
  return absl::OkStatus();
}

absl::Status MetricsFeed::Add(EndpointId id, const DiscoveredEndpoint& found,
                              const SocketAddress& address) {
  ScrapeTarget target{.id = id,
                      .metrics_address = found.metrics_address,
                      .socket_address = address,
                      .plan = only_plan_or_null_ != nullptr ? only_plan_or_null_
                                                            : &plans_->ForLabels(found.labels)};
  // What the labels say is of the requests' port: a page on another may be served otherwise.
  if (found.metrics_address == found.address) {
    target.server_name = LabelOf(found, kHostLabel);
    if (LabelOf(found, kSchemeLabel) == "https") {
      target.tls_or_null = options_.upstream_tls_or_null;
    }
  }
  const auto at = scraped_.find(id.slot);
  if (at != scraped_.end()) {
    if (at->second == target) return absl::OkStatus();
    scraper_->Remove(at->second.id);
    scraped_.erase(at);
  }
  const absl::Status status = scraper_->Add(target);
  if (status.ok()) scraped_.emplace(id.slot, std::move(target));
  return status;
}

void MetricsFeed::Retain(std::span<const EndpointId> ids) {
  std::vector<EndpointId> kept(kEndpointsMax);  // by slot
  for (const EndpointId id : ids) kept[id.slot] = id;
  std::erase_if(scraped_, [&](const auto& entry) {
    const auto& [slot, target] = entry;
    if (kept[slot] == target.id) return false;
    scraper_->Remove(target.id);
    return true;
  });
}

void MetricsFeed::OnScrapeStarted(EndpointId id, int64_t) {
  // A cluster's averages say nothing about requests that were just sent there.
  if (only_plan_or_null_ == nullptr) router_.pool().SampleStarted(id);
}

void MetricsFeed::OnSample(EndpointId id, const EndpointSample& sample, int64_t, int64_t) {
  EndpointMetrics metrics;
  if (sample.has(kSampleWaiting)) metrics.waiting_requests = sample.waiting_requests;
  if (sample.has(kSampleRunning)) metrics.running_requests = sample.running_requests;
  if (sample.has(kSampleKvUsed)) metrics.kv_used_ratio = sample.kv_used_ratio;
  if (sample.has(kSampleBlockTokens)) metrics.kv_block_tokens = sample.block_tokens;
  if (sample.has(kSampleBlockCount)) metrics.kv_block_count = sample.block_count;
  if (sample.has(kSampleLora)) {
    metrics.adapters =
        EndpointAdapters{sample.lora_active, sample.lora_waiting, sample.lora_adapters_max};
  }
  for (uint32_t i = 0; i < attributes_.size(); ++i) {
    if (attributes_[i] == kNoAttribute || ((sample.custom_present >> i) & 1) == 0) continue;
    metrics.attributes.push_back({attributes_[i], sample.custom_values[i]});
  }
  updates_.push_back({id, std::move(metrics)});
}

void MetricsFeed::OnFailure(EndpointId, ScrapeError, int64_t) { options_.changed(); }

void MetricsFeed::OnBatchEnd(int64_t) {
  router_.pool().ApplySamples(updates_);
  updates_.clear();
  options_.changed();
}

}  // namespace weir::io
