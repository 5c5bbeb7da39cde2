// PluginRegistry: modules are checked to the last pointer; libraries load once and stay.
#include "plugin/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "builtins.h"
#include "weir/limits.h"
#include "weir/plugin/plugin.h"
#include "weir/plugin/producer.h"
#include "weir/plugin/scorer.h"

namespace weir::internal {
namespace {

using plugin::Str;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(BuiltinsTest, EveryModuleIsWellFormed) {
  PluginRegistry registry;
  for (const weir_plugin_module_fn module : Builtins()) {
    const absl::Status added = registry.AddModule(module(), "built in");
    EXPECT_TRUE(added.ok()) << added.message();
  }
  for (const ConfiguredType& one : ConfiguredTypes()) {
    const absl::Status added =
        registry.AddConfigured(ConfiguredKind::kSource, one.type, one.params_schema);
    EXPECT_TRUE(added.ok()) << added.message();
  }
  EXPECT_NE(registry.Find("queue-scorer"), nullptr);
  EXPECT_EQ(registry.Find("metrics-data-source"), nullptr);
  EXPECT_NE(registry.FindEntry("metrics-data-source"), nullptr);
  EXPECT_EQ(registry.FindEntry("prefix-scorer"), nullptr);
}

// What a schema gives as defaults, as one parameters object.
std::string DefaultsOf(std::string_view schema) {
  nlohmann::json defaults = nlohmann::json::object();
  const auto parsed = nlohmann::json::parse(schema);
  for (const auto& [name, property] : parsed["properties"].items()) {
    if (property.contains("default")) defaults[name] = property["default"];
  }
  return defaults.dump();
}

TEST(BuiltinsTest, EveryDefaultFitsItsOwnSchema) {
  const PluginRegistry registry = PluginRegistry::WithBuiltins();
  std::map<std::string_view, std::string_view> schemas;
  for (const ConfiguredType& one : ConfiguredTypes()) schemas[one.type] = one.params_schema;
  for (const std::string_view type : registry.types()) {
    const PluginRegistry::Entry& entry = *registry.FindEntry(type);
    ASSERT_NE(entry.schema, nullptr) << type;
    if (entry.plugin != nullptr) {
      schemas[type] = {entry.plugin->params_schema.data, entry.plugin->params_schema.size};
    }
    const auto defaults = ParseConfig(DefaultsOf(schemas[type]), std::string(type));
    ASSERT_TRUE(defaults.ok()) << defaults.status().message();
    ConfigProblems problems{std::string(type)};
    entry.schema->Check(*defaults, "", &problems);
    // A required parameter has no default.
    const std::string errors(problems.ToStatus().message());
    EXPECT_TRUE(errors.empty() || errors.find("missing") != std::string::npos) << errors;
  }
}

weir_code CreateNothing(const weir_params*, void**) { return WEIR_OK; }
void DestroyNothing(void*) {}
weir_code ScoreNothing(void*, const weir_call*, const weir_request*, const weir_batch*, double*) {
  return WEIR_OK;
}
weir_code ProduceNothing(void*, const weir_call*, const weir_request*, const weir_batch*,
                         void* const*, void*) {
  return WEIR_OK;
}

// A good module of one scorer that reads and writes an attribute, to be broken by the tests.
struct Tables {
  weir_scorer scorer{sizeof(weir_scorer), 0, ScoreNothing};
  weir_producer producer{sizeof(weir_producer), 0, ProduceNothing, 0};
  weir_interface interface { sizeof(weir_interface), 0, Str(WEIR_INTERFACE_SCORER), &scorer };
  weir_interface second{sizeof(weir_interface), 0, Str(WEIR_INTERFACE_PRODUCER), &producer};
  const weir_interface* interfaces[2] = {&interface, &second};
  weir_attribute attribute{
      sizeof(weir_attribute), WEIR_ATTRIBUTE_WRITE, Str("X"), Str("f64"), 8, 0, {}, {}};
  const weir_attribute* attributes[1] = {&attribute};
  weir_plugin plugin = {};
  const weir_plugin* plugins[1] = {&plugin};
  weir_module module = {};

