#include "values.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"

namespace weir::epp {
namespace {

constexpr std::pair<std::string_view, double> kUnits[] = {
    {"", 1},        {"m", 1e-3},    {"k", 1e3},     {"M", 1e6},     {"G", 1e9},
    {"T", 1e12},    {"P", 1e15},    {"E", 1e18},    {"Ki", 1024.0}, {"Mi", 1048576.0},
    {"Gi", 0x1p30}, {"Ti", 0x1p40}, {"Pi", 0x1p50}, {"Ei", 0x1p60}};

constexpr std::pair<std::string_view, std::string_view> kCiphers[] = {
    {"TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"},
    {"TLS_RSA_WITH_AES_256_CBC_SHA", "AES256-SHA"},
    {"TLS_RSA_WITH_AES_128_CBC_SHA256", "AES128-SHA256"},
    {"TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"},
    {"TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"},
    {"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "ECDHE-ECDSA-AES128-SHA"},
    {"TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "ECDHE-ECDSA-AES256-SHA"},
    {"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "ECDHE-ECDSA-AES128-SHA256"},
    {"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"},
    {"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"},
    {"TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "ECDHE-RSA-AES256-SHA"},
    {"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", "ECDHE-RSA-AES128-SHA256"},
    {"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"},
    {"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"},
    {"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"},
    {"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"},
    {"TLS_AES_128_GCM_SHA256", ""},
    {"TLS_AES_256_GCM_SHA384", ""},
    {"TLS_CHACHA20_POLY1305_SHA256", ""}};

constexpr std::pair<std::string_view, io::TlsVersion> kVersions[] = {
    {"VersionTLS10", io::TlsVersion::k10},
    {"VersionTLS11", io::TlsVersion::k11},
    {"VersionTLS12", io::TlsVersion::k12},
    {"VersionTLS13", io::TlsVersion::k13}};

absl::Status NoBytes(std::string_view name, std::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(name), ": \"", std::string(text),
                   "\", expected a number of bytes such as 4194304, 10Mi, 10MiB or 25MB"));
}

// Digits with at most one point among them, at least one digit.
bool IsDecimal(std::string_view text) {
  return text.find_first_not_of("0123456789.") == std::string_view::npos &&
         text.find_first_of("0123456789") != std::string_view::npos &&
         std::count(text.begin(), text.end(), '.') <= 1;
}

}  // namespace

absl::StatusOr<int64_t> ParseBytes(std::string_view name, std::string_view text) {
  std::string_view rest = text;
  if (!rest.empty() && (rest.back() == 'B' || rest.back() == 'b')) rest.remove_suffix(1);
  const bool negative = !rest.empty() && rest.front() == '-';
  if (!rest.empty() && (rest.front() == '-' || rest.front() == '+')) rest.remove_prefix(1);
  const size_t digits = std::min(rest.find_first_not_of("0123456789."), rest.size());
  const std::string_view unit = rest.substr(digits);
  double value = 0;
  if (!IsDecimal(rest.substr(0, digits))) return NoBytes(name, text);
  std::from_chars(rest.data(), rest.data() + digits, value);
  const auto known = std::find_if(std::begin(kUnits), std::end(kUnits),
                                  [unit](const auto& one) { return one.first == unit; });
  int exponent = 0;
  if (known != std::end(kUnits)) {
    value *= known->second;
  } else if (unit.size() > 1 && (unit[0] == 'e' || unit[0] == 'E') &&
             absl::SimpleAtoi(absl::string_view(unit.data() + 1, unit.size() - 1), &exponent)) {
    value *= std::pow(10.0, exponent);
  } else {
    return NoBytes(name, text);
  }
  if (negative && value > 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(name), " must be non-negative, got ", std::string(text)));
  }
  if (!(value <= static_cast<double>(kMessageBytesMax))) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(name), ": ", std::string(text),
                                                   ", expected at most ", kMessageBytesMax));
  }
  return static_cast<int64_t>(std::ceil(value));
}

absl::StatusOr<int64_t> ParseDuration(std::string_view name, std::string_view text) {
  // The micro sign and the Greek letter, which Go reads too.
  const std::string ascii = absl::StrReplaceAll(absl::string_view(text.data(), text.size()),
                                                {{"\xC2\xB5s", "us"}, {"\xCE\xBCs", "us"}});
  absl::Duration duration;
  if (ascii.find("inf") != std::string::npos || !absl::ParseDuration(ascii, &duration)) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(name), ": \"", std::string(text),
                     "\", expected a duration such as 30s, 50ms or 1m30s"));
  }
  if (duration < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(name), ": ", std::string(text),
                                                   ", expected no negative duration"));
  }
  return absl::ToInt64Nanoseconds(duration);
}

absl::StatusOr<io::TlsVersion> ParseTlsVersion(std::string_view text) {
  if (text.empty()) return io::TlsVersion::k12;
  std::string names;
  for (const auto& [name, version] : kVersions) {
    if (name == text) return version;
    absl::StrAppend(&names, names.empty() ? "" : ", ", std::string(name));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown TLS version \"", std::string(text), "\"; supported values: ", names));
}

absl::StatusOr<std::string> ParseCiphers(const std::vector<std::string>& names) {
  std::string ciphers;
  for (const std::string& name : names) {
    const auto known = std::find_if(std::begin(kCiphers), std::end(kCiphers),
                                    [&](const auto& one) { return one.first == name; });
    if (known == std::end(kCiphers)) {
      return absl::InvalidArgumentError(absl::StrCat("unknown cipher suite \"", name, "\""));
    }
    if (known->second.empty()) continue;
    absl::StrAppend(&ciphers, ciphers.empty() ? "" : ":", std::string(known->second));
  }
  return ciphers;
}

absl::StatusOr<std::vector<uint16_t>> ParsePorts(const std::vector<std::string>& texts) {
  std::vector<uint16_t> ports;
  for (const std::string& text : texts) {
    int64_t port = 0;
    if (!absl::SimpleAtoi(text, &port) || port < 0 || port > 65535) {
      return absl::InvalidArgumentError(
          absl::StrCat("invalid port number ", text, " in \"endpoint-target-ports\""));
    }
    const auto value = static_cast<uint16_t>(port);
    if (std::find(ports.begin(), ports.end(), value) == ports.end()) ports.push_back(value);
  }
  return ports;
}

}  // namespace weir::epp
