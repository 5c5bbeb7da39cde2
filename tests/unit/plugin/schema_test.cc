// ParameterSchema: the dialect, and the texts it refuses parameters with.
#include "plugin/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_join.h"

namespace weir::internal {
namespace {

using ::testing::HasSubstr;

// What the schema says of the parameters: the errors, or the warnings, one per line.
std::string Check(std::string_view schema_text, std::string_view parameters) {
  const absl::StatusOr<ParameterSchema> schema = ParameterSchema::Compile(schema_text);
  EXPECT_TRUE(schema.ok()) << schema.status().message();
  const absl::StatusOr<ConfigNode> node = ParseConfig(parameters, "f");
  EXPECT_TRUE(node.ok()) << node.status().message();
  if (!schema.ok() || !node.ok()) return "?";
  ConfigProblems problems("f");
  schema->Check(*node, "p", &problems);
  if (problems.failed()) return std::string(problems.ToStatus().message());
  return absl::StrJoin(problems.warnings(), "\n");
}

// The same for one property "x" of the schema `property`.
std::string CheckOne(std::string_view property, std::string_view value) {
  return Check(R"({"type": "object", "properties": {"x": )" + std::string(property) +
                   R"(}, "additionalProperties": false})",
               "x: " + std::string(value));
}

TEST(ParameterSchemaTest, Types) {
  EXPECT_EQ(CheckOne(R"({"type": "number"})", "1"), "");
  EXPECT_EQ(CheckOne(R"({"type": "number"})", "1.5"), "");
  EXPECT_EQ(CheckOne(R"({"type": "number"})", "true"), "f:1: p.x: true, expected a number");
  EXPECT_EQ(CheckOne(R"({"type": "number"})", ".nan"), "f:1: p.x: .nan, expected a finite number");
  EXPECT_EQ(CheckOne(R"({"type": "integer"})", "3"), "");
  EXPECT_EQ(CheckOne(R"({"type": "integer"})", "3.0"), "f:1: p.x: 3.0, expected an integer");
  EXPECT_EQ(CheckOne(R"({"type": "integer"})", "9223372036854775808"),
            "f:1: p.x: 9223372036854775808, expected an integer");
  EXPECT_EQ(CheckOne(R"({"type": "boolean"})", "'true'"),
            "f:1: p.x: \"true\", expected true or false");
  EXPECT_EQ(CheckOne(R"({"type": "string"})", "7"), "f:1: p.x: 7, expected a string; write \"7\"");
  EXPECT_EQ(CheckOne(R"({"type": "array"})", "{}"), "f:1: p.x: a map, expected a list");
  EXPECT_EQ(CheckOne(R"({"type": "object"})", "[]"), "f:1: p.x: a list, expected a map");
  EXPECT_EQ(CheckOne(R"({"type": ["integer", "string"]})", "1.5"),
            "f:1: p.x: 1.5, expected an integer or a string; write \"1.5\"");
  EXPECT_EQ(CheckOne(R"({"type": ["integer", "null"]})", "~"), "");
  EXPECT_EQ(CheckOne(R"({"type": "integer"})", "~"), "");  // null is absent
  EXPECT_EQ(CheckOne("{}", "[anything, {a: b}]"), "");
}

TEST(ParameterSchemaTest, Bounds) {
  EXPECT_EQ(CheckOne(R"({"type": "integer", "minimum": 1, "maximum": 65535})", "70000"),
            "f:1: p.x: 70000, expected 1..65535");
  EXPECT_EQ(CheckOne(R"({"type": "integer", "minimum": 1, "maximum": 65535})", "65535"), "");
  EXPECT_EQ(CheckOne(R"({"type": "number", "minimum": 0})", "-0.5"),
            "f:1: p.x: -0.5, expected >= 0");
  EXPECT_EQ(CheckOne(R"({"type": "number", "exclusiveMinimum": 0})", "0"),
            "f:1: p.x: 0, expected > 0");
  EXPECT_EQ(CheckOne(R"({"type": "number", "exclusiveMinimum": 0, "maximum": 1})", "1.5"),
            "f:1: p.x: 1.5, expected > 0 and <= 1");
  EXPECT_EQ(CheckOne(R"({"type": "number", "exclusiveMaximum": 0.1})", "0.1"),
            "f:1: p.x: 0.1, expected < 0.1");
  EXPECT_EQ(CheckOne(R"({"type": "number", "minimum": 0})", "x"),
            "f:1: p.x: \"x\", expected a number >= 0");
}

TEST(ParameterSchemaTest, Choices) {
  EXPECT_EQ(CheckOne(R"({"enum": ["a", "b", "c"]})", "d"),
            "f:1: p.x: \"d\", expected one of \"a\", \"b\" or \"c\"");
  EXPECT_EQ(CheckOne(R"({"enum": ["a", 2, true]})", "2"), "");
  EXPECT_EQ(CheckOne(R"({"enum": ["a", 2, true]})", "2.0"), "");
  EXPECT_EQ(CheckOne(R"({"enum": ["a", 2, true]})", "true"), "");
  EXPECT_EQ(CheckOne(R"({"enum": ["a", 2, true]})", "'2'"),
            "f:1: p.x: \"2\", expected one of \"a\", 2 or true");
}

TEST(ParameterSchemaTest, TextsAndLists) {
  EXPECT_EQ(CheckOne(R"({"type": "string", "minLength": 1})", "''"),
            "f:1: p.x: empty, expected a text");
  EXPECT_EQ(CheckOne(R"({"type": "string", "minLength": 3})", "ab"),
            "f:1: p.x: 2 bytes, expected at least 3");
  EXPECT_EQ(CheckOne(R"({"type": "string", "maxLength": 3})", "abcd"),
            "f:1: p.x: 4 bytes, expected at most 3");
  EXPECT_EQ(CheckOne(R"({"type": "string", "format": "duration"})", "1h30m"), "");
  EXPECT_EQ(CheckOne(R"({"type": "string", "format": "duration"})", "5"),
            "f:1: p.x: 5, expected a duration like \"200ms\"");
  EXPECT_EQ(CheckOne(R"({"type": "string", "format": "duration"})", "soon"),
            "f:1: p.x: \"soon\", expected a duration like \"200ms\"");
  EXPECT_EQ(CheckOne(R"({"type": "array", "minItems": 1, "maxItems": 2})", "[]"),
            "f:1: p.x: 0 elements, expected at least 1");
  EXPECT_EQ(CheckOne(R"({"type": "array", "minItems": 1, "maxItems": 2})", "[1, 2]"), "");
  EXPECT_EQ(CheckOne(R"({"type": "array", "minItems": 1, "maxItems": 2})", "[1, 2, 3]"),
            "f:1: p.x: 3 elements, expected at most 2");
  EXPECT_EQ(CheckOne(R"({"type": "array", "items": {"type": "string"}})", "[a, 2]"),
            "f:1: p.x[1]: 2, expected a string; write \"2\"");
}

TEST(ParameterSchemaTest, Maps) {
  constexpr std::string_view kStrict =
      R"({"type": "object", "properties": {"lruSize": {"type": "integer"}, "on": {}}, "required": ["on"]})";
  EXPECT_EQ(Check(kStrict, "{lruSizes: 5, on: 1}"),
            "f:1: p.lruSizes: unknown parameter; did you mean \"lruSize\"?");
  EXPECT_EQ(Check(kStrict, "lruSize: 5\n"), "f:1: p.on: missing, expected a value");
  EXPECT_EQ(Check(kStrict, "{lruSize: 5, on: ~}"), "f:1: p.on: missing, expected a value");
  EXPECT_EQ(Check(kStrict, ""), "f: p.on: missing, expected a value");
  EXPECT_EQ(Check(R"({"type": "object", "properties": {}, "additionalProperties": false})", "a: 1"),
            "f:1: p.a: unknown parameter; none is expected here");
  EXPECT_EQ(Check(R"({"type": "object", "properties": {}, "additionalProperties": true})", "a: 1"),
            "f:1: p.a: unknown parameter, ignored");
  EXPECT_EQ(
      Check(R"({"type": "object", "additionalProperties": {"type": "string"}})", "{a: b, c: 1}"),
      "f:1: p.c: 1, expected a string; write \"1\"");
  EXPECT_EQ(Check(R"({"type": "object"})", "{a: {b: [c]}}"), "");
  EXPECT_EQ(Check(R"({"type": "object", "minProperties": 1})", "{}"),
            "f:1: p: 0 members, expected at least 1");
  EXPECT_EQ(
      CheckOne(R"({"type": "object", "properties": {"y": {"type": "integer"}}})", "\n  y: z\n"),
      "f:2: p.x.y: \"z\", expected an integer");
}

TEST(ParameterSchemaTest, OneOf) {
  constexpr std::string_view kOneOf = R"({"oneOf": [{"type": "string"}, {"type": "object",
      "required": ["a"], "properties": {"a": {"type": "integer"}}}]})";
  EXPECT_EQ(CheckOne(kOneOf, "text"), "");
  EXPECT_EQ(CheckOne(kOneOf, "{a: 1}"), "");
  EXPECT_EQ(CheckOne(kOneOf, "{a: x}"), "f:1: p.x.a: \"x\", expected an integer");
  EXPECT_EQ(CheckOne(kOneOf, "[1]"), "f:1: p.x: a list, expected a string or a map");
  EXPECT_EQ(CheckOne(R"({"oneOf": [{"type": "number"}, {"type": "integer"}]})", "1"),
            "f:1: p.x: fits several forms, expected one of a number or an integer");
  EXPECT_EQ(CheckOne(R"({"oneOf": [{"type": "number"}, {"type": "integer"}]})", "1.5"), "");
}

