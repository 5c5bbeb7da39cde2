// Plugin types that the embedding process makes at run time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "weir/options.h"
#include "weir/plugin/scorer.h"
#include "weir/router.h"

namespace weir {
namespace {

using ::testing::HasSubstr;

constexpr char kPipeline[] = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: likes-first}, {type: likes-second}, {type: max-score-picker}]
schedulingProfiles:
- name: default
  plugins: [{pluginRef: likes-first, weight: 1}, {pluginRef: likes-second, weight: 3}]
)";

// One create for both types: which of them is made is all that tells their instances apart.
weir_code Create(const weir_params* params, void** self) {
  *self = const_cast<weir_plugin*>(params->plugin);
  return WEIR_OK;
}
void Destroy(void*) {}
weir_code Score(void* self, const weir_call*, const weir_request*, const weir_batch*,
                double* score) {
  const auto* plugin = static_cast<const weir_plugin*>(self);
  score[plugin::View(plugin->type) == "likes-second" ? 1 : 0] = 1;
  return WEIR_OK;
}

class PluginModulesTest : public ::testing::Test {
 protected:
  PluginModulesTest() {
    for (weir_plugin* one : {&first_, &second_}) {
      one->struct_size = sizeof(weir_plugin);
      one->stability = WEIR_STABILITY_STABLE;
      one->interfaces = interfaces_;
      one->interface_count = 1;
      one->create = Create;
      one->destroy = Destroy;
    }
    first_.type = plugin::Str("likes-first");
    second_.type = plugin::Str("likes-second");
    module_.struct_size = sizeof(weir_module);
    module_.abi_major = WEIR_ABI_MAJOR;
    module_.abi_minor = WEIR_ABI_MINOR;
    module_.plugins = plugins_;
    module_.plugin_count = 2;
  }

  const weir_scorer scorer_{sizeof(weir_scorer), 0, Score};
  const weir_interface interface_{sizeof(weir_interface), 0, plugin::Str(WEIR_INTERFACE_SCORER),
                                  &scorer_};
  const weir_interface* const interfaces_[1] = {&interface_};
  weir_plugin first_ = {};
  weir_plugin second_ = {};
  const weir_plugin* const plugins_[2] = {&first_, &second_};
  weir_module module_ = {};
};

TEST_F(PluginModulesTest, CreateKnowsWhichTypeIsMade) {
  const auto router =
      Router::FromText(kPipeline, "test.yaml", {.plugin_modules = {&module_}, .seed = 1});
  ASSERT_TRUE(router.ok()) << router.status();
  for (const char* name : {"a", "b"}) {
    ASSERT_TRUE(router->pool().Upsert({.name = name, .address = "10.0.0.1:8000"}).ok());
  }
  const auto decision = router->Decide({});
  ASSERT_TRUE(decision.ok()) << decision.status();
  EXPECT_EQ(decision->primary().name, "default/b");
}

TEST_F(PluginModulesTest, ABadModuleIsRefused) {
  EXPECT_THAT(Router::Default({.plugin_modules = {nullptr}}).status().message(),
              HasSubstr("this process"));
  second_.type = first_.type;
  const absl::Status twice = Router::Default({.plugin_modules = {&module_}}).status();
  EXPECT_EQ(twice.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(twice.message(), HasSubstr("likes-first"));
}

}  // namespace
}  // namespace weir
