#include "weir/io/files/endpoints_file.h"

#include <arpa/inet.h>
#include <yaml-cpp/yaml.h>

#include <cctype>
#include <charconv>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weir/limits.h"

namespace weir::io {
namespace {

constexpr size_t kHostBytesMax = 253;  // DNS
constexpr size_t kHostLabelBytesMax = 63;

int LineOf(const YAML::Node& node) {
  const YAML::Mark mark = node.Mark();
  return mark.is_null() ? 0 : mark.line + 1;
}

// A value as it may stand in a log line: short, without control characters.
std::string Shown(const YAML::Node& node) {
  if (!node.IsDefined()) return "missing";
  if (node.IsNull()) return "null";
  if (node.IsSequence()) return "a list";
  if (node.IsMap()) return "a map";
  std::string text = node.Scalar().substr(0, 64);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  if (node.Scalar().size() > 64) text += "...";
  const bool number = !text.empty() && text.find_first_not_of("-0123456789.") == std::string::npos;
  return number ? text : absl::StrCat("\"", text, "\"");
}

bool IsCleanText(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  return text.size() <= kNameBytesMax;
}

bool IsHostName(std::string_view text) {
  if (text.empty() || text.size() > kHostBytesMax) return false;
  if (text.back() == '.') text.remove_suffix(1);
  bool last_is_number = false;
  while (true) {
    const size_t dot = text.find('.');
    const std::string_view label = text.substr(0, dot);
    if (label.empty() || label.size() > kHostLabelBytesMax || label.front() == '-' ||
        label.back() == '-') {
      return false;
    }
    last_is_number = true;
    for (const char c : label) {
      if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_') return false;
      last_is_number = last_is_number && std::isdigit(static_cast<unsigned char>(c));
    }
    if (dot == std::string_view::npos) break;
    text.remove_prefix(dot + 1);
  }
  return !last_is_number;  // 10.0.0 and 300.1.1.1 are broken addresses, not names
}

bool IsIp(int family, std::string_view text) {
  unsigned char bytes[sizeof(in6_addr)];
  return text.find('\0') == std::string_view::npos &&
         inet_pton(family, std::string(text).c_str(), bytes) == 1;
}

std::optional<uint16_t> ParsePort(std::string_view text) {
  uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  if (text.empty() || text.front() == '0' || stop != end || error != std::errc() || port == 0) {
    return std::nullopt;
  }
  return port;
}

std::string_view WithoutBrackets(std::string_view text) {
  const bool bracketed = text.size() > 2 && text.front() == '[' && text.back() == ']';
  return bracketed ? text.substr(1, text.size() - 2) : text;
}

// What is wrong with an entry.
struct Problem {
  int line = 0;
  std::string text;  // "endpoints[3].port: 70000, expected 1..65535"
};

// Reads one entry of the list.
class EntryReader {
 public:
  EntryReader(const YAML::Node& entry, size_t index)
      : entry_(entry), path_(absl::StrCat("endpoints[", index, "]")) {}

  // Nothing if the entry is usable.
  std::optional<Problem> Read(DiscoveredEndpoint& endpoint) {
    if (!entry_.IsMap()) return Problem{LineOf(entry_), Text("", entry_, "a map")};
    Collect();
    ReadName("name", name_, endpoint.name, true);
    ReadName("namespace", namespace_, endpoint.namespace_name, false);
    ReadHost("address", address_, endpoint.host, true);
    ReadPort("port", port_, endpoint.port, true);
    ReadLabels(endpoint);
    endpoint.address = JoinHostPort(endpoint.host, endpoint.port);
    ReadMetricsAddress(endpoint);
    return problem_;
  }

 private:
  void Collect() {
    for (const auto& member : entry_) {
      if (!member.first.IsScalar()) continue;
      const std::string& key = member.first.Scalar();
      const std::pair<std::string_view, YAML::Node*> known[] = {
          {"name", &name_},
          {"namespace", &namespace_},
          {"address", &address_},
          {"port", &port_},
          {"labels", &labels_},
          {"metricsAddress", &metrics_address_},
          {"metricsPort", &metrics_port_}};
      for (const auto& [name, node] : known) {
        if (key != name) continue;
        if (node->IsDefined()) {
          Fail(member.first, absl::StrCat(path_, ".", key, ": given twice, expected once"));
        }
        node->reset(member.second);
      }
    }
  }

