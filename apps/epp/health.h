// health.h: when weir-epp says that it serves.
#pragma once

#include <atomic>
#include <string>
#include <string_view>
#include <vector>

#include "weir/io/grpc_server/health_service.h"

namespace weir::epp {

inline constexpr std::string_view kLivenessService = "liveness";
inline constexpr std::string_view kReadinessService = "readiness";

// What health depends on.
struct HealthInputs {
  bool leader_election = false;  // names of services are told apart
  bool live = false;             // the endpoints were read at least once
  bool leader = true;            // always, while there is no leader election
  bool protocol = true;          // the parsers read what the pool speaks
  bool plugins = true;           // all plugins are ready
  bool draining = false;
};

// The status of one service. "liveness" serves as long as the process does: a restart ends no drain
// sooner. Without leader election all other names, known or not, are readiness. [concurrent]
io::ServingStatus HealthOf(std::string_view service, const HealthInputs& inputs) noexcept;

// The health of a process, as any of its servers asks for it. Safe for concurrent use.
class Health final : public io::HealthSource {
 public:
  explicit Health(bool leader_election) : leader_election_(leader_election) {}

  void set_live() noexcept { live_.store(true); }
  void set_draining() noexcept { draining_.store(true); }
  HealthInputs inputs() const noexcept;
  // Whether requests may be sent here. [concurrent]
  bool ready() const noexcept {
    return HealthOf(kReadinessService, inputs()) == io::ServingStatus::kServing;
  }

  io::ServingStatus StatusOf(std::string_view service) override {
    return HealthOf(service, inputs());
  }
  void ListServices(std::vector<std::string>& names) override;

 private:
  const bool leader_election_;
  std::atomic<bool> live_{false};
  std::atomic<bool> draining_{false};
};

}  // namespace weir::epp