  Tables() {
    plugin.struct_size = sizeof(weir_plugin);
    plugin.stability = WEIR_STABILITY_STABLE;
    plugin.type = Str("acme-scorer");
    plugin.interfaces = interfaces;
    plugin.interface_count = 2;
    plugin.attributes = attributes;
    plugin.attribute_count = 1;
    plugin.create = CreateNothing;
    plugin.destroy = DestroyNothing;
    module.struct_size = sizeof(weir_module);
    module.abi_major = WEIR_ABI_MAJOR;
    module.abi_minor = WEIR_ABI_MINOR;
    module.plugins = plugins;
    module.plugin_count = 1;
  }
};

// The error of a module that `break_it` spoiled.
std::string Error(const std::function<void(Tables*)>& break_it) {
  Tables tables;
  break_it(&tables);
  PluginRegistry registry;
  const absl::Status added = registry.AddModule(&tables.module, "libacme.so");
  EXPECT_FALSE(added.ok());
  EXPECT_TRUE(registry.types().empty());
  return std::string(added.message());
}

TEST(PluginRegistryTest, AddsAGoodModule) {
  Tables tables;
  PluginRegistry registry;
  ASSERT_TRUE(registry.AddModule(&tables.module, "libacme.so").ok());
  EXPECT_THAT(registry.types(), ElementsAre("acme-scorer"));
  EXPECT_EQ(registry.Find("acme-scorer"), &tables.plugin);
  EXPECT_EQ(registry.FindEntry("acme-scorer")->origin, "libacme.so");
  EXPECT_EQ(registry.FindEntry("acme-scorer")->schema, nullptr);
}

TEST(PluginRegistryTest, VersionsAreRefusedWithBothNumbers) {
  EXPECT_EQ(
      Error([](Tables* t) { t->module.abi_major = 2, t->module.abi_minor = 1; }),
      "libacme.so: built for plugin ABI 2.1, this weir speaks 1.2; rebuild it against weir 1.x or "
      "use weir 2.x");
  EXPECT_EQ(Error([](Tables* t) { t->module.abi_minor = 7, t->module.abi_minor_min = 5; }),
            "libacme.so: needs plugin ABI 1.5 or later, this weir speaks 1.2; rebuild it for 1.2 "
            "or use a "
            "newer weir");
  // Another major is told by its numbers even if its structs have another shape.
  EXPECT_THAT(Error([](Tables* t) {
                t->module.abi_major = 3;
                t->module.struct_size = offsetof(weir_module, name);
                t->module.plugins = nullptr;
              }),
              HasSubstr("built for plugin ABI 3.2"));
  Tables newer;
  newer.module.abi_minor = 7;
  newer.module.struct_size += 64;
  PluginRegistry registry;
  EXPECT_TRUE(registry.AddModule(&newer.module, "libacme.so").ok());
}

TEST(PluginRegistryTest, MalformedTablesAreNamed) {
  const std::string acme = "libacme.so: plugins[0] \"acme-scorer\": ";
  PluginRegistry registry;
  EXPECT_EQ(registry.AddModule(nullptr, "libacme.so").message(), "libacme.so: the module is null");
  EXPECT_THAT(Error([](Tables* t) { t->module.struct_size = 8; }),
              StartsWith("libacme.so: struct_size 8"));
  EXPECT_THAT(Error([](Tables* t) { t->module.struct_size -= 8; }), HasSubstr("expected at least"));
  EXPECT_EQ(Error([](Tables* t) { t->module.plugins = nullptr; }), "libacme.so: plugins is null");
  EXPECT_EQ(Error([](Tables* t) { t->module.plugin_count = 0; }),
            "libacme.so: 0 plugins, expected 1..4096");
  EXPECT_EQ(Error([](Tables* t) {
              t->module.name = {nullptr, 4};
            }),
            "libacme.so: name: null data with a size");
  EXPECT_EQ(Error([](Tables* t) { t->plugins[0] = nullptr; }),
            "libacme.so: plugins[0]: null or too small");
  EXPECT_EQ(Error([](Tables* t) { t->plugin.struct_size = 16; }),
            "libacme.so: plugins[0]: null or too small");
  EXPECT_EQ(Error([](Tables* t) { t->plugin.type = Str("acme scorer"); }),
            "libacme.so: plugins[0]: type: \"acme scorer\", expected letters, digits, -_./");
  EXPECT_EQ(Error([](Tables* t) { t->plugin.type = {}; }), "libacme.so: plugins[0]: type: empty");
  EXPECT_EQ(Error([](Tables* t) { t->plugin.stability = 9; }), acme + "stability 9, expected 0..2");
  EXPECT_EQ(Error([](Tables* t) { t->plugin.create = nullptr; }),
            acme + "create or destroy is null");
  EXPECT_EQ(Error([](Tables* t) { t->plugin.interface_count = 0; }),
            acme + "0 interfaces, expected 1..16");
  EXPECT_EQ(Error([](Tables* t) { t->plugin.interfaces = nullptr; }), acme + "interfaces is null");
  EXPECT_EQ(Error([](Tables* t) { t->interfaces[0] = nullptr; }),
            acme + "interfaces[0]: null or too small");
  EXPECT_EQ(Error([](Tables* t) { t->interface.table = nullptr; }),
            acme + "interfaces[0]: table is null");
  EXPECT_EQ(Error([](Tables* t) { t->second.id = t->interface.id; }),
            acme + "interfaces[1]: \"weir.scorer/1\" occurs twice");
  EXPECT_EQ(Error([](Tables* t) { t->scorer.score = nullptr; }),
            acme + "weir.scorer/1: score is null");
  EXPECT_EQ(Error([](Tables* t) { t->scorer.struct_size = 8; }),
            acme + "weir.scorer/1: struct_size 8, expected at least 16");
  EXPECT_EQ(Error([](Tables* t) { t->plugin.params_schema = Str("{\"type\": 5}"); }),
            "libacme.so: \"acme-scorer\": params_schema: type: unknown type 5");
}

TEST(PluginRegistryTest, MalformedAttributesAreNamed) {
  const std::string x = "libacme.so: plugins[0] \"acme-scorer\": attributes[0]: ";
  EXPECT_EQ(Error([](Tables* t) { t->attributes[0] = nullptr; }), x + "null or too small");
  EXPECT_EQ(Error([](Tables* t) { t->attribute.name = {}; }), x + "name: empty");
  EXPECT_EQ(Error([](Tables* t) { t->attribute.flags = 64; }), x + "unknown flags 64");
  EXPECT_EQ(Error([](Tables* t) { t->attribute.flags = 0; }), x + "expected either READ or WRITE");
  EXPECT_EQ(Error([](Tables* t) { t->attribute.flags |= WEIR_ATTRIBUTE_OPTIONAL; }),
            x + "OPTIONAL is for READ");
  EXPECT_EQ(Error([](Tables* t) { t->attribute.element_bytes = 0; }),
            x + "element_bytes 0, expected 1..256");
  EXPECT_EQ(Error([](Tables* t) { t->attribute.element_bytes = 257; }),
            x + "element_bytes 257, expected 1..256");
  EXPECT_EQ(Error([](Tables* t) { t->attribute.flags |= WEIR_ATTRIBUTE_REQUEST; }),
            x + "element_bytes 8, expected 0 with REQUEST");
  EXPECT_EQ(Error([](Tables* t) { t->plugin.interface_count = 1; }),
            x + "WRITE needs the interface weir.producer/1");
}

TEST(PluginRegistryTest, ATypeExistsOnce) {
  Tables first;
  Tables second;
  PluginRegistry registry;
  ASSERT_TRUE(registry.AddModule(&first.module, "liba.so").ok());
  const absl::Status again = registry.AddModule(&second.module, "libb.so");
  EXPECT_EQ(again.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(again.message(), "libb.so: type \"acme-scorer\" exists already (liba.so)");
  EXPECT_EQ(registry.Find("acme-scorer"), &first.plugin);
}

TEST(PluginRegistryTest, AModuleIsAddedAsAWhole) {
  Tables good;
  Tables bad;
  bad.plugin.type = Str("other-scorer");
  bad.plugin.params_schema = Str("{");
  const weir_plugin* both[] = {&good.plugin, &bad.plugin};
  good.module.plugins = both;
  good.module.plugin_count = 2;
  PluginRegistry registry;
  EXPECT_FALSE(registry.AddModule(&good.module, "libacme.so").ok());
  EXPECT_TRUE(registry.types().empty());
}

TEST(PluginRegistryTest, TypesAreLimited) {
  PluginRegistry registry;
  for (uint32_t i = 0; i < kPluginTypesMax; ++i) {
    ASSERT_TRUE(registry.AddConfigured(ConfiguredKind::kParser, "t" + std::to_string(i), "").ok());
  }
  const absl::Status beyond = registry.AddConfigured(ConfiguredKind::kParser, "one-more", "");
  EXPECT_EQ(beyond.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(beyond.message(), "built in: more than 4096 plugin types");
}

TEST(LoadFileTest, LoadsALibraryOnce) {
  PluginRegistry registry;
  const std::string path = WEIR_TEST_PLUGIN_GOOD;
  ASSERT_TRUE(registry.LoadFile(path).ok());
  EXPECT_THAT(registry.types(), ElementsAre("loaded-scorer"));
  EXPECT_EQ(registry.LoadFile(path).message(),
            path + ": type \"loaded-scorer\" exists already (" + path + ")");
  PluginRegistry another;
  EXPECT_TRUE(another.LoadFile(path).ok());
}

TEST(LoadFileTest, SaysWhyALibraryDoesNotLoad) {
  PluginRegistry registry;
  const absl::Status missing = registry.LoadFile("/nowhere/libx.so");
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(missing.message(), "/nowhere/libx.so: no such file");
  EXPECT_EQ(registry.LoadFile(std::string(WEIR_TEST_PLUGIN_GOOD) + '\0' + "x").message(),
            "\"" WEIR_TEST_PLUGIN_GOOD "\\x00x\": no file has a zero byte in its name");
  EXPECT_EQ(
      registry.LoadFile(WEIR_TEST_PLUGIN_OTHER_ABI).message(),
      std::string(WEIR_TEST_PLUGIN_OTHER_ABI) +
          ": built for plugin ABI 2.1, this weir speaks 1.2; rebuild it against weir 1.x or use "
          "weir 2.x");
  EXPECT_EQ(registry.LoadFile(WEIR_TEST_PLUGIN_NO_SYMBOL).message(),
            std::string(WEIR_TEST_PLUGIN_NO_SYMBOL) +
                ": no weir plugin: it does not export weir_plugin_module");
  EXPECT_EQ(registry.LoadFile(WEIR_TEST_PLUGIN_UNLINKED).code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(registry.LoadFile(WEIR_TEST_PLUGIN_UNLINKED).message()),
              HasSubstr("nobody_defines_this"));
  EXPECT_THAT(std::string(registry.LoadFile(WEIR_SOURCE_DIR "/README.md").message()),
              HasSubstr("/README.md: "));
  EXPECT_TRUE(registry.types().empty());
}

}  // namespace
}  // namespace weir::internal
