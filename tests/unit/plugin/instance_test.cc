// PluginInstance: parameters from the file to a plugin's constructor, and its errors back.
#include "plugin/instance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "plugin/registry.h"
#include "weir/plugin/scorer.h"

namespace weir::internal {
namespace {

using plugin::Batch;
using plugin::Module;
using plugin::Params;
using plugin::Request;
using ::testing::ElementsAre;

int living = 0;

// Reads one parameter of each kind; what it read, for the tests.
struct Reader {
  explicit Reader(const Params& params)
      : number(params.number("number", 0.5)),
        integer(params.integer("integer", 7)),
        boolean(params.boolean("boolean", true)),
        string(params.string("string", "none")),
        list(params.strings("list")),
        name(params.instance_name()) {
    for (uint64_t i = 0; i < params.count("map"); ++i) keys.push_back(params.key("map", i));
    slash = params.number("map/a~1b", 0);
    if (integer < 0) Params::Fail("integer: " + std::to_string(integer) + ", expected >= 0");
    if (number > 1) Params::Fail("number is too large");
    if (keys.size() > 2) Params::Fail("map.c: one too many");
    ++living;
  }
  ~Reader() { --living; }
  void Score(const Request&, const Batch&, double*) const {}

  double number;
  int64_t integer;
  bool boolean;
  std::string string;
  std::vector<std::string> list;
  std::string name;
  std::vector<std::string> keys;
  double slash = 0;
};

struct Thrower {
  Thrower() { throw 5; }
  void Score(const Request&, const Batch&, double*) const {}
};

const weir_plugin& TypeOf(std::string_view type) {
  static const auto* const registry = [] {
    static auto* const module = new Module;
    module->AddScorer<Reader>("free");
    module->AddScorer<Reader>("typed").Schema(
        R"({"type": "object", "properties": {"number": {"type": "number", "minimum": 0},
            "integer": {"type": "integer"}}, "additionalProperties": true})");
    module->AddScorer<Thrower>("thrower");
    auto* fresh = new PluginRegistry;
    EXPECT_TRUE(fresh->AddModule(module->raw(), "test").ok());
    return fresh;
  }();
  return *registry->Find(type);
}

absl::StatusOr<std::unique_ptr<PluginInstance>> Create(
    std::string_view type, std::string_view yaml, std::vector<std::string>* warnings = nullptr) {
  const absl::StatusOr<ConfigNode> parameters = ParseConfig(yaml, "f");
  EXPECT_TRUE(parameters.ok()) << parameters.status().message();
  static const weir_host host = ParamHost();
  return PluginInstance::Create(TypeOf(type), "mine", *parameters, "f", "plugins[2].parameters",
                                host, warnings);
}

