// weir/io/grpc_server/grpc_wire.h: the small texts of gRPC over HTTP/2: time-outs, status messages,
// content types. Start at ParseGrpcTimeout().
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace weir::io {

inline constexpr uint32_t kGrpcPrefixBytes = 5;       // flag and length before each message
inline constexpr uint32_t kGrpcTimeoutDigitsMax = 8;  // as the protocol says
inline constexpr int64_t kGrpcTimeoutNsMax = int64_t{1} << 61;  // longer ones are cut to it

// Reads the value of grpc-timeout, such as "250m". Empty if it is malformed. [hot, concurrent]
std::optional<int64_t> ParseGrpcTimeout(std::string_view text) noexcept;

// Whether `content_type` is "application/grpc", alone or followed by "+..." or ";...".
// [hot, concurrent]
bool IsGrpcContentType(std::string_view content_type) noexcept;

// Appends the first `bytes_max` bytes of `text` to `out`, with control characters, "%" and what is
// not ASCII as "%XX". [concurrent]
void AppendGrpcMessage(std::string_view text, size_t bytes_max, std::string& out);

// Writes the prefix of a message that is not compressed. [hot, concurrent]
void WriteGrpcPrefix(uint32_t message_bytes, std::span<char, kGrpcPrefixBytes> out) noexcept;

}  // namespace weir::io
