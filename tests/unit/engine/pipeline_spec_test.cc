// LoadPipelineSpec: what a good file becomes.
#include "engine/pipeline_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test_types.h"

namespace weir::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kHeader = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";

class PipelineSpecTest : public ::testing::Test {
 protected:
  // Loads kHeader and `body`; fails the test on an error.
  PipelineSpec Load(std::string_view body) {
    const std::string text = std::string(kHeader) + std::string(body);
    absl::StatusOr<PipelineSpec> spec = LoadPipelineSpec(text, "p.yaml", registry_, options_);
    EXPECT_TRUE(spec.ok()) << spec.status().message();
    return spec.ok() ? *std::move(spec) : PipelineSpec();
  }

  static std::vector<std::string> Names(const PipelineSpec& spec,
                                        const std::vector<uint32_t>& plugins) {
    std::vector<std::string> names;
    for (const uint32_t plugin : plugins) names.push_back(spec.plugins[plugin].name);
    return names;
  }
  static std::vector<std::string> AllNames(const PipelineSpec& spec) {
    std::vector<std::string> names;
    for (const PluginSpec& plugin : spec.plugins) names.push_back(plugin.name);
    return names;
  }
  static std::vector<std::pair<std::string, double>> Scorers(const PipelineSpec& spec,
                                                             const ProfileSpec& profile) {
    std::vector<std::pair<std::string, double>> scorers;
    for (const auto& scorer : profile.scorers) {
      scorers.emplace_back(spec.plugins[scorer.plugin].name, scorer.weight);
    }
    return scorers;
  }
  // Which instance produces attribute `attribute` of the plugin `reader`, empty if none does.
  static std::string Producer(const PipelineSpec& spec, std::string_view reader,
                              std::string_view attribute) {
    for (const PluginSpec& plugin : spec.plugins) {
      if (plugin.name != reader) continue;
      for (const int32_t column : plugin.columns) {
        if (column >= 0 && spec.columns[column].name == attribute) {
          return spec.columns[column].producer_name;
        }
      }
    }
    return "";
  }

  PluginRegistry registry_ = TestRegistry();
  RouterOptions options_;
};

TEST_F(PipelineSpecTest, OneScorerGetsEverythingElse) {
  const PipelineSpec spec = Load("plugins:\n- type: queue-scorer\n");
  EXPECT_THAT(AllNames(spec),
              ElementsAre("queue-scorer", "single-profile-handler", "max-score-picker",
                          "metrics-data-source", "core-metrics-extractor", "openai-parser",
                          "passthrough-parser"));
  ASSERT_EQ(spec.profiles.size(), 1u);
  EXPECT_EQ(spec.profiles[0].name, "default");
  EXPECT_THAT(Scorers(spec, spec.profiles[0]), ElementsAre(std::pair("queue-scorer", 1.0)));
  EXPECT_EQ(spec.plugins[spec.profiles[0].picker].name, "max-score-picker");
  EXPECT_EQ(spec.plugins[spec.profile_handler].name, "single-profile-handler");
  EXPECT_THAT(Names(spec, spec.data_layer),
              ElementsAre("metrics-data-source", "core-metrics-extractor"));
  EXPECT_THAT(Names(spec, spec.parsers), ElementsAre("openai-parser", "passthrough-parser"));
  EXPECT_THAT(spec.producers, IsEmpty());
  EXPECT_THAT(spec.warnings, IsEmpty());
  EXPECT_FALSE(spec.plugins[0].added);
  EXPECT_EQ(spec.plugins[0].field, "plugins[0].parameters");
  EXPECT_TRUE(spec.plugins[1].added);
}

}  // namespace
}  // namespace weir::internal