std::string Error(std::string_view type, std::string_view yaml) {
  const int before = living;
  const auto instance = Create(type, yaml);
  EXPECT_FALSE(instance.ok());
  EXPECT_EQ(living, before);
  if (instance.ok()) return "";
  EXPECT_EQ(instance.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(instance.status().message());
}

TEST(PluginInstanceTest, ParametersReachTheConstructor) {
  {
    const auto instance = Create(
        "free",
        "{number: 0.25, integer: 3, boolean: false, string: x, list: [a, b], map: {a/b: 4, c: 5}}");
    // map.c is read by nobody but the key count of its map.
    EXPECT_FALSE(instance.ok());
  }
  const auto instance = Create(
      "free", "{number: 1, integer: 3, boolean: false, string: x, list: [a, b], map: {a/b: 4}}");
  ASSERT_TRUE(instance.ok()) << instance.status().message();
  const auto& reader = *static_cast<const Reader*>((*instance)->self());
  EXPECT_EQ(reader.number, 1);
  EXPECT_EQ(reader.integer, 3);
  EXPECT_FALSE(reader.boolean);
  EXPECT_EQ(reader.string, "x");
  EXPECT_THAT(reader.list, ElementsAre("a", "b"));
  EXPECT_THAT(reader.keys, ElementsAre("a/b"));
  EXPECT_EQ(reader.slash, 4);
  EXPECT_EQ(reader.name, "mine");
  EXPECT_EQ((*instance)->name(), "mine");
  EXPECT_NE((*instance)->scorer(), nullptr);
  EXPECT_EQ((*instance)->filter(), nullptr);
}

TEST(PluginInstanceTest, AbsentAndNullKeepDefaults) {
  for (const char* yaml : {"", "{}", "{number: ~, integer: null, list: ~}"}) {
    const auto instance = Create("free", yaml);
    ASSERT_TRUE(instance.ok()) << instance.status().message();
    const auto& reader = *static_cast<const Reader*>((*instance)->self());
    EXPECT_EQ(reader.number, 0.5);
    EXPECT_EQ(reader.integer, 7);
    EXPECT_TRUE(reader.boolean);
  }
}

TEST(PluginInstanceTest, DestroysWhatItCreated) {
  const int before = living;
  auto instance = Create("free", "");
  EXPECT_EQ(living, before + 1);
  instance->reset();
  EXPECT_EQ(living, before);
}

TEST(PluginInstanceTest, WrongTypesAreNamed) {
  EXPECT_EQ(Error("free", "a: 1\nnumber: x\n"),
            "f:2: plugins[2].parameters.number: \"x\", expected a number");
  EXPECT_EQ(Error("free", "number: .inf"),
            "f:1: plugins[2].parameters.number: .inf, expected a number");
  EXPECT_EQ(Error("free", "integer: 1.5"),
            "f:1: plugins[2].parameters.integer: 1.5, expected an integer");
  EXPECT_EQ(Error("free", "boolean: 1"),
            "f:1: plugins[2].parameters.boolean: 1, expected true or false");
  EXPECT_EQ(Error("free", "list:\n- a\n- 5\n"),
            "f:3: plugins[2].parameters.list[1]: 5, expected a string");
  EXPECT_EQ(Error("free", "[1]"), "f:1: plugins[2].parameters: a list, expected a map");
}

TEST(PluginInstanceTest, ConstructorsFailWithTheirOwnText) {
  EXPECT_EQ(Error("free", "string: x\ninteger: -1\n"),
            "f:2: plugins[2].parameters.integer: -1, expected >= 0");
  EXPECT_EQ(Error("free", "number: 2"), "f:1: plugins[2].parameters: number is too large");
  EXPECT_EQ(Error("free", "map:\n  a: 1\n  b: 2\n  c: 3\n"),
            "f:4: plugins[2].parameters.map.c: one too many");
  EXPECT_EQ(Error("thrower", ""),
            "f: plugins[2].parameters: the constructor threw something that is no exception");
}

TEST(PluginInstanceTest, WithoutASchemaWhatNobodyReadIsRefused) {
  EXPECT_EQ(Error("free", "string: x\nstrin: y\nmap: {z: {deep: 1}}\nother: []\n"),
            "f:2: plugins[2].parameters.strin: unknown parameter\n"
            "f:3: plugins[2].parameters.map.z: unknown parameter\n"
            "f:4: plugins[2].parameters.other: unknown parameter");
}

TEST(PluginInstanceTest, TheSchemaComesFirst) {
  EXPECT_EQ(Error("typed", "number: -1"), "f:1: plugins[2].parameters.number: -1, expected >= 0");
  std::vector<std::string> warnings;
  EXPECT_TRUE(Create("typed", "{numer: 3}", &warnings).ok());
  EXPECT_THAT(warnings,
              ElementsAre("f:1: plugins[2].parameters.numer: unknown parameter, ignored"));
}

weir_code RefuseWithoutText(const weir_params*, void**) { return WEIR_UNAVAILABLE; }

TEST(PluginInstanceTest, ACodeAloneIsAnErrorToo) {
  weir_plugin plugin = TypeOf("free");
  plugin.create = RefuseWithoutText;
  const weir_host host = ParamHost();
  const auto instance =
      PluginInstance::Create(plugin, "mine", ConfigNode(), "f", "", host, nullptr);
  EXPECT_EQ(instance.status().message(), "f: mine: the plugin refused to start, code 14");
}

}  // namespace
}  // namespace weir::internal
