// plugin/schema_node.h: a compiled schema, between its compiler and its checker.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wire/config_node.h"

namespace weir::internal {

// Bits of SchemaNode::types.
enum SchemaType : uint32_t {
  kSchemaBoolean = 1,
  kSchemaInteger = 2,
  kSchemaNumber = 4,
  kSchemaString = 8,
  kSchemaArray = 16,
  kSchemaObject = 32,
  kSchemaNull = 64,
};

enum class Others { kRefused, kWarned, kChecked };

struct SchemaNode {
  uint32_t types = 0;  // 0: any
  std::string title;
  std::string description;
  bool deprecated = false;
  bool is_duration = false;
  std::optional<double> minimum;
  std::optional<double> maximum;
  bool minimum_is_exclusive = false;
  bool maximum_is_exclusive = false;
  std::optional<uint64_t> size_min;  // items, characters (bytes) or members
  std::optional<uint64_t> size_max;
  std::vector<ConfigNode> choices;  // enum; scalars
  std::vector<std::pair<std::string, std::unique_ptr<SchemaNode>>> properties;
  std::vector<std::string> required;
  Others others = Others::kRefused;   // members that properties does not name
  std::unique_ptr<SchemaNode> other;  // for kChecked; null: anything
  std::unique_ptr<SchemaNode> item;
  std::vector<std::unique_ptr<SchemaNode>> one_of;

  const SchemaNode* Find(std::string_view property) const {
    for (const auto& [name, schema] : properties) {
      if (name == property) return schema.get();
    }
    return nullptr;
  }
};

}  // namespace weir::internal
