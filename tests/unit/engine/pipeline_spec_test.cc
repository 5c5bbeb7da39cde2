// LoadPipelineSpec: limits, columns, and the list of types. Rules and errors are in the golden
// test.
#include "engine/pipeline_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "engine/known_types.h"
#include "test_types.h"
#include "weir/limits.h"
#include "wire/config_problems.h"

namespace weir::internal {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

constexpr char kHeader[] = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";

absl::StatusOr<PipelineSpec> Load(const std::string& body) {
  static const auto* const registry = new PluginRegistry(TestRegistry());
  return LoadPipelineSpec(kHeader + body, "p.yaml", *registry, RouterOptions());
}

std::string Error(const std::string& body) {
  const absl::StatusOr<PipelineSpec> spec = Load(body);
  return spec.ok() ? "ok" : std::string(spec.status().message());
}

std::string Plugins(std::string_view type, uint32_t count) {
  std::string text = "plugins:\n";
  for (uint32_t i = 0; i < count; ++i) {
    text += "- {type: " + std::string(type) + ", name: p" + std::to_string(i) + "}\n";
  }
  return text;
}

TEST(PipelineSpecTest, ColumnsBelongToTheirProducers) {
  const auto spec = Load(
      "plugins:\n- {type: a-producer, name: one}\n- {type: a-producer, name: two}\n"
      "- {type: a-scorer, parameters: {aProducerName: two}}\n- type: token-producer\n");
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  ASSERT_EQ(spec->columns.size(), 2u);
  EXPECT_EQ(spec->columns[1].name, "A");
  EXPECT_EQ(spec->columns[1].producer_name, "two");
  EXPECT_EQ(spec->columns[1].producer, 1u);
  EXPECT_EQ(spec->columns[1].type, "f64");
  EXPECT_EQ(spec->columns[1].element_bytes, 8u);
  EXPECT_THAT(spec->plugins[0].columns, ElementsAre(0));
  EXPECT_THAT(spec->plugins[1].columns, ElementsAre(1));
  EXPECT_THAT(spec->plugins[2].columns, ElementsAre(1));
  EXPECT_THAT(spec->plugins[3].columns, ElementsAre(-1));  // tokens belong to the request
}

TEST(PipelineSpecTest, ParametersKeepTheirLines) {
  const auto spec = Load("plugins:\n- type: strict-scorer\n  parameters:\n    threshold: 3\n");
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  EXPECT_EQ(spec->file, "p.yaml");
  EXPECT_EQ(spec->plugins[0].field, "plugins[0].parameters");
  EXPECT_EQ(spec->plugins[0].parameters.Find("threshold")->line, 6);
  EXPECT_FALSE(spec->plugins[0].added);
  EXPECT_EQ(spec->plugins[1].parameters.ToJson(), "{}");
  EXPECT_TRUE(spec->plugins[1].added);
}

TEST(PipelineSpecTest, TheDefaultPipelineNeedsNoFile) {
  const auto from_text = Load("");
  EXPECT_TRUE(from_text.ok()) << from_text.status().message();
  const auto from_default = LoadPipelineSpec(DefaultPipelineText(), "default",
                                             PluginRegistry::WithBuiltins(), RouterOptions());
  ASSERT_TRUE(from_default.ok()) << from_default.status().message();
  EXPECT_EQ(from_default->profiles[0].scorers.size(), 3u);
}

TEST(PipelineSpecTest, SyntaxErrorsAreTheParsers) {
  EXPECT_EQ(Error("plugins: [\n").find("p.yaml:"), 0u);
}

TEST(KnownTypesTest, EachOf97IsBuiltOrSaysThatItIsNot) {
  std::set<std::string_view> types;
  for (const KnownType& known : KnownTypes()) {
    EXPECT_TRUE(types.insert(known.type).second) << known.type;
    const std::string error = Error("plugins:\n- type: " + std::string(known.type) + "\n");
    EXPECT_THAT(error, testing::Not(HasSubstr("is not a plugin type"))) << known.type;
  }
  EXPECT_EQ(types.size(), 97u);
}

// What weir adds to the language of llm-d's picker.
constexpr std::string_view kOwnTypes[] = {"round-robin-picker"};

TEST(KnownTypesTest, EveryOtherBuiltInTypeIsOfTheLanguage) {
  const PluginRegistry registry = PluginRegistry::WithBuiltins();
  for (const std::string_view type : registry.types()) {
    const bool own =
        std::find(std::begin(kOwnTypes), std::end(kOwnTypes), type) != std::end(kOwnTypes);
    EXPECT_NE(own, FindKnownType(type) != nullptr) << type;
  }
}

TEST(PipelineLimitsTest, Plugins) {
  // A full file leaves no room for what is added to it; picker, handler and the rest are six.
  EXPECT_EQ(Error(Plugins("a-producer", 64)), "ok");
  const std::string too_many = Error(Plugins("queue-scorer", kPluginsMax));
  EXPECT_THAT(too_many, HasSubstr("p.yaml: plugins: 264 plugins with those that were added, "
                                  "expected at most 256"));
  EXPECT_THAT(Error(Plugins("queue-scorer", kPluginsMax + 1)),
              HasSubstr("p.yaml:4: plugins: 257 plugins, expected at most 256"));
}

TEST(PipelineLimitsTest, Profiles) {
  std::string body = "schedulingProfiles:\n";
  for (uint32_t i = 0; i < kProfilesMax; ++i) body += "- name: n" + std::to_string(i) + "\n";
  EXPECT_EQ(Error("plugins: [{type: two-profile-handler}]\n" + body),
            "p.yaml:3: plugins[0]: \"two-profile-handler\" handles 2 profiles, the file has 16");
  EXPECT_THAT(Error(body + "- name: one-more\n"),
              HasSubstr("schedulingProfiles: 17 profiles, expected at most 16"));
}

TEST(PipelineLimitsTest, PluginsOfOneProfile) {
  EXPECT_EQ(Error(Plugins("queue-scorer", kPluginsPerProfileMax)), "ok");
  EXPECT_EQ(Error(Plugins("queue-scorer", kPluginsPerProfileMax + 1)),
            "p.yaml: plugins: 65 filters and scorers in profile \"default\", expected at most 64");
  std::string body =
      "plugins: [{type: queue-scorer}]\nschedulingProfiles:\n- name: main\n  plugins:\n";
  for (uint32_t i = 0; i < kPluginsPerProfileMax; ++i) body += "  - pluginRef: queue-scorer\n";
  EXPECT_EQ(Error(body), "ok");
  EXPECT_EQ(Error(body + "  - pluginRef: queue-scorer\n"),
            "p.yaml:7: schedulingProfiles[0].plugins: 65 plugins, expected at most 64");
}

TEST(PipelineLimitsTest, Attributes) {
  EXPECT_EQ(Error(Plugins("a-producer", kAttributesMax)), "ok");
  EXPECT_EQ(Error(Plugins("a-producer", kAttributesMax + 1)),
            "p.yaml: plugins: attributes of all producers: 129, expected at most 128");
}

TEST(PipelineLimitsTest, Names) {
  const std::string name(kNameBytesMax, 'n');
  EXPECT_EQ(Error("plugins: [{type: queue-scorer, name: " + name + "}]\n"), "ok");
  EXPECT_EQ(Error("plugins: [{type: queue-scorer, name: " + name + "n}]\n"),
            "p.yaml:3: plugins[0].name: 513 bytes, expected at most 512");
}

TEST(PipelineLimitsTest, Errors) {
  std::string body;
  for (uint32_t i = 0; i < kConfigProblemsMax + 10; ++i) body += "x" + std::to_string(i) + ": 1\n";
  const std::string error = Error(body);
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), kConfigProblemsMax);
  EXPECT_THAT(error, EndsWith("\np.yaml: and 10 more"));
}

}  // namespace
}  // namespace weir::internal
