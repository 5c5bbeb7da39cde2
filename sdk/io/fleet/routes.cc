#include "weir/io/fleet/routes.h"

namespace weir::io {

const Route* RouteCache::Find(const Target& target) {
  Route& route = routes_[target.id.slot];
  // Before the snapshot: a change in between is then noticed by the next call.
  const uint64_t pool_epoch = pool_.pool_epoch();
  if (route.id == target.id && route.pool_epoch == pool_epoch &&
      route.address_text == target.address) {
    return route.address.valid() ? &route : nullptr;
  }
  route.id = target.id;
  route.pool_epoch = pool_epoch;
  route.address_text = target.address;
  route.address = {};
  route.tls = false;
  route.host.clear();
  const auto address = SocketAddress::Parse(target.address);
  if (!address.ok()) return nullptr;
  route.address = *address;
  const auto snapshot = pool_.snapshot();
  const auto ids = snapshot->ids();
  for (uint32_t i = 0; i < ids.size(); ++i) {
    if (ids[i] != target.id) continue;
    route.tls = snapshot->label(i, kSchemeLabel) == "https";
    route.host = snapshot->label(i, kHostLabel).value_or("");
  }
  return &route;
}

}  // namespace weir::io
