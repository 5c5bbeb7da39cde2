// Any bytes as an endpoints file: what comes out is well formed, what does not is explained.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "weir/io/files/endpoints_file.h"

using namespace weir::io;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file =
      ParseEndpointsFile({reinterpret_cast<const char*>(data), size}, "endpoints.yaml");
  if (!file.ok()) {
    if (file.status().message().empty()) std::abort();
    return 0;
  }
  for (const DiscoveredEndpoint& endpoint : file->endpoints) {
    const bool sound = !endpoint.name.empty() && !endpoint.namespace_name.empty() &&
                       endpoint.port != 0 && IsHost(endpoint.host) &&
                       endpoint.address == JoinHostPort(endpoint.host, endpoint.port) &&
                       !endpoint.metrics_address.empty();
    if (!sound) std::abort();
  }
  const bool complete = file->endpoints.size() == file->entry_count || !file->problems.empty();
  if (!complete || file->problems.size() > kFileProblemsMax + 1) std::abort();
  for (const std::string& problem : file->problems) {
    for (const char c : problem) {
      if (static_cast<unsigned char>(c) < 0x20) std::abort();
    }
  }
  return 0;
}
