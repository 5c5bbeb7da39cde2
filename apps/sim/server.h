// Serves instances over HTTP on one event loop. Start at SimServer::Start().
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "instance.h"
#include "options.h"
#include "weir/io/http/server.h"
#include "weir/io/loop/event_loop.h"
#include "weir/status.h"

namespace weir::sim {

// All instances of one process. Belongs to its loop's thread.
class SimServer {
 public:
  // Opens a port for each instance. Borrowed: `loop`, until the server goes. `unix_s` is the time
  // of day that answers carry as of now.
  // Errors: those of io::HttpServer::Open() and Engine::Create(), with the instance.  [control]
  // REQUIRES: Resolve(options) succeeded
  static absl::StatusOr<std::unique_ptr<SimServer>> Start(io::EventLoop& loop,
                                                          const SimOptions& options,
                                                          int64_t unix_s);
  ~SimServer();
  SimServer(const SimServer&) = delete;
  SimServer& operator=(const SimServer&) = delete;

  size_t instance_count() const noexcept { return ports_.size(); }
  uint16_t port(size_t index) const noexcept;
  const Instance& instance(size_t index) const noexcept;

  // Refuses new requests for generation and closes connections when they are done.
  void Drain();
  // True if nothing is left to do after Drain().
  bool drained() const;
  // A fault asked for the end of the process.
  bool exit_requested() const;

 private:
  class Port;
  SimServer() = default;
  std::vector<std::unique_ptr<Port>> ports_;
};

}  // namespace weir::sim
