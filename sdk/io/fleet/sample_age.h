// weir/io/fleet/sample_age.h: how long what an endpoint said about its load counts. Start at
// LoadWithSampleAge().
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "weir/io/fleet/fleet.h"
#include "weir/router.h"

namespace weir::io {

// A sample counts for forty scrapes, and for two seconds at least: what a server said before that
// is no reason to prefer it.
inline constexpr int64_t kSampleAgeScrapes = 40;
inline constexpr int64_t kSampleAgeNsMin = 2'000'000'000;

// Makes a router by `load`, whose samples expire after forty of the intervals at which a Fleet of
// these options would scrape. Calls load twice, because only the pipeline says what that interval
// is: first without recorder and log. Errors: those of load; kInvalidArgument (a parameter of the
// pipeline's metrics source). [control]
absl::StatusOr<Router> LoadWithSampleAge(
    const RouterOptions& options, const FleetOptions& fleet,
    absl::FunctionRef<absl::StatusOr<Router>(const RouterOptions&)> load);

}  // namespace weir::io
