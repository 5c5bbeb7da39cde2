// The YAML file of --config as CLI11 reads it: flag names as keys, scalars or lists as values.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace weir::sim {

class YamlConfig final : public CLI::Config {
 public:
  std::string to_config(const CLI::App* app, bool defaults, bool descriptions,
                        std::string prefix) const override;
  // Throws CLI::ConfigError for a file that is not a map of scalars and lists.
  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override;
};

}  // namespace weir::sim
