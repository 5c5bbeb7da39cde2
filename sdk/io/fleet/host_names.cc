#include "weir/io/fleet/host_names.h"

#include <utility>

namespace weir::io {

void HostNames::BeginList() { before_ = std::exchange(now_, {}); }

std::string HostNames::Resolve(const std::string& address) {
  if (SocketAddress::Parse(address).ok()) return address;
  const auto [entry, is_new] = now_.try_emplace(address);
  if (!is_new) return entry->second;
  const auto found = lookup_(address);
  if (found.ok() && !found->empty()) return entry->second = found->front().ToString();
  failures_.fetch_add(1, std::memory_order_relaxed);
  if (const auto known = before_.find(address); known != before_.end()) {
    entry->second = known->second;
  }
  return entry->second;
}

}  // namespace weir::io
