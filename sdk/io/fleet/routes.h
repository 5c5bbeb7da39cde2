// weir/io/fleet/routes.h: how each endpoint of the pool is reached.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weir/decision.h"
#include "weir/endpoint.h"
#include "weir/io/loop/socket.h"

namespace weir::io {

// The label that says how to speak to an endpoint: "https"; anything else is plain HTTP.
inline constexpr std::string_view kSchemeLabel = "weir.scheme";
// The label with the name an endpoint's certificate carries and its Host header says, where its
// address was resolved from a name.
inline constexpr std::string_view kHostLabel = "weir.host";

struct Route {
  EndpointId id;
  uint64_t pool_epoch = 0;  // what the labels say was true then
  std::string address_text;
  SocketAddress address;
  bool tls = false;
  std::string host;  // empty: as the client sent it
};

// Routes of one worker, filled when an endpoint is first seen and again when the pool's endpoints,
// addresses or labels have changed. One thread.
class RouteCache {
 public:
  explicit RouteCache(const EndpointPool& pool) : pool_(pool), routes_(kEndpointsMax) {}

  // Null if the address cannot be used, and if the endpoint has left the pool: how it is spoken to
  // is not known then. Allocates only when the pool has changed since the endpoint
  // was last asked for. [hot, serial]
  const Route* Find(const Target& target);

 private:
  const EndpointPool& pool_;
  std::vector<Route> routes_;  // by slot
};

}  // namespace weir::io
