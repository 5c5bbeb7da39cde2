// weir/io/fleet/host_names.h: the addresses behind the host names of a list. Start at HostNames.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "weir/io/loop/socket.h"

namespace weir::io {

// Asks for each name of a list once, and remembers what a name was until the list lacks it: a name
// that cannot be resolved now keeps its address. One thread, except failures().
class HostNames {
 public:
  using Lookup = std::function<absl::StatusOr<std::vector<SocketAddress>>(std::string_view)>;

  // `lookup` blocks until it knows.
  explicit HostNames(Lookup lookup = ResolveAddress) : lookup_(std::move(lookup)) {}

  // A new list begins: its names are looked up again. [control]
  void BeginList();
  // The numeric form of "host:port"; empty if it has none and never had. Blocks as the system's
  // resolver does, once per name and list; not at all for a numeric address. [control]
  std::string Resolve(const std::string& address);
  // Names that could not be resolved so far, once per list. [concurrent]
  uint64_t failures() const noexcept { return failures_.load(std::memory_order_relaxed); }

 private:
  const Lookup lookup_;
  std::map<std::string, std::string> now_, before_;  // as written -> numeric; of two lists
  std::atomic<uint64_t> failures_{0};
};

}  // namespace weir::io
