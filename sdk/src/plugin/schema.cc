// ParameterSchema::Check: parameters against SchemaNode.
#include "plugin/schema.h"

#include <algorithm>
#include <cmath>

#include "base/closest_name.h"
#include "base/text.h"
#include "plugin/schema_node.h"
#include "wire/config_scalar.h"

namespace weir::internal {
namespace {

uint32_t TypeBits(const ConfigNode& node) {
  switch (node.kind) {
    case ConfigNode::Kind::kNull:
      return kSchemaNull;
    case ConfigNode::Kind::kBoolean:
      return kSchemaBoolean;
    case ConfigNode::Kind::kInteger:
      return kSchemaInteger | kSchemaNumber;
    case ConfigNode::Kind::kNumber:
      return kSchemaNumber;
    case ConfigNode::Kind::kString:
      return kSchemaString;
    case ConfigNode::Kind::kList:
      return kSchemaArray;
    case ConfigNode::Kind::kMap:
      return kSchemaObject;
  }
  return 0;
}

std::string JoinWithOr(const std::vector<std::string>& parts) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    AppendTo(&text, i == 0 ? "" : i + 1 == parts.size() ? " or " : ", ", parts[i]);
  }
  return text;
}

std::string Bounds(const SchemaNode& schema) {
  std::string text;
  if (schema.minimum.has_value() && schema.maximum.has_value() && !schema.minimum_is_exclusive &&
      !schema.maximum_is_exclusive) {
    return Concat(*schema.minimum, "..", *schema.maximum);
  }
  if (schema.minimum.has_value()) {
    AppendTo(&text, schema.minimum_is_exclusive ? "> " : ">= ", *schema.minimum);
  }
  if (schema.maximum.has_value()) {
    AppendTo(&text, text.empty() ? "" : " and ",
             schema.maximum_is_exclusive ? "< " : "<= ", *schema.maximum);
  }
  return text;
}

// What the schema wants, in words: "a number", "one of "linear", "square"", "a list or a string".
std::string Expectation(const SchemaNode& schema) {
  std::vector<std::string> parts;
  if (!schema.choices.empty()) {
    for (const ConfigNode& choice : schema.choices) parts.push_back(Show(choice));
    return parts.size() == 1 ? parts[0] : Concat("one of ", JoinWithOr(parts));
  }
  if (!schema.one_of.empty()) {
    for (const auto& alternative : schema.one_of) parts.push_back(Expectation(*alternative));
    return JoinWithOr(parts);
  }
  if (schema.types == 0) return "a value";
  if (schema.is_duration) return "a duration like \"200ms\"";
  static constexpr std::pair<uint32_t, std::string_view> kNames[] = {
      {kSchemaBoolean, "true or false"}, {kSchemaInteger, "an integer"},
      {kSchemaNumber, "a number"},       {kSchemaString, "a string"},
      {kSchemaArray, "a list"},          {kSchemaObject, "a map"}};
  for (const auto& [bit, name] : kNames) {
    if ((schema.types & bit) != 0) parts.emplace_back(name);
  }
  if (parts.size() == 1 && (schema.types & (kSchemaInteger | kSchemaNumber)) != 0) {
    const std::string bounds = Bounds(schema);
    if (!bounds.empty()) AppendTo(&parts[0], " ", bounds);
  }
  return JoinWithOr(parts);
}

bool Equal(const ConfigNode& value, const ConfigNode& choice) {
  if (choice.kind == ConfigNode::Kind::kNumber) {
    return (TypeBits(value) & kSchemaNumber) != 0 && value.number == choice.number;
  }
  if (value.kind != choice.kind) return false;
  return choice.kind == ConfigNode::Kind::kBoolean ? value.boolean == choice.boolean
                                                   : value.string == choice.string;
}

class Checker {
 public:
  explicit Checker(ConfigProblems* problems) : problems_(problems) {}

  void Check(const SchemaNode& schema, const ConfigNode& node, const std::string& field) {
    if (schema.deprecated) {
      problems_->Warning(
          node.line, field,
          Concat("deprecated", schema.description.empty() ? "" : ": ", schema.description));
    }
    if (!schema.one_of.empty() && !CheckOneOf(schema, node, field)) return;
    if (schema.types != 0 && (schema.types & TypeBits(node)) == 0) {
      Unexpected(schema, node, field);
      return;
    }
    if (!schema.choices.empty() && !IsChoice(schema, node)) {
      Unexpected(schema, node, field);
      return;
    }
    switch (node.kind) {
      case ConfigNode::Kind::kInteger:
      case ConfigNode::Kind::kNumber:
        CheckNumber(schema, node, field);
        break;
      case ConfigNode::Kind::kString:
        CheckString(schema, node, field);
        break;
      case ConfigNode::Kind::kList:
        CheckList(schema, node, field);
        break;
      case ConfigNode::Kind::kMap:
        CheckMap(schema, node, field);
        break;
      default:
        break;
    }
  }

 private:
  void Unexpected(const SchemaNode& schema, const ConfigNode& node, const std::string& field) {
    const bool needs_quotes = (schema.types & kSchemaString) != 0 && !schema.is_duration &&
                              !node.string.empty() && node.kind != ConfigNode::Kind::kString &&
                              schema.choices.empty();
    problems_->Error(node.line, field,
                     Concat(Show(node), ", expected ", Expectation(schema),
                            needs_quotes ? Concat("; write ", Quote(node.string)) : ""));
  }

  static bool IsChoice(const SchemaNode& schema, const ConfigNode& node) {
    return std::any_of(schema.choices.begin(), schema.choices.end(),
                       [&](const ConfigNode& choice) { return Equal(node, choice); });
  }

