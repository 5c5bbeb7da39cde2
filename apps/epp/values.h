// values.h: texts of llm-d's flags -> values: quantities, durations, TLS versions and ciphers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "weir/io/loop/tls.h"

namespace weir::epp {

// Bytes that one message of gRPC may be at most, whatever a flag says.
inline constexpr int64_t kMessageBytesMax = INT32_MAX;
inline constexpr size_t kTargetPortsMax = 8;

// A number of bytes of flag `name`, as Kubernetes writes quantities: "4194304", "10Mi", "25M",
// "1.5Gi", "1e6", each also with a "B" or "b" behind it; fractions of a byte are rounded up.
// Errors: kInvalidArgument: no quantity, negative, above kMessageBytesMax. [control]
absl::StatusOr<int64_t> ParseBytes(std::string_view name, std::string_view text);

// Nanoseconds of flag `name`, as Go writes durations: "300ms", "1m30s", "1.5h", "10us", "0".
// Errors: kInvalidArgument: no duration, negative. [control]
absl::StatusOr<int64_t> ParseDuration(std::string_view name, std::string_view text);

// "VersionTLS12"; the empty text is 1.2. Errors: kInvalidArgument. [control]
absl::StatusOr<io::TlsVersion> ParseTlsVersion(std::string_view text);

// Go's names of cipher suites -> OpenSSL's, joined by ':'. Names of TLS 1.3 are known and left out,
// because its suites are not to be chosen. Errors: kInvalidArgument naming the first unknown one.
// [control]
absl::StatusOr<std::string> ParseCiphers(const std::vector<std::string>& names);

// The ports of --endpoint-target-ports, each once, in order. Errors: kInvalidArgument. [control]
absl::StatusOr<std::vector<uint16_t>> ParsePorts(const std::vector<std::string>& texts);

}  // namespace weir::epp
