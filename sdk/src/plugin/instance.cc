#include "plugin/instance.h"

#include "base/text.h"
#include "plugin/params.h"
#include "plugin/registry.h"
#include "plugin/schema.h"
#include "wire/config_problems.h"

namespace weir::internal {

PluginInstance::PluginInstance(const weir_plugin& plugin, std::string name)
    : plugin_(plugin),
      name_(std::move(name)),
      filter_(FindInterface<weir_filter>(plugin, WEIR_INTERFACE_FILTER)),
      scorer_(FindInterface<weir_scorer>(plugin, WEIR_INTERFACE_SCORER)),
      picker_(FindInterface<weir_picker>(plugin, WEIR_INTERFACE_PICKER)),
      profile_handler_(FindInterface<weir_profile_handler>(plugin, WEIR_INTERFACE_PROFILE_HANDLER)),
      producer_(FindInterface<weir_producer>(plugin, WEIR_INTERFACE_PRODUCER)),
      observer_(FindInterface<weir_observer>(plugin, WEIR_INTERFACE_OBSERVER)) {}

PluginInstance::~PluginInstance() {
  if (created_) plugin_.destroy(self_);
}

absl::StatusOr<std::unique_ptr<PluginInstance>> PluginInstance::Create(
    const weir_plugin& plugin, const std::string& name, const ConfigNode& parameters,
    const std::string& file, const std::string& field, const weir_host& host,
    std::vector<std::string>* warnings) {
  ConfigProblems problems(file);
  const std::string& where = field.empty() ? name : field;
  const bool has_schema = plugin.params_schema.size > 0;
  if (parameters.kind != ConfigNode::Kind::kMap && parameters.kind != ConfigNode::Kind::kNull) {
    problems.Error(parameters.line, where, Concat(Show(parameters), ", expected a map"));
  } else if (has_schema) {
    const absl::StatusOr<ParameterSchema> schema =
        ParameterSchema::Compile({plugin.params_schema.data, plugin.params_schema.size});
    if (!schema.ok()) return schema.status();
    schema->Check(parameters, where, &problems);
  }
  if (problems.failed()) return problems.ToStatus();

  std::unique_ptr<PluginInstance> instance(new PluginInstance(plugin, name));
  const std::string json =
      parameters.kind == ConfigNode::Kind::kMap ? parameters.ToJson() : std::string("{}");
  ParamReader reader(parameters, json, instance->name_, host, plugin);
  for (uint64_t i = 0; i < plugin.attribute_count; ++i) {
    // Names a producer; the host reads it.
    const weir_str parameter = plugin.attributes[i]->producer_parameter;
    if (parameter.size > 0) reader.Read(parameter);
  }
  const weir_code code = plugin.create(reader.raw(), &instance->self_);
  instance->created_ = code == WEIR_OK;
  reader.Report(code, !has_schema, where, &problems);
  if (problems.failed()) return problems.ToStatus();
  if (warnings != nullptr) {
    for (std::string& warning : problems.warnings()) warnings->push_back(std::move(warning));
  }
  return instance;
}

}  // namespace weir::internal