  // True if exactly one alternative fits. Otherwise reports what the only alternative of the node's
  // kind says, or what all of them expect.
  bool CheckOneOf(const SchemaNode& schema, const ConfigNode& node, const std::string& field) {
    std::vector<ConfigProblems> findings;
    uint32_t fitting = 0;
    const ConfigProblems* nearest = nullptr;
    uint32_t of_this_kind = 0;
    findings.reserve(schema.one_of.size());
    for (const auto& alternative : schema.one_of) {
      ConfigProblems& finding = findings.emplace_back(problems_->file());
      Checker(&finding).Check(*alternative, node, field);
      if (!finding.failed()) ++fitting;
      if (alternative->types == 0 || (alternative->types & TypeBits(node)) != 0) {
        ++of_this_kind;
        nearest = &finding;
      }
    }
    if (fitting == 1) {
      for (const ConfigProblems& finding : findings) {
        if (!finding.failed()) problems_->Append(finding);
      }
      return true;
    }
    if (fitting > 1) {
      problems_->Error(node.line, field,
                       Concat("fits several forms, expected one of ", Expectation(schema)));
    } else if (of_this_kind == 1) {
      problems_->Append(*nearest);
    } else {
      Unexpected(schema, node, field);
    }
    return false;
  }

  void CheckNumber(const SchemaNode& schema, const ConfigNode& node, const std::string& field) {
    if (!std::isfinite(node.number)) {
      problems_->Error(node.line, field, Concat(Show(node), ", expected a finite number"));
      return;
    }
    const bool too_small =
        schema.minimum.has_value() && (schema.minimum_is_exclusive ? node.number <= *schema.minimum
                                                                   : node.number < *schema.minimum);
    const bool too_large =
        schema.maximum.has_value() && (schema.maximum_is_exclusive ? node.number >= *schema.maximum
                                                                   : node.number > *schema.maximum);
    if (too_small || too_large) {
      problems_->Error(node.line, field, Concat(Show(node), ", expected ", Bounds(schema)));
    }
  }

  void CheckString(const SchemaNode& schema, const ConfigNode& node, const std::string& field) {
    if (schema.is_duration && !ParseDurationNs(node.string).has_value()) {
      Unexpected(schema, node, field);
      return;
    }
    if (node.string.empty() && schema.size_min.value_or(0) > 0) {
      problems_->Error(node.line, field, "empty, expected a text");
      return;
    }
    CheckSize(schema, node, node.string.size(), "bytes", field);
  }

  void CheckList(const SchemaNode& schema, const ConfigNode& node, const std::string& field) {
    CheckSize(schema, node, node.items.size(), "elements", field);
    if (schema.item == nullptr) return;
    for (size_t i = 0; i < node.items.size(); ++i) {
      Check(*schema.item, node.items[i], Concat(field, "[", i, "]"));
    }
  }

  void CheckSize(const SchemaNode& schema, const ConfigNode& node, uint64_t size,
                 std::string_view unit, const std::string& field) {
    const uint64_t least = schema.size_min.value_or(0);
    const uint64_t most = schema.size_max.value_or(UINT64_MAX);
    if (size < least || size > most) {
      problems_->Error(
          node.line, field,
          Concat(size, " ", unit, ", expected ", size < least ? "at least " : "at most ",
                 size < least ? least : most));
    }
  }

  void CheckMap(const SchemaNode& schema, const ConfigNode& node, const std::string& field) {
    for (const std::string& name : schema.required) {
      const ConfigNode* value = node.Find(name);
      if (value == nullptr || value->kind == ConfigNode::Kind::kNull) {
        problems_->Error(node.line, Concat(field, ".", name),
                         Concat("missing, expected ", Expectation(*schema.Find(name))));
      }
    }
    CheckSize(schema, node, node.members.size(), "members", field);
    for (const auto& [name, value] : node.members) {
      const std::string value_field = Concat(field, ".", name);
      const SchemaNode* known = schema.Find(name);
      if (known != nullptr) {
        // Null means absent.
        if (value.kind != ConfigNode::Kind::kNull) Check(*known, value, value_field);
      } else if (schema.others == Others::kChecked) {
        if (schema.other != nullptr) Check(*schema.other, value, value_field);
      } else {
        Unknown(schema, name, value, value_field);
      }
    }
  }

  void Unknown(const SchemaNode& schema, const std::string& name, const ConfigNode& value,
               const std::string& field) {
    if (schema.others == Others::kWarned) {
      problems_->Warning(value.line, field, "unknown parameter, ignored");
      return;
    }
    std::vector<std::string_view> names;
    for (const auto& [property, unused] : schema.properties) names.push_back(property);
    std::string hint = problems_->full() ? std::string() : DidYouMean(name, names);
    if (names.empty()) hint = "; none is expected here";
    problems_->Error(value.line, field, Concat("unknown parameter", hint));
  }

  ConfigProblems* problems_;
};

}  // namespace

ParameterSchema::ParameterSchema(std::unique_ptr<SchemaNode> root) : root_(std::move(root)) {}
ParameterSchema::~ParameterSchema() = default;
ParameterSchema::ParameterSchema(ParameterSchema&&) noexcept = default;
ParameterSchema& ParameterSchema::operator=(ParameterSchema&&) noexcept = default;

void ParameterSchema::Check(const ConfigNode& parameters, std::string_view field,
                            ConfigProblems* problems) const {
  if (parameters.kind == ConfigNode::Kind::kNull) {
    ConfigNode empty{.kind = ConfigNode::Kind::kMap, .line = parameters.line};
    Checker(problems).Check(*root_, empty, std::string(field));
  } else {
    Checker(problems).Check(*root_, parameters, std::string(field));
  }
}

}  // namespace weir::internal
