#include "weir/io/fleet/sample_age.h"

#include <algorithm>

#include "weir/io/fleet/metrics_feed.h"

namespace weir::io {

absl::StatusOr<Router> LoadWithSampleAge(
    const RouterOptions& options, const FleetOptions& fleet,
    absl::FunctionRef<absl::StatusOr<Router>(const RouterOptions&)> load) {
  RouterOptions used = options;
  used.recorder = nullptr;
  used.log = nullptr;
  const auto probe = load(used);
  if (!probe.ok()) return probe.status();
  const auto interval_ns =
      MetricsFeed::EngineIntervalNs(*probe, {.scrape_interval_ns = fleet.scrape_interval_ns});
  if (!interval_ns.ok()) return interval_ns.status();
  used = options;
  used.sample_age_ns_max = std::max(kSampleAgeNsMin, kSampleAgeScrapes * *interval_ns);
  return load(used);
}

}  // namespace weir::io
