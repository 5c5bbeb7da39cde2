// weir/io/files/endpoints_file.h: the file that lists model servers where there is no Kubernetes.
// Reading never depends on the whole file being right: a bad entry is reported, the others count.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace weir::io {

// Bytes of an endpoints file.
inline constexpr uint64_t kEndpointsFileBytesMax = 1u << 20;
// Reports kept per load; one last report then says how many more there were.
inline constexpr uint32_t kFileProblemsMax = 64;

// A model server as discovery found it.
struct DiscoveredEndpoint {
  std::string name;  // unique with namespace_name
  std::string namespace_name = "default";
  std::string address;  // where requests go: "10.0.0.1:8000", "[fd00::1]:8000", "host:8000"
  std::string host;     // the address without port and brackets
  uint16_t port = 0;    // 1..65535
  std::string
      metrics_address;  // where metrics are scraped; `address` unless the file says otherwise
  std::map<std::string, std::string> labels;

  friend bool operator==(const DiscoveredEndpoint&, const DiscoveredEndpoint&) = default;
};

struct EndpointsFile {
  std::vector<DiscoveredEndpoint> endpoints;  // usable entries in order of the file
  // One text per bad entry, as it should be logged:
  // `endpoints.yaml:9: endpoints[3].port: 70000, expected 1..65535; the other 11 endpoints are in
  // use`
  std::vector<std::string> problems;
  uint32_t entry_count = 0;  // entries of the file, good and bad
};

// Reads YAML or JSON of the form `endpoints: [{name, namespace, address, port, metricsAddress,
// metricsPort, labels}]`. `address` is an IPv4 or IPv6 address or a host name, ports are integers
// or strings, the labels metricsAddress and metricsPort stand in for missing members of that name;
// unknown members are ignored. `path` only goes into texts.
// Errors: kInvalidArgument if it is not YAML, has no list `endpoints` or exceeds
// kEndpointsFileBytesMax. A list without a usable entry is no error here. [control, concurrent]
absl::StatusOr<EndpointsFile> ParseEndpointsFile(std::string_view text, std::string_view path);

// Joins host and port; an IPv6 address gets brackets. [control, concurrent]
std::string JoinHostPort(std::string_view host, uint16_t port);

// True for an IPv4 or IPv6 address without brackets and for a DNS host name. [control, concurrent]
bool IsHost(std::string_view text);

}  // namespace weir::io
