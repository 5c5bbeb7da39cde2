// ParseConfig: trees with lines, and clear errors for everything else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "weir/limits.h"
#include "wire/config_node.h"

namespace weir::internal {
namespace {

using ::testing::HasSubstr;

ConfigNode Parse(std::string_view text) {
  absl::StatusOr<ConfigNode> node = ParseConfig(text, "f.yaml");
  EXPECT_TRUE(node.ok()) << node.status().message();
  return node.ok() ? *std::move(node) : ConfigNode();
}

std::string Error(std::string_view text) {
  const absl::StatusOr<ConfigNode> node = ParseConfig(text, "f.yaml");
  EXPECT_FALSE(node.ok());
  if (node.ok()) return "";
  EXPECT_EQ(node.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(node.status().message());
}

TEST(ParseConfigTest, KeepsOrderKindsAndLines) {
  const ConfigNode root = Parse(
      "name: main\n"
      "plugins:\n"
      "- {type: a, weight: 2}\n"
      "- type: b\n"
      "  on: true\n"
      "  none: ~\n"
      "  ratio: 0.5\n");
  EXPECT_EQ(root.kind, ConfigNode::Kind::kMap);
  EXPECT_EQ(root.line, 1);
  ASSERT_EQ(root.members.size(), 2u);
  EXPECT_EQ(root.members[0].name, "name");
  const ConfigNode* second = root.FindPath("plugins/1");
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->line, 4);
  EXPECT_EQ(second->Find("on")->boolean, true);
  EXPECT_EQ(second->Find("on")->line, 5);
  EXPECT_EQ(second->Find("none")->kind, ConfigNode::Kind::kNull);
  EXPECT_EQ(root.FindPath("plugins/0/weight")->integer, 2);
  EXPECT_EQ(root.ToJson(), R"({"name":"main","plugins":[{"type":"a","weight":2},)"
                           R"({"type":"b","on":true,"none":null,"ratio":0.5}]})");
}

TEST(ParseConfigTest, PathsEscapeSlashes) {
  const ConfigNode root = Parse("a/b: {c~d: [7]}\n");
  EXPECT_EQ(root.FindPath("a~1b/c~0d/0")->integer, 7);
  EXPECT_EQ(root.FindPath(""), &root);
  EXPECT_EQ(root.FindPath("a~1b/c~0d/1"), nullptr);
  EXPECT_EQ(root.FindPath("a~1b/c~0d/x"), nullptr);
  EXPECT_EQ(root.FindPath("a~1b/c~0d/0/deeper"), nullptr);
}

TEST(ParseConfigTest, ReadsJson) {
  const ConfigNode root =
      Parse("{\n\t\"a\": [1, 2.5, \"x\", null, false],\n\t\"b\": {\"c\":\"\\n\"}\n}\n");
  EXPECT_EQ(root.ToJson(), R"({"a":[1,2.5,"x",null,false],"b":{"c":"\n"}})");
}

TEST(ParseConfigTest, QuotedScalarsAreStrings) {
  const ConfigNode root = Parse("[\"1\", 'true', !!str 5, 5, yes, 0x10, 0o17, 1e3, -.inf, .nan]");
  const auto kind = [&](size_t i) { return root.items[i].kind; };
  EXPECT_EQ(kind(0), ConfigNode::Kind::kString);
  EXPECT_EQ(kind(1), ConfigNode::Kind::kString);
  EXPECT_EQ(kind(2), ConfigNode::Kind::kString);
  EXPECT_EQ(kind(3), ConfigNode::Kind::kInteger);
  EXPECT_EQ(kind(4), ConfigNode::Kind::kString);
  EXPECT_EQ(root.items[5].integer, 16);
  EXPECT_EQ(root.items[6].integer, 15);
  EXPECT_EQ(root.items[7].number, 1000);
  EXPECT_TRUE(std::isinf(root.items[8].number));
  EXPECT_TRUE(std::isnan(root.items[9].number));
  EXPECT_EQ(root.items[8].ToJson(), "null");
}

TEST(ParseConfigTest, WhatWasWrittenReadsTheSame) {
  for (const char* text : {"-.0", "-0.0", "0.5", "1e20", "1e300", "9223372036854775808", "-7"}) {
    const std::string json = Parse(text).ToJson();
    EXPECT_EQ(Parse(json).ToJson(), json) << text;
  }
}

TEST(ParseConfigTest, EmptyTextsAreNull) {
  EXPECT_EQ(Parse("").kind, ConfigNode::Kind::kNull);
  EXPECT_EQ(Parse("# only a comment\n").kind, ConfigNode::Kind::kNull);
  EXPECT_EQ(Parse("---\n").kind, ConfigNode::Kind::kNull);
}

TEST(ParseConfigTest, AliasesAreExpanded) {
  const ConfigNode root = Parse("base: &b {x: 1, y: [2]}\nagain: *b\nkey: &k text\n*k : 3\n");
  EXPECT_EQ(root.Find("again")->ToJson(), R"({"x":1,"y":[2]})");
  EXPECT_EQ(root.Find("text")->integer, 3);
}

TEST(ParseConfigTest, NamesTheLineOfEachError) {
  EXPECT_EQ(Error("a: 1\nb: 2\na: 3\n"), "f.yaml:3: duplicate key \"a\", first in line 1");
  EXPECT_EQ(Error("a: 1\n---\nb: 2\n"), "f.yaml:2: a second document, expected one");
  EXPECT_EQ(Error("a:\n  1: x\n"), "f.yaml:2: the key 1 is no string; quote it");
  EXPECT_EQ(Error("? [a]\n: x\n"), "f.yaml:1: the key is a list, expected a string");
  EXPECT_EQ(Error("a: !!binary x\n"),
            "f.yaml:1: the tag \"tag:yaml.org,2002:binary\" is not supported");
  EXPECT_EQ(Error("a: !mine {b: c}\n"), "f.yaml:1: the tag \"!mine\" is not supported");
  EXPECT_EQ(Error("a: &x 1\nb: {<<: {c: 1}}\n"), "f.yaml:2: merge keys (<<) are not supported");
  EXPECT_EQ(Error("a: &x [*x]\n"), "f.yaml:1: an alias inside of what it stands for");
  EXPECT_EQ(Error("a: b\nc: \"d\\0e\"\n"), "f.yaml:2: a zero byte in a string");
  EXPECT_EQ(Error("a: b\nc: \xff\n"), "f.yaml:2: invalid UTF-8");
  EXPECT_EQ(Error(std::string_view("a: b\n\0c: d\n", 11)), "f.yaml:2: control byte 0x00");
  EXPECT_EQ(Error("a: \x04\n"), "f.yaml:1: control byte 0x04");
  EXPECT_THAT(Error("a: b\nc: [1, 2\n"), HasSubstr("end of sequence flow not found"));
  EXPECT_THAT(Error("a: b\nc: [{d: e}\n"), HasSubstr("end of sequence flow not found"));
  EXPECT_THAT(Error("a: *nobody\n"), HasSubstr("f.yaml:1: "));
  EXPECT_THAT(Error("a: b\n  c: d\n"), HasSubstr("f.yaml:2: "));
  EXPECT_THAT(Error("%YAML 9.9\n---\na: b\n"), HasSubstr("f.yaml"));
}

std::string Nested(uint32_t depth) {
  return std::string(depth, '[') + "1" + std::string(depth, ']');
}

TEST(ParseConfigTest, DepthIsLimited) {
  EXPECT_EQ(Parse(Nested(kConfigDepthMax - 1)).kind, ConfigNode::Kind::kList);
  EXPECT_EQ(Error(Nested(kConfigDepthMax)), "f.yaml:1: nested deeper than 32 levels");
  EXPECT_EQ(Error(Nested(100'000)), "f.yaml:1: nested deeper than 32 levels");
  // Through an alias as well.
  EXPECT_EQ(Error("a: &a " + Nested(20) + "\nb: " + std::string(20, '[') + "*a" +
                  std::string(20, ']') + "\n"),
            "f.yaml:2: nested deeper than 32 levels");
}

TEST(ParseConfigTest, SizeIsLimited) {
  std::string text = "# ";
  text.resize(kConfigBytesMax, 'x');
  EXPECT_EQ(Parse(text).kind, ConfigNode::Kind::kNull);
  EXPECT_EQ(Error(text + "x"), "f.yaml: 1048577 bytes, expected at most 1048576");
}

TEST(ParseConfigTest, ValuesAreLimited) {
  std::string text = "[";
  for (uint32_t i = 1; i < kConfigNodesMax; ++i) text += "1,";
  EXPECT_EQ(Parse(text + "]").items.size(), kConfigNodesMax - 1);
  EXPECT_EQ(Error(text + "1]"), "f.yaml:1: more than 100000 values, aliases counted each time");
}

TEST(ParseConfigTest, AliasBombsEndAtTheLimit) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string below = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + below;
    for (int j = 1; j < 10; ++j) bomb += ", " + below;
    bomb += "]\n";
  }
  EXPECT_THAT(Error(bomb), HasSubstr("more than 100000 values, aliases counted each time"));

  std::string fat = "a: &a " + std::string(500'000, 'x') + "\nb: [*a";
  for (int i = 0; i < 50; ++i) fat += ", *a";
  EXPECT_EQ(Error(fat + "]\n"),
            "f.yaml:2: more than 4194304 bytes of text, aliases counted each time");
}

}  // namespace
}  // namespace weir::internal
