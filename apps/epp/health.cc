#include "health.h"

#include "weir/io/ext_proc/ext_proc_service.h"

namespace weir::epp {

io::ServingStatus HealthOf(std::string_view service, const HealthInputs& inputs) noexcept {
  if (service == kLivenessService) return io::ServingStatus::kServing;
  const bool is_ready_name =
      service.empty() || service == kReadinessService || service == io::kExtProcServiceName;
  if (inputs.leader_election && !is_ready_name) return io::ServingStatus::kServiceUnknown;
  // Plugins count for the names that stand for readiness only.
  const bool ready = inputs.live && inputs.protocol && !inputs.draining &&
                     (inputs.plugins || !is_ready_name) &&
                     (inputs.leader || !inputs.leader_election);
  return ready ? io::ServingStatus::kServing : io::ServingStatus::kNotServing;
}

HealthInputs Health::inputs() const noexcept {
  return {.leader_election = leader_election_, .live = live_.load(), .draining = draining_.load()};
}

void Health::ListServices(std::vector<std::string>& names) {
  names.emplace_back(io::kExtProcServiceName);
  names.emplace_back(kLivenessService);
  names.emplace_back(kReadinessService);
}

}  // namespace weir::epp
