// PipelineLoader: the section `resources`, weir's own: objectives and model rewrites where there is
// no Kubernetes.
#include "base/text.h"
#include "engine/pipeline_loader.h"
#include "weir/limits.h"
#include "wire/resource_reader.h"

namespace weir::internal {

template <class Entry>
void PipelineLoader::AddResource(std::optional<Entry> entry, const ConfigNode& node,
                                 const std::string& field, std::map<std::string, int>* lines,
                                 std::vector<Entry>* entries) {
  if (!entry.has_value()) return;
  const auto [first, is_new] = lines->emplace(entry->name, node.line);
  if (is_new) {
    entries->push_back(*std::move(entry));
  } else {
    problems_.Error(node.Find("name")->line, field + ".name",
                    Concat(Quote(entry->name), " occurs twice, first in line ", first->second));
  }
}

void PipelineLoader::ReadResources(const ConfigNode* resources) {
  const std::string field = "resources";
  if (resources == nullptr || resources->kind == ConfigNode::Kind::kNull) return;
  if (!IsMap(*resources, field)) return;
  RefuseUnknownFields(*resources, field, {"objectives", "modelRewrites", "file"});
  const std::vector<ConfigNode>& objectives =
      Items(resources->Find("objectives"), field + ".objectives");
  std::map<std::string, int> objective_lines;
  for (size_t i = 0; i < objectives.size(); ++i) {
    const std::string entry = Concat(field, ".objectives[", i, "]");
    AddResource(ReadObjective(objectives[i], ResourceForm::kInline, "", entry, &problems_),
                objectives[i], entry, &objective_lines, &spec_.resources.objectives);
  }
  const std::vector<ConfigNode>& rewrites =
      Items(resources->Find("modelRewrites"), field + ".modelRewrites");
  std::map<std::string, int> rewrite_lines;
  for (size_t i = 0; i < rewrites.size(); ++i) {
    const std::string entry = Concat(field, ".modelRewrites[", i, "]");
    AddResource(ReadModelRewrite(rewrites[i], ResourceForm::kInline, "", entry, &problems_),
                rewrites[i], entry, &rewrite_lines, &spec_.resources.rewrites);
  }
  if (const ConfigNode* file = resources->Find("file");
      file != nullptr && file->kind != ConfigNode::Kind::kNull) {
    ReadResourcesFile(*file, field + ".file");
  }
  CheckResourceLimits(*resources);
}

void PipelineLoader::CheckResourceLimits(const ConfigNode& resources) {
  const auto expect = [&](std::string_view what, size_t count, size_t max) {
    if (count <= max) return;
    problems_.Error(resources.line, "resources", Concat(count, what, ", expected at most ", max));
  };
  size_t targets = 0;
  for (const InferenceModelRewrite& one : spec_.resources.rewrites) targets += one.target_count();
  expect(" objectives", spec_.resources.objectives.size(), kObjectivesMax);
  expect(" model rewrites", spec_.resources.rewrites.size(), kRewritesMax);
  expect(" targets of model rewrites, counted per model", targets, kRewriteTargetsMax);
}

void PipelineLoader::ReadResourcesFile(const ConfigNode& file, const std::string& field) {
  if (!IsMap(file, field)) return;
  RefuseUnknownFields(file, field, {"path", "watchFile", "poolName"});
  ResourcesSource source;
  source.path = RequiredText(file, "path", field, "the path of a file").value_or("");
  const ConfigNode* watch = file.Find("watchFile");
  if (watch != nullptr && watch->kind != ConfigNode::Kind::kNull) {
    source.watch_file = watch->boolean;
    if (watch->kind != ConfigNode::Kind::kBoolean) {
      problems_.Error(watch->line, field + ".watchFile",
                      Concat(Show(*watch), ", expected true or false"));
    }
  }
  const ConfigNode* pool = file.Find("poolName");
  if (pool != nullptr && pool->kind != ConfigNode::Kind::kNull) {
    source.pool_name = RequiredText(file, "poolName", field, "the name of a pool").value_or("");
  }
  spec_.resources_file = std::move(source);
}

}  // namespace weir::internal
