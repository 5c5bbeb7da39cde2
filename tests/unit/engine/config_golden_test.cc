// The cases of tests/golden/config/*.json: a configuration and what becomes of it.
//   id          what errors of this test name
//   yaml, file  the text as lines (apiVersion and kind are put before it unless the case says
//               "whole": true), or a file beside the JSON; its name in errors is "p.yaml"
//   experimental  allow experimental plugins
//   status      "ok" or the code
//   error       lines of the error text, all of them
//   warnings, plugins, added, data_layer, parsers, producers, discovery
//               what PipelineSpec holds, plugins by name
//   profiles    {name: {filters: [...], scorers: {name: weight}, picker: name}}
//   bound       {"reader.Attribute": producer}
//   objectives  {name: priority}
//   rewrites    {name: ["models -> target:weight ..."]}
//   resources_file  "path", and " watched" and " pool" if given
// What a case does not name is not compared. Every plugin of a good file is created as well, errors
// of that are the case's errors.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "absl/strings/str_join.h"
#include "engine/pipeline_spec.h"
#include "plugin/instance.h"
#include "test_types.h"

namespace weir::internal {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kHeader[] = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";

std::filesystem::path Folder() {
  return std::filesystem::path(WEIR_SOURCE_DIR) / "tests/golden/config";
}

std::string ReadText(const std::filesystem::path& path) {
  std::ifstream stream(path);
  EXPECT_TRUE(stream.good()) << path;
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::string TextOf(const Json& one) {
  if (one.contains("file")) return ReadText(Folder() / one["file"].get<std::string>());
  std::string text = one.value("whole", false) ? "" : kHeader;
  for (const Json& line : one["yaml"]) text += line.get<std::string>() + "\n";
  return text;
}

// Creates every plugin, as the engine does.
absl::Status CreateAll(const PipelineSpec& spec) {
  const weir_host host = ParamHost();
  std::vector<std::string> errors;
  for (const PluginSpec& plugin : spec.plugins) {
    if (plugin.descriptor == nullptr) continue;
    const auto instance = PluginInstance::Create(*plugin.descriptor, plugin.name, plugin.parameters,
                                                 spec.file, plugin.field, host, nullptr);
    if (!instance.ok()) errors.emplace_back(instance.status().message());
  }
  return errors.empty() ? absl::OkStatus()
                        : absl::InvalidArgumentError(absl::StrJoin(errors, "\n"));
}

Json NamesOf(const PipelineSpec& spec, const std::vector<uint32_t>& plugins) {
  Json names = Json::array();
  for (const uint32_t plugin : plugins) names.push_back(spec.plugins[plugin].name);
  return names;
}

Json PluginsOf(const PipelineSpec& spec, bool added_only) {
  Json names = Json::array();
  for (const PluginSpec& plugin : spec.plugins) {
    if (!added_only || plugin.added) names.push_back(plugin.name);
  }
  return names;
}

Json ProfilesOf(const PipelineSpec& spec) {
  Json profiles = Json::object();
  for (const ProfileSpec& profile : spec.profiles) {
    Json scorers = Json::object();
    for (const auto& scorer : profile.scorers) {
      scorers[spec.plugins[scorer.plugin].name] = scorer.weight;
    }
    profiles[profile.name] = {{"filters", NamesOf(spec, profile.filters)},
                              {"scorers", scorers},
                              {"picker", spec.plugins[profile.picker].name}};
  }
  return profiles;
}

Json BoundOf(const PipelineSpec& spec) {
  Json bound = Json::object();
  for (const PluginSpec& plugin : spec.plugins) {
    for (size_t a = 0; a < plugin.columns.size(); ++a) {
      const weir_attribute& attribute = *plugin.descriptor->attributes[a];
      if ((attribute.flags & WEIR_ATTRIBUTE_READ) == 0 || plugin.columns[a] < 0) continue;
      const ColumnSpec& column = spec.columns[plugin.columns[a]];
      EXPECT_EQ(spec.plugins[column.producer].name, column.producer_name);
      bound[plugin.name + "." + column.name] = column.producer_name;
    }
  }
  return bound;
}

Json ObjectivesOf(const PipelineSpec& spec) {
  Json objectives = Json::object();
  for (const InferenceObjective& one : spec.resources.objectives) {
    objectives[one.name] = one.priority;
  }
  return objectives;
}

Json RewritesOf(const PipelineSpec& spec) {
  Json rewrites = Json::object();
  for (const InferenceModelRewrite& one : spec.resources.rewrites) {
    rewrites[one.name] = Json::array();
    for (const InferenceModelRewrite::Rule& rule : one.rules) {
      std::string text = rule.models.empty() ? "*" : absl::StrJoin(rule.models, ",");
      text += " ->";
      for (const InferenceModelRewrite::Target& target : rule.targets) {
        text += " " + target.model;
        if (target.weight) text += ":" + std::to_string(*target.weight);
      }
      rewrites[one.name].push_back(text);
    }
  }
  return rewrites;
}

std::string ResourcesFileOf(const PipelineSpec& spec) {
  if (!spec.resources_file.has_value()) return "";
  const ResourcesSource& file = *spec.resources_file;
  return file.path + (file.watch_file ? " watched" : "") +
         (file.pool_name.empty() ? "" : " " + file.pool_name);
}

Json Actual(const PipelineSpec& spec) {
  return {{"plugins", PluginsOf(spec, false)},
          {"added", PluginsOf(spec, true)},
          {"profiles", ProfilesOf(spec)},
          {"profile_handler", spec.plugins[spec.profile_handler].name},
          {"data_layer", NamesOf(spec, spec.data_layer)},
          {"parsers", NamesOf(spec, spec.parsers)},
          {"producers", NamesOf(spec, spec.producers)},
          {"discovery", spec.discovery_plugin},
          {"warnings", spec.warnings},
          {"bound", BoundOf(spec)},
          {"objectives", ObjectivesOf(spec)},
          {"rewrites", RewritesOf(spec)},
          {"resources_file", ResourcesFileOf(spec)}};
}

Json Lines(std::string_view text) {
  Json lines = Json::array();
  std::stringstream stream{std::string(text)};
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

void RunCase(const Json& one) {
  const PluginRegistry registry = TestRegistry();
  RouterOptions options;
  options.allow_experimental_plugins = one.value("experimental", false);
  const absl::StatusOr<PipelineSpec> spec =
      LoadPipelineSpec(TextOf(one), "p.yaml", registry, options);
  const absl::Status status = spec.ok() ? CreateAll(*spec) : spec.status();
  EXPECT_EQ(CodeName(static_cast<Code>(status.code())), one.value("status", "ok"));
  const Json error = Lines(std::string(status.message()));
  if (!status.ok() || one.contains("error")) {
    EXPECT_EQ(one.value("error", Json::array()), error) << "got " << error.dump(2);
  }
  if (!spec.ok()) return;
  const Json actual = Actual(*spec);
  for (const auto& [key, value] : one.items()) {
    if (actual.contains(key)) {
      EXPECT_EQ(value, actual[key]) << key << ": got " << actual[key].dump();
    }
  }
}

void RunFile(const std::string& name) {
  const Json cases = Json::parse(ReadText(Folder() / name));
  static const std::set<std::string> kKeys = {"id",
                                              "why",
                                              "yaml",
                                              "file",
                                              "whole",
                                              "experimental",
                                              "status",
                                              "error",
                                              "warnings",
                                              "plugins",
                                              "added",
                                              "data_layer",
                                              "parsers",
                                              "bound",
                                              "profiles",
                                              "profile_handler",
                                              "discovery",
                                              "producers",
                                              "objectives",
                                              "rewrites",
                                              "resources_file"};
  std::set<std::string> ids;
  for (const Json& one : cases) {
    SCOPED_TRACE(one["id"].get<std::string>());
    EXPECT_TRUE(ids.insert(one["id"].get<std::string>()).second);
    for (const auto& [key, value] : one.items()) EXPECT_TRUE(kKeys.contains(key)) << key;
    RunCase(one);
  }
}

TEST(ConfigGoldenTest, Examples) { RunFile("examples.json"); }
TEST(ConfigGoldenTest, Rules) { RunFile("rules.json"); }
TEST(ConfigGoldenTest, Errors) { RunFile("errors.json"); }
TEST(ConfigGoldenTest, FlowControl) { RunFile("flow_control.json"); }
TEST(ConfigGoldenTest, Resources) { RunFile("resources.json"); }
TEST(ConfigGoldenTest, Samples) { RunFile("samples.json"); }

}  // namespace
}  // namespace weir::internal
