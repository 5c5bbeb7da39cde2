// engine/known_types.h: the plugin types of the configuration language, also those that this
// version of weir does not have.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace weir::internal {

// What a plugin can be used for; a type may have several roles.
enum Role : uint32_t {
  kRoleFilter = 1,
  kRoleScorer = 2,
  kRolePicker = 4,
  kRoleProfileHandler = 8,
  kRoleProducer = 16,
  kRoleSource = 32,
  kRoleExtractor = 64,
  kRoleDiscovery = 128,
  kRoleParser = 256,
  kRoleSaturationDetector = 512,
  kRoleOther = 1024,  // admitters, deciders, hooks on requests and responses
  kRoleFairness = 2048,
  kRoleOrdering = 4096,
  kRoleUsageLimit = 8192,
  kRoleEviction = 16384,
};

// One type of the language.
struct KnownType {
  std::string_view type;
  uint32_t roles;
  // Of a type that only flow control uses: the schema of its parameters. Without the feature gate a
  // file may hold such plugins; they are checked and do nothing. Empty for other types.
  std::string_view flow_control_schema = {};
  bool is_alpha = false;  // set for flow control only: other types say it themselves
};

// All types of the language, built or not.
std::span<const KnownType> KnownTypes();
// Null if the language has no such type.
const KnownType* FindKnownType(std::string_view type);

// The type that is meant by a name which older documents use; empty if there is none.
std::string_view RenamedType(std::string_view type);

}  // namespace weir::internal