  std::string Text(std::string_view field, const YAML::Node& value, std::string_view expected) {
    return absl::StrCat(path_, field.empty() ? "" : ".", std::string(field), ": ", Shown(value),
                        ", expected ", std::string(expected));
  }
  void Fail(const YAML::Node& where, std::string text) {
    if (problem_) return;
    const int line = where.IsDefined() ? LineOf(where) : 0;
    problem_ = Problem{line > 0 ? line : LineOf(entry_), std::move(text)};
  }
  static bool Absent(const YAML::Node& node) { return !node.IsDefined() || node.IsNull(); }

  void ReadName(std::string_view field, const YAML::Node& node, std::string& out, bool required) {
    if (Absent(node) && !required) return;
    if (node.IsDefined() && node.IsScalar() && !node.Scalar().empty() &&
        IsCleanText(node.Scalar()) && node.Scalar().find('/') == std::string::npos) {
      out = node.Scalar();
    } else {
      Fail(node,
           Text(field, node, absl::StrCat("a name of 1..", kNameBytesMax, " bytes without '/'")));
    }
  }

  void ReadHost(std::string_view field, const YAML::Node& node, std::string& out, bool required) {
    if (Absent(node) && !required) return;
    if (node.IsDefined() && node.IsScalar() && IsHost(WithoutBrackets(node.Scalar()))) {
      out = WithoutBrackets(node.Scalar());
    } else {
      Fail(node, Text(field, node, "an IPv4 or IPv6 address or a host name"));
    }
  }

  void ReadPort(std::string_view field, const YAML::Node& node, uint16_t& out, bool required) {
    if (Absent(node) && !required) return;
    const auto port = node.IsDefined() && node.IsScalar() ? ParsePort(node.Scalar()) : std::nullopt;
    if (port) {
      out = *port;
    } else {
      Fail(node, Text(field, node, "1..65535"));
    }
  }

  void ReadLabels(DiscoveredEndpoint& endpoint) {
    if (Absent(labels_)) return;
    if (!labels_.IsMap()) return Fail(labels_, Text("labels", labels_, "a map of texts"));
    if (labels_.size() > kLabelsPerEndpointMax) {
      return Fail(labels_, absl::StrCat(path_, ".labels: ", labels_.size(),
                                        " labels, expected at most ", kLabelsPerEndpointMax));
    }
    for (const auto& label : labels_) {
      const bool usable = label.first.IsScalar() && !label.first.Scalar().empty() &&
                          IsCleanText(label.first.Scalar()) &&
                          (label.second.IsNull() ||
                           (label.second.IsScalar() && IsCleanText(label.second.Scalar())));
      if (!usable) {
        const std::string key = label.first.IsScalar() ? Shown(label.first) : "?";
        return Fail(label.first, Text(absl::StrCat("labels[", key, "]"), label.second,
                                      absl::StrCat("a text of at most ", kNameBytesMax, " bytes")));
      }
      const bool empty = label.second.IsNull();
      endpoint.labels[label.first.Scalar()] = empty ? std::string() : label.second.Scalar();
      // The form that multi-cluster files use.
      if (label.first.Scalar() == "metricsAddress" && Absent(metrics_address_)) {
        metrics_address_.reset(label.second);
        metrics_address_field_ = "labels.metricsAddress";
      } else if (label.first.Scalar() == "metricsPort" && Absent(metrics_port_)) {
        metrics_port_.reset(label.second);
        metrics_port_field_ = "labels.metricsPort";
      }
    }
  }

  void ReadMetricsAddress(DiscoveredEndpoint& endpoint) {
    std::string host = endpoint.host;
    uint16_t port = endpoint.port;
    ReadHost(metrics_address_field_, metrics_address_, host, false);
    ReadPort(metrics_port_field_, metrics_port_, port, false);
    endpoint.metrics_address = JoinHostPort(host, port);
  }

