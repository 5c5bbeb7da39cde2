// plugin/instance.h: one configured plugin.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weir/plugin/abi.h"
#include "weir/status.h"
#include "wire/config_node.h"

namespace weir::internal {

// Owns a plugin's object; destroys it. Hot calls go straight to the tables.
class PluginInstance {
 public:
  // Validates `parameters` (a map or null) against the type's schema, or against the keys it reads
  // where it has none, and creates the object. Each error text names file, line and field:
  //   pipeline.yaml:15: plugins[2].parameters.threshold: -1, expected >= 0
  // where "plugins[2].parameters" is `field`. `warnings` (may be null) collects deprecated and
  // unknown parameters of types whose schema allows them, each as such a text; LoadPipelineSpec
  // has reported the same. Errors: kInvalidArgument.
  static absl::StatusOr<std::unique_ptr<PluginInstance>> Create(
      const weir_plugin& plugin, const std::string& name, const ConfigNode& parameters,
      const std::string& file, const std::string& field, const weir_host& host,
      std::vector<std::string>* warnings);
  ~PluginInstance();
  PluginInstance(const PluginInstance&) = delete;
  PluginInstance& operator=(const PluginInstance&) = delete;

  const weir_plugin& plugin() const { return plugin_; }
  const std::string& name() const { return name_; }
  void* self() const { return self_; }
  // Null where the plugin does not offer the interface.
  const weir_filter* filter() const { return filter_; }
  const weir_scorer* scorer() const { return scorer_; }
  const weir_picker* picker() const { return picker_; }
  const weir_profile_handler* profile_handler() const { return profile_handler_; }
  const weir_producer* producer() const { return producer_; }
  const weir_observer* observer() const { return observer_; }

 private:
  PluginInstance(const weir_plugin& plugin, std::string name);

  const weir_plugin& plugin_;
  std::string name_;
  void* self_ = nullptr;
  bool created_ = false;
  const weir_filter* filter_ = nullptr;
  const weir_scorer* scorer_ = nullptr;
  const weir_picker* picker_ = nullptr;
  const weir_profile_handler* profile_handler_ = nullptr;
  const weir_producer* producer_ = nullptr;
  const weir_observer* observer_ = nullptr;
};

// A host table whose param_ slots work; `log` drops, the hot slots are null and the caller's to
// set.
weir_host ParamHost();

}  // namespace weir::internal
