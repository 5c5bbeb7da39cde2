// wire/config_node.h: a configuration file as a tree that remembers its lines.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weir/status.h"

namespace weir::internal {

inline constexpr uint32_t kConfigDepthMax = 32;
inline constexpr uint32_t kConfigNodesMax = 100'000;   // aliases counted each time they are used
inline constexpr uint32_t kConfigDocumentsMax = 8192;  // of a file that may hold several

// One value of a YAML or JSON file. Plain scalars take their JSON type by YAML's core schema.
struct ConfigNode {
  enum class Kind { kNull, kBoolean, kInteger, kNumber, kString, kList, kMap };

  Kind kind = Kind::kNull;
  int line = 0;  // 1-based, 0 for values that no file holds
  bool boolean = false;
  int64_t integer = 0;            // kInteger only
  double number = 0;              // kInteger and kNumber
  std::string string;             // kString; for other scalars the text as written
  std::vector<ConfigNode> items;  // kList
  struct Member;
  std::vector<Member> members;  // kMap, in file order, keys unique

  // The member of a map, null if absent or if this is no map.
  const ConfigNode* Find(std::string_view key) const;
  // The node at a path of keys and indices joined with '/', in a key '/' as "~1" and '~' as "~0";
  // "" is this node. Null if absent.
  const ConfigNode* FindPath(std::string_view path) const;
  // Compact JSON, members in file order.
  std::string ToJson() const;
};

struct ConfigNode::Member {
  std::string name;
  ConfigNode value;
};

// The kind in words, for errors: "a list", "a string", ...
std::string_view KindName(ConfigNode::Kind kind);

// Reads one YAML or JSON document of at most kConfigBytesMax. Errors: kInvalidArgument, text
// "name:line: what" (syntax, duplicate key, too deep, too many nodes, a key that is no string).
absl::StatusOr<ConfigNode> ParseConfig(std::string_view text, const std::string& name);

// The same for a file of at most kConfigDocumentsMax documents; one that is empty is a null.
absl::StatusOr<std::vector<ConfigNode>> ParseConfigDocuments(std::string_view text,
                                                             const std::string& name);

}  // namespace weir::internal
