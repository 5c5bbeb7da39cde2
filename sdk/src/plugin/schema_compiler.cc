// ParameterSchema::Compile: schema text to SchemaNode.
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.h"
#include "plugin/schema.h"
#include "plugin/schema_node.h"

namespace weir::internal {
namespace {

using Json = nlohmann::ordered_json;

// Left by throw, caught in Compile: a schema is wrong in one place and read once.
struct SchemaError {
  std::string text;
};

[[noreturn]] void Refuse(const std::string& path, std::string_view what) {
  throw SchemaError{Concat(path.empty() ? "" : path + ": ", what)};
}

std::unique_ptr<SchemaNode> CompileNode(const Json& json, const std::string& path, uint32_t depth);

uint32_t TypeBit(const Json& name, const std::string& path) {
  static constexpr std::pair<std::string_view, uint32_t> kTypes[] = {
      {"boolean", kSchemaBoolean}, {"integer", kSchemaInteger}, {"number", kSchemaNumber},
      {"string", kSchemaString},   {"array", kSchemaArray},     {"object", kSchemaObject},
      {"null", kSchemaNull}};
  if (name.is_string()) {
    for (const auto& [type, bit] : kTypes) {
      if (name.get_ref<const std::string&>() == type) return bit;
    }
  }
  Refuse(path, Concat("unknown type ", name.dump()));
}

double NumberOf(const Json& value, const std::string& path) {
  if (!value.is_number() || !std::isfinite(value.get<double>())) Refuse(path, "expected a number");
  return value.get<double>();
}

uint64_t CountOf(const Json& value, const std::string& path) {
  if (!value.is_number_unsigned()) Refuse(path, "expected an integer >= 0");
  return value.get<uint64_t>();
}

bool FlagOf(const Json& value, const std::string& path) {
  if (!value.is_boolean()) Refuse(path, "expected true or false");
  return value.get<bool>();
}

std::string TextOf(const Json& value, const std::string& path) {
  if (!value.is_string()) Refuse(path, "expected a string");
  return value.get<std::string>();
}

ConfigNode ChoiceOf(const Json& value, const std::string& path) {
  ConfigNode node;
  node.string = value.is_string() ? value.get<std::string>() : value.dump();
  if (value.is_string()) {
    node.kind = ConfigNode::Kind::kString;
  } else if (value.is_boolean()) {
    node.kind = ConfigNode::Kind::kBoolean;
    node.boolean = value.get<bool>();
  } else if (value.is_number()) {
    node.kind = ConfigNode::Kind::kNumber;
    node.number = value.get<double>();
  } else if (!value.is_null()) {
    Refuse(path, "expected strings, numbers, booleans or null");
  }
  return node;
}

void CompileObject(const std::string& keyword, const Json& value, const std::string& path,
                   uint32_t depth, SchemaNode* node) {
  if (keyword == "properties") {
    if (!value.is_object()) Refuse(path, "expected an object");
    for (const auto& [name, schema] : value.items()) {
      node->properties.emplace_back(name, CompileNode(schema, Concat(path, "/", name), depth + 1));
    }
  } else if (keyword == "required") {
    if (!value.is_array()) Refuse(path, "expected a list");
    for (const Json& name : value) node->required.push_back(TextOf(name, path));
  } else if (value.is_boolean()) {
    node->others = value.get<bool>() ? Others::kWarned : Others::kRefused;
  } else {
    node->others = Others::kChecked;
    node->other = CompileNode(value, path, depth + 1);
  }
}

bool CompileBound(const std::string& keyword, const Json& value, const std::string& path,
                  SchemaNode* node) {
  if (keyword == "minimum" || keyword == "exclusiveMinimum") {
    if (node->minimum.has_value()) Refuse(path, "a second lower bound");
    node->minimum = NumberOf(value, path);
    node->minimum_is_exclusive = keyword == "exclusiveMinimum";
  } else if (keyword == "maximum" || keyword == "exclusiveMaximum") {
    if (node->maximum.has_value()) Refuse(path, "a second upper bound");
    node->maximum = NumberOf(value, path);
    node->maximum_is_exclusive = keyword == "exclusiveMaximum";
  } else if (keyword == "minItems" || keyword == "minLength" || keyword == "minProperties") {
    if (node->size_min.has_value()) Refuse(path, "a second lower bound");
    node->size_min = CountOf(value, path);
  } else if (keyword == "maxItems" || keyword == "maxLength") {
    if (node->size_max.has_value()) Refuse(path, "a second upper bound");
    node->size_max = CountOf(value, path);
  } else {
    return false;
  }
  return true;
}

bool IsAnnotation(const std::string& keyword) {
  static const std::set<std::string, std::less<>> kAnnotations = {"$schema", "$id", "$comment",
                                                                  "default", "examples"};
  return keyword.starts_with("x-") || kAnnotations.contains(keyword);
}

void CompileKeyword(const std::string& keyword, const Json& value, const std::string& path,
                    uint32_t depth, SchemaNode* node) {
  if (keyword == "type") {
    if (value.is_array()) {
      for (const Json& name : value) node->types |= TypeBit(name, path);
    } else {
      node->types = TypeBit(value, path);
    }
  } else if (keyword == "properties" || keyword == "required" ||
             keyword == "additionalProperties") {
    CompileObject(keyword, value, path, depth, node);
  } else if (keyword == "items") {
    node->item = CompileNode(value, path, depth + 1);
  } else if (keyword == "enum") {
    if (!value.is_array() || value.empty()) Refuse(path, "expected a list with elements");
    for (const Json& choice : value) node->choices.push_back(ChoiceOf(choice, path));
  } else if (keyword == "oneOf") {
    if (!value.is_array() || value.empty()) Refuse(path, "expected a list with elements");
    for (const Json& schema : value) node->one_of.push_back(CompileNode(schema, path, depth + 1));
  } else if (keyword == "title") {
    node->title = TextOf(value, path);
  } else if (keyword == "description") {
    node->description = TextOf(value, path);
  } else if (keyword == "deprecated") {
    node->deprecated = FlagOf(value, path);
  } else if (keyword == "format") {
    if (TextOf(value, path) != "duration") Refuse(path, "expected \"duration\"");
    node->is_duration = true;
  } else if (!CompileBound(keyword, value, path, node) && !IsAnnotation(keyword)) {
    Refuse(path, "this keyword is not supported");
  }
}

std::unique_ptr<SchemaNode> CompileNode(const Json& json, const std::string& path, uint32_t depth) {
  if (depth > kSchemaDepthMax) Refuse(path, "nested too deep");
  if (!json.is_object()) Refuse(path, "expected an object");
  auto node = std::make_unique<SchemaNode>();
  // An object that names no properties is a map of anything.
  if (!json.contains("properties") && !json.contains("additionalProperties")) {
    node->others = Others::kChecked;
  }
  for (const auto& [keyword, value] : json.items()) {
    CompileKeyword(keyword, value, Concat(path, path.empty() ? "" : "/", keyword), depth,
                   node.get());
  }
  for (const std::string& name : node->required) {
    if (node->Find(name) == nullptr) {
      Refuse(path, Concat("required names \"", name, "\", which is no property"));
    }
  }
  return node;
}

}  // namespace

absl::StatusOr<ParameterSchema> ParameterSchema::Compile(std::string_view text) {
  if (text.size() > kSchemaBytesMax) {
    return absl::InvalidArgumentError(
        Concat(text.size(), " bytes, expected at most ", kSchemaBytesMax));
  }
  try {
    auto root = CompileNode(Json::parse(text), "", 0);
    if (root->types != kSchemaObject) Refuse("type", "expected \"object\"");
    root->deprecated = false;  // of the type as a whole, which its descriptor says
    return ParameterSchema(std::move(root));
  } catch (const SchemaError& error) {
    return absl::InvalidArgumentError(error.text);
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(error.what());
  }
}

}  // namespace weir::internal
