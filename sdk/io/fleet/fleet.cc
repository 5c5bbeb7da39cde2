#include "weir/io/fleet/fleet.h"

#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "weir/io/fleet/routes.h"
#include "weir/io/loop/socket.h"

namespace weir::io {
namespace {

constexpr std::string_view kFileDiscoveryType = "file-discovery";
constexpr std::string_view kClusterDiscoveryType = "multicluster-file-discovery";

}  // namespace

Fleet::Fleet(EventLoop& loop, const Router& router, const FleetOptions& options, Log log)
    : loop_(loop), router_(router), options_(options), log_(std::move(log)) {}

Fleet::~Fleet() = default;

absl::StatusOr<std::unique_ptr<Fleet>> Fleet::Create(EventLoop& loop, const Router& router,
                                                     const FleetOptions& options, Log log) {
  std::unique_ptr<Fleet> fleet(new Fleet(loop, router, options, std::move(log)));
  auto resources = ResourcesFeed::Create(loop, router, fleet->log_);
  if (!resources.ok()) return resources.status();
  fleet->resources_ = *std::move(resources);
  if (absl::Status status = fleet->CreateFeeds(); !status.ok()) return status;
  if (absl::Status status = fleet->CreateDiscovery(); !status.ok()) return status;
  if (!options.endpoint_urls.empty()) {
    const auto endpoints = fleet->EndpointsOfFlags();
    if (!endpoints.ok()) return endpoints.status();
    fleet->Apply(*endpoints);
  }
  return fleet;
}

absl::Status Fleet::CreateFeeds() {
  auto feeds = MetricsFeed::CreateAll(loop_, router_,
                                      {.default_engine = options_.default_engine,
                                       .scrape_interval_ns = options_.scrape_interval_ns,
                                       .upstream_tls_or_null = options_.upstream_tls_or_null,
                                       .changed = [this] { CopyTotals(); }});
  if (!feeds.ok()) return feeds.status();
  if (options_.scrape) feeds_ = *std::move(feeds);
  return absl::OkStatus();
}

absl::Status Fleet::CreateDiscovery() {
  const RouterNeeds& needs = router_.needs();
  if (needs.discovery_plugin.empty()) return absl::OkStatus();
  if (!options_.endpoint_urls.empty()) {
    return absl::InvalidArgumentError(
        "--endpoint and dataLayer.discovery of the pipeline file: expected one of them");
  }
  for (const RouterNeeds::ConfiguredPlugin& plugin : needs.data_layer) {
    const bool is_file = plugin.type == kFileDiscoveryType || plugin.type == kClusterDiscoveryType;
    if (plugin.name != needs.discovery_plugin || !is_file) continue;
    const auto parameters = nlohmann::json::parse(plugin.parameters_json, nullptr, false);
    FileDiscoveryOptions options;
    options.path = parameters.value("path", "");
    options.watch_file = parameters.value("watchFile", false);
    auto discovery = FileDiscovery::Create(loop_, options, *this);
    if (!discovery.ok()) return discovery.status();
    discovery_ = *std::move(discovery);
    OnEndpoints(discovery_->current().endpoints, discovery_->current().problems);
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("discovery plugin \"", needs.discovery_plugin,
                                                 "\": expected one of type ",
                                                 std::string(kFileDiscoveryType)));
}

absl::StatusOr<std::vector<DiscoveredEndpoint>> Fleet::EndpointsOfFlags() const {
  std::vector<DiscoveredEndpoint> endpoints;
  std::set<std::string> seen;
  for (const std::string& url : options_.endpoint_urls) {
    std::string_view rest = url;
    DiscoveredEndpoint endpoint;
    if (rest.starts_with("https://")) {
      endpoint.labels.emplace(kSchemeLabel, "https");
      rest.remove_prefix(8);
    } else if (rest.starts_with("http://")) {
      rest.remove_prefix(7);
    }
    if (rest.ends_with('/')) rest.remove_suffix(1);
    const size_t colon = rest.rfind(':');
    int port = 0;
    if (colon == std::string_view::npos || colon == 0 ||
        !absl::SimpleAtoi(absl::string_view(rest.data() + colon + 1, rest.size() - colon - 1),
                          &port) ||
        port < 1 || port > 65535 || rest.find('/') != std::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--endpoint ", url, ": expected http://host:port, with a port of 1..65535 and no path"));
    }
    endpoint.host = std::string(rest.substr(0, colon));
    endpoint.port = static_cast<uint16_t>(port);
    endpoint.name = endpoint.address = endpoint.metrics_address = std::string(rest);
    if (!seen.insert(endpoint.name).second) {
      return absl::InvalidArgumentError(absl::StrCat("--endpoint ", url, ": given twice"));
    }
    endpoints.push_back(std::move(endpoint));
  }
  return endpoints;
}

void Fleet::Apply(std::span<const DiscoveredEndpoint> endpoints) {
  std::vector<Endpoint> wanted;
  names_.BeginList();
  for (const DiscoveredEndpoint& found : endpoints) {
    Endpoint endpoint{.name = found.name,
                      .namespace_name = found.namespace_name,
                      .address = names_.Resolve(found.address),
                      .labels = found.labels};
    if (endpoint.address.empty()) {
      rejected_.fetch_add(1);
      log_(LogLevel::kError,
           absl::StrCat("endpoint \"", found.name, "\": address \"", found.address,
                        "\" cannot be resolved; the other endpoints are in use"));
      continue;
    }
    if (endpoint.address != found.address) {
      endpoint.labels.emplace(kHostLabel, found.host);
    }
    wanted.push_back(std::move(endpoint));
  }
  if (const absl::Status status = router_.pool().Replace(wanted); !status.ok()) {
    rejected_.fetch_add(1);
    log_(LogLevel::kError, std::string(status.message()));
  }
  FollowPool(endpoints);
}

// Makes the feeds ask exactly the endpoints of the pool.
void Fleet::FollowPool(std::span<const DiscoveredEndpoint> endpoints) {
  const auto snapshot = router_.pool().snapshot();
  endpoint_count_.store(snapshot->count());
  if (feeds_.empty()) return;
  const auto ids = snapshot->ids();
  std::map<std::string, const DiscoveredEndpoint*, std::less<>> by_name;
  for (const DiscoveredEndpoint& one : endpoints) {
    by_name.emplace(absl::StrCat(one.namespace_name, "/", one.name), &one);
  }
  for (const auto& feed : feeds_) feed->Retain(ids);
  for (uint32_t i = 0; i < ids.size(); ++i) {
    const std::string_view name = snapshot->name(i);
    const auto entry = by_name.find(name);
    if (entry == by_name.end()) continue;
    const DiscoveredEndpoint& found = *entry->second;
    const std::string numeric = found.metrics_address == found.address
                                    ? std::string(snapshot->address(i))
                                    : names_.Resolve(found.metrics_address);
    const auto address = SocketAddress::Parse(numeric);
    for (const auto& feed : feeds_) {
      const absl::Status status =
          feed->Add(ids[i], found, address.ok() ? *address : SocketAddress());
      if (status.ok()) continue;
      log_(LogLevel::kError,
           absl::StrCat("endpoint \"", std::string(name),
                        "\": metrics are not read: ", std::string(status.message())));
    }
  }
}

void Fleet::CopyTotals() {
  ScrapeCounters sum;
  for (const auto& feed : feeds_) {
    const ScrapeCounters& from = feed->totals();
    sum.scrapes += from.scrapes;
    sum.samples += from.samples;
    for (uint32_t i = 0; i < kScrapeErrorCount; ++i) sum.errors[i] += from.errors[i];
    sum.missing += from.missing;
    sum.bad_values += from.bad_values;
    sum.malformed_lines += from.malformed_lines;
  }
  totals_.scrapes.store(sum.scrapes);
  totals_.samples.store(sum.samples);
  for (uint32_t i = 0; i < kScrapeErrorCount; ++i) totals_.errors[i].store(sum.errors[i]);
  totals_.missing.store(sum.missing);
  totals_.bad_values.store(sum.bad_values);
  totals_.malformed_lines.store(sum.malformed_lines);
}

void Fleet::OnEndpoints(std::span<const DiscoveredEndpoint> endpoints,
                        std::span<const std::string> problems) {
  for (const std::string& problem : problems) {
    rejected_.fetch_add(1);
    log_(LogLevel::kError, problem);
  }
  Apply(endpoints);
}

void Fleet::OnUnusable(std::string_view reason) {
  unusable_.fetch_add(1);
  log_(LogLevel::kError, std::string(reason));
}

}  // namespace weir::io
