#include "config_file.h"

#include <yaml-cpp/yaml.h>

namespace weir::sim {
namespace {

// JSON objects inside lists (adapters) become text again.
std::string TextOf(const YAML::Node& node) {
  if (node.IsScalar()) return node.Scalar();
  YAML::Emitter emitter;
  emitter.SetMapFormat(YAML::Flow);
  emitter.SetSeqFormat(YAML::Flow);
  emitter.SetStringFormat(YAML::DoubleQuoted);
  emitter << node;
  return emitter.c_str();
}

}  // namespace

std::string YamlConfig::to_config(const CLI::App*, bool, bool, std::string) const { return ""; }

std::vector<CLI::ConfigItem> YamlConfig::from_config(std::istream& input) const {
  std::vector<CLI::ConfigItem> items;
  try {
    const YAML::Node root = YAML::Load(input);
    if (root.IsNull()) return items;
    if (!root.IsMap()) throw CLI::ConfigError("the file is not a map of flag names");
    for (const auto& entry : root) {
      CLI::ConfigItem item;
      item.name = entry.first.as<std::string>();
      if (entry.second.IsSequence()) {
        for (const YAML::Node& each : entry.second) item.inputs.push_back(TextOf(each));
      } else if (!entry.second.IsNull()) {
        item.inputs.push_back(TextOf(entry.second));
      }
      items.push_back(std::move(item));
    }
  } catch (const YAML::Exception& error) {
    throw CLI::ConfigError(error.what());
  }
  return items;
}

}  // namespace weir::sim
