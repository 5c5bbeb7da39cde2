#include "weir/io/grpc_server/grpc_wire.h"

#include <algorithm>
#include <array>

#include "weir/io/grpc_server/grpc_counters.h"

namespace weir::io {
namespace {

constexpr std::array<std::string_view, kGrpcEndCount> kEndNames = {
    "finished", "reset",           "connection_lost", "deadline",
    "timeout",  "refused_message", "over_limit",      "drained"};

constexpr std::array<std::string_view, kGrpcRefusalCount> kRefusalNames = {
    "connections_full", "calls_full", "metadata", "not_grpc", "unknown_method",
    "encoding",         "handshake",  "protocol", "flood",    "keepalive"};

int64_t UnitNs(char unit) noexcept {
  switch (unit) {
    case 'H':
      return 3600'000'000'000;
    case 'M':
      return 60'000'000'000;
    case 'S':
      return 1'000'000'000;
    case 'm':
      return 1'000'000;
    case 'u':
      return 1000;
    case 'n':
      return 1;
    default:
      return 0;
  }
}

}  // namespace

std::string_view GrpcEndName(GrpcEnd end) noexcept { return kEndNames[static_cast<uint32_t>(end)]; }

std::string_view GrpcRefusalName(GrpcRefusal refusal) noexcept {
  return kRefusalNames[static_cast<uint32_t>(refusal)];
}

std::optional<int64_t> ParseGrpcTimeout(std::string_view text) noexcept {
  if (text.size() < 2 || text.size() > kGrpcTimeoutDigitsMax + 1) return std::nullopt;
  int64_t value = 0;
  for (const char digit : text.substr(0, text.size() - 1)) {
    if (digit < '0' || digit > '9') return std::nullopt;
    value = value * 10 + (digit - '0');
  }
  const int64_t unit_ns = UnitNs(text.back());
  if (unit_ns == 0) return std::nullopt;
  return value > kGrpcTimeoutNsMax / unit_ns ? kGrpcTimeoutNsMax : value * unit_ns;
}

bool IsGrpcContentType(std::string_view content_type) noexcept {
  constexpr std::string_view kType = "application/grpc";
  if (!content_type.starts_with(kType)) return false;
  content_type.remove_prefix(kType.size());
  return content_type.empty() || content_type.front() == '+' || content_type.front() == ';';
}

void AppendGrpcMessage(std::string_view text, size_t bytes_max, std::string& out) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  for (const char c : text.substr(0, bytes_max)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && byte != '%') {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
}

void WriteGrpcPrefix(uint32_t message_bytes, std::span<char, kGrpcPrefixBytes> out) noexcept {
  out[0] = 0;
  for (uint32_t i = 0; i < 4; ++i) out[1 + i] = static_cast<char>(message_bytes >> (24 - 8 * i));
}

}  // namespace weir::io