TEST(ParameterSchemaTest, DeprecatedParametersAreWarnings) {
  EXPECT_EQ(CheckOne(R"({"type": "integer", "deprecated": true, "description": "use y"})", "1"),
            "f:1: p.x: deprecated: use y");
  EXPECT_EQ(CheckOne(R"({"type": "integer", "deprecated": true, "description": "use y"})", "~"),
            "");
}

TEST(ParameterSchemaTest, SeveralErrorsAtOnce) {
  EXPECT_EQ(
      Check(
          R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}})",
          "a: x\nb: y\nc: z\n"),
      "f:1: p.a: \"x\", expected an integer\nf:2: p.b: \"y\", expected an integer\n"
      "f:3: p.c: unknown parameter");
}

TEST(ParameterSchemaTest, RefusesSchemasItDoesNotUnderstand) {
  const auto error = [](std::string_view schema) {
    const auto compiled = ParameterSchema::Compile(schema);
    return compiled.ok() ? "ok" : std::string(compiled.status().message());
  };
  EXPECT_THAT(error("{"), HasSubstr("parse error"));
  EXPECT_EQ(error("[]"), "expected an object");
  EXPECT_EQ(error(R"({"properties": {}})"), "type: expected \"object\"");
  EXPECT_EQ(error(R"({"type": "array"})"), "type: expected \"object\"");
  EXPECT_EQ(error(R"({"type": "object", "properties": {"a": {"pattern": "x"}}})"),
            "properties/a/pattern: this keyword is not supported");
  EXPECT_EQ(error(R"({"type": "object", "properties": {"a": {"type": "int"}}})"),
            "properties/a/type: unknown type \"int\"");
  EXPECT_EQ(error(R"({"type": "object", "properties": {"a": {"minimum": "0"}}})"),
            "properties/a/minimum: expected a number");
  EXPECT_EQ(error(R"({"type": "object", "properties": {"a": {"minItems": -1}}})"),
            "properties/a/minItems: expected an integer >= 0");
  EXPECT_EQ(
      error(R"({"type": "object", "properties": {"a": {"minimum": 0, "exclusiveMinimum": 1}}})"),
      "properties/a/exclusiveMinimum: a second lower bound");
  EXPECT_EQ(error(R"({"type": "object", "required": ["a"]})"),
            "required names \"a\", which is no property");
  EXPECT_EQ(error(R"({"type": "object", "properties": {"a": {"enum": []}}})"),
            "properties/a/enum: expected a list with elements");
  EXPECT_EQ(error(R"({"type": "object", "properties": {"a": {"format": "uri"}}})"),
            "properties/a/format: expected \"duration\"");
  std::string deep = R"({"type": "object", "properties": {"a": )";
  for (uint32_t i = 0; i < kSchemaDepthMax; ++i) deep += R"({"items": )";
  EXPECT_THAT(error(deep + "{}" + std::string(kSchemaDepthMax, '}') + "}}"),
              HasSubstr("nested too deep"));
  EXPECT_THAT(error(std::string(kSchemaBytesMax + 1, ' ')), HasSubstr("expected at most 262144"));
}

}  // namespace
}  // namespace weir::internal
