// weir/io/grpc_server/health_service.h: grpc.health.v1.Health (Check, List, Watch) on a GrpcServer.
// Start at HealthService.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weir/io/grpc_server/grpc_server.h"

namespace weir::io {

inline constexpr uint32_t kHealthServiceBytesMax = 256;  // of a service's name; INVALID_ARGUMENT
inline constexpr uint32_t kHealthWatchesMax = 1024;      // default; RESOURCE_EXHAUSTED beyond
inline constexpr uint32_t kHealthListMax = 100;          // services of one answer to List

// Values of grpc.health.v1.HealthCheckResponse.ServingStatus.
enum class ServingStatus : uint8_t {
  kUnknown = 0,
  kServing = 1,
  kNotServing = 2,
  kServiceUnknown = 3,
};

// Knows how services are. The program implements it.
class HealthSource {
 public:
  virtual ~HealthSource() = default;
  // How `service` is now; "" is the server as a whole. Asked on the server's thread. [hot, serial]
  virtual ServingStatus StatusOf(std::string_view service) = 0;
  // The names that List answers for, the first kHealthListMax of them. [serial]
  virtual void ListServices(std::vector<std::string>& names) = 0;
};

struct HealthOptions {
  // Check of a service that is kServiceUnknown: false answers NOT_FOUND as the protocol says, true
  // a response that carries the status.
  bool unknown_as_status = false;
  uint32_t watches_max = kHealthWatchesMax;
};

// Belongs to the thread of its servers.
class HealthService {
 public:
  // Borrowed: `source`. Destroy the servers first.
  explicit HealthService(HealthSource& source, const HealthOptions& options = {});
  ~HealthService();
  HealthService(const HealthService&) = delete;
  HealthService& operator=(const HealthService&) = delete;

  // Serves the three methods on `server`, one of perhaps several of this thread.
  // Errors: those of GrpcServer::Register().  [control]
  Code Register(GrpcServer& server);

  // Asks the source for each watched service again and tells the watchers of those that changed.
  // Call it after a change, or now and then. [serial]
  void Update();
  // Ends all watches with UNAVAILABLE, and new ones at once: they would keep a draining server
  // open. Call it with GrpcServer::Drain(). [control]
  void EndWatches();
  uint32_t watch_count() const noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::io
