#include "weir/io/fleet/routes.h"

#include <algorithm>

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
  const auto address = SocketAddress::Parse(target.address);
  if (!address.ok()) return nullptr;
  const auto snapshot = pool_.snapshot();
  const auto ids = snapshot->ids();
  const auto found = std::find(ids.begin(), ids.end(), target.id);
  if (found == ids.end()) return nullptr;
  const auto index = static_cast<uint32_t>(found - ids.begin());
  route.address = *address;
  route.tls = snapshot->label(index, kSchemeLabel) == "https";
  route.host = snapshot->label(index, kHostLabel).value_or("");
  return &route;
}

}  // namespace weir::io