  const YAML::Node& entry_;
  std::string path_;
  std::optional<Problem> problem_;
  YAML::Node name_ = Nothing();
  YAML::Node namespace_ = Nothing();
  YAML::Node address_ = Nothing();
  YAML::Node port_ = Nothing();
  YAML::Node labels_ = Nothing();
  YAML::Node metrics_address_ = Nothing();
  YAML::Node metrics_port_ = Nothing();
  std::string_view metrics_address_field_ = "metricsAddress";
  std::string_view metrics_port_field_ = "metricsPort";

  static YAML::Node Nothing() { return YAML::Node(YAML::NodeType::Undefined); }
};

absl::StatusOr<YAML::Node> FindList(std::string_view text, std::string_view path) {
  const std::string file(path);
  try {
    const YAML::Node root = YAML::Load(std::string(text));
    if (root.IsMap()) {
      for (const auto& member : root) {
        if (!member.first.IsScalar() || member.first.Scalar() != "endpoints") continue;
        if (member.second.IsSequence()) return member.second;
        // Nothing may be the beginning of a file that somebody still writes.
        const std::string shown = member.second.IsNull() ? "nothing" : Shown(member.second);
        return absl::InvalidArgumentError(
            absl::StrCat(file, ":", LineOf(member.first), ": endpoints: ", shown,
                         ", expected a list; [] for one without endpoints"));
      }
    }
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": endpoints: missing, expected a list of endpoints"));
  } catch (const YAML::Exception& error) {  // yaml-cpp reports syntax errors by throwing
    const int line = error.mark.is_null() ? 0 : error.mark.line + 1;
    return absl::InvalidArgumentError(
        absl::StrCat(file, ":", line, ": not YAML or JSON: ", error.msg));
  }
}

std::string InUse(size_t count) {
  if (count == 0) return "";
  if (count == 1) return "; the other endpoint is in use";
  return absl::StrCat("; the other ", count, " endpoints are in use");
}

absl::StatusOr<EndpointsFile> ReadList(const YAML::Node& list, std::string_view path) {
  EndpointsFile file;
  std::vector<Problem> problems;
  std::set<std::pair<std::string, std::string>> names;
  for (const YAML::Node& entry : list) {
    const size_t index = file.entry_count++;
    DiscoveredEndpoint endpoint;
    std::optional<Problem> problem = EntryReader(entry, index).Read(endpoint);
    if (!problem && file.endpoints.size() == kEndpointsMax) {
      problem = Problem{LineOf(entry), absl::StrCat("endpoints[", index, "]: expected at most ",
                                                    kEndpointsMax, " endpoints")};
    }
    if (!problem && !names.insert({endpoint.namespace_name, endpoint.name}).second) {
      problem = Problem{LineOf(entry), absl::StrCat("endpoints[", index, "].name: \"",
                                                    endpoint.namespace_name, "/", endpoint.name,
                                                    "\" appears twice, expected unique names")};
    }
    if (problem) {
      problems.push_back(*std::move(problem));
    } else {
      file.endpoints.push_back(std::move(endpoint));
    }
  }
  for (size_t i = 0; i < problems.size(); ++i) {
    if (i == kFileProblemsMax) {
      file.problems.push_back(absl::StrCat(std::string(path), ": ", problems.size() - i,
                                           " more bad entries", InUse(file.endpoints.size())));
      break;
    }
    file.problems.push_back(absl::StrCat(std::string(path), ":", problems[i].line, ": ",
                                         problems[i].text, InUse(file.endpoints.size())));
  }
  return file;
}

}  // namespace

std::string JoinHostPort(std::string_view host, uint16_t port) {
  const bool brackets = host.find(':') != std::string_view::npos;
  return absl::StrCat(brackets ? "[" : "", std::string(host), brackets ? "]:" : ":", port);
}

bool IsHost(std::string_view text) {
  return IsIp(AF_INET, text) || IsIp(AF_INET6, text) || IsHostName(text);
}

absl::StatusOr<EndpointsFile> ParseEndpointsFile(std::string_view text, std::string_view path) {
  if (text.size() > kEndpointsFileBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("endpoints file ", std::string(path), " exceeds 1 MiB limit"));
  }
  const absl::StatusOr<YAML::Node> list = FindList(text, path);
  if (!list.ok()) return list.status();
  try {
    return ReadList(*list, path);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(path), ": ", error.msg));
  }
}

}  // namespace weir::io
