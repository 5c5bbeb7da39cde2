#include "engine/pipeline_spec.h"

#include "engine/pipeline_loader.h"

namespace weir::internal {

std::string_view DefaultPipelineText() {
  return R"(apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
)";
}

absl::StatusOr<PipelineSpec> LoadPipelineSpec(std::string_view text, const std::string& file,
                                              const PluginRegistry& registry,
                                              const RouterOptions& options) {
  absl::StatusOr<ConfigNode> root = ParseConfig(text, file);
  if (root.ok() && root->kind == ConfigNode::Kind::kNull) {
    root = ParseConfig(DefaultPipelineText(), file);
  }
  if (!root.ok()) return root.status();
  return PipelineLoader(file, registry, options).Load(*root);
}

PipelineLoader::PipelineLoader(const std::string& file, const PluginRegistry& registry,
                               const RouterOptions& options)
    : registry_(registry), options_(options), problems_(file) {
  spec_.file = file;
}

absl::StatusOr<PipelineSpec> PipelineLoader::Load(const ConfigNode& root) {
  if (!IsMap(root, "")) return problems_.ToStatus();
  ReadHeader(root);
  ReadFeatureGates(root.Find("featureGates"));
  ReadPlugins(root.Find("plugins"));
  ReadParsers(root);  // may add plugins, which profiles may name
  ReadProfiles(root.Find("schedulingProfiles"));
  ReadDataLayer(root.Find("dataLayer"));
  ReadFlowControl(root);
  ReadResources(root.Find("resources"));

  AddDefaultProfile();
  CheckProfileHandler();
  AddDefaultPicker();
  AddDefaultDataLayer();
  AddDefaultParsers();
  CheckMetricsReaders();
  BindAttributes();
  CheckExtractors();
  MakeColumns();
  OrderProducers();
  CheckLimits();
  if (problems_.failed()) return problems_.ToStatus();
  spec_.warnings = problems_.warnings();
  return std::move(spec_);
}

}  // namespace weir::internal
