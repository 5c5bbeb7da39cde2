// plugin/schema.h: checks parameters against the JSON Schema of a plugin type.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "weir/status.h"
#include "wire/config_node.h"
#include "wire/config_problems.h"

namespace weir::internal {

struct SchemaNode;

inline constexpr uint32_t kSchemaBytesMax = 256u << 10;
inline constexpr uint32_t kSchemaDepthMax = 32;

// A compiled schema. The dialect is the part of JSON Schema that parameters need:
//   checked      type (a name or a list of names), properties, required, additionalProperties,
//   items,
//                enum, minimum, maximum, exclusiveMinimum, exclusiveMaximum, minItems, maxItems,
//                minLength, maxLength, minProperties, oneOf, format "duration"
//   annotations  $schema $id $comment title description default examples deprecated x-...
// Any other keyword is an error, so that no author relies on a check that does not happen. Two
// differences from the standard: a property that is null counts as absent, and an object with
// `properties` refuses others unless additionalProperties is true (then they are warnings) or a
// schema for them.
class ParameterSchema {
 public:
  // Errors: kInvalidArgument, text "what is wrong" without a prefix. [control]
  static absl::StatusOr<ParameterSchema> Compile(std::string_view text);
  ~ParameterSchema();
  ParameterSchema(ParameterSchema&&) noexcept;
  ParameterSchema& operator=(ParameterSchema&&) noexcept;

  // Reports what is wrong with `parameters`, a map or null, under the name `field`, e.g.
  // "plugins[2].parameters". [control, concurrent]
  void Check(const ConfigNode& parameters, std::string_view field, ConfigProblems* problems) const;

 private:
  explicit ParameterSchema(std::unique_ptr<SchemaNode> root);
  std::unique_ptr<SchemaNode> root_;
};

}  // namespace weir::internal
