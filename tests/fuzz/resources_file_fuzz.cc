// Any bytes as a file of manifests: what comes out can be used, what does not is explained.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "weir/resources.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file =
      weir::ParseResources({reinterpret_cast<const char*>(data), size}, "resources.yaml");
  if (!file.ok()) {
    if (file.status().message().empty()) std::abort();
    return 0;
  }
  if (file->problems.size() > weir::kResourceProblemsMax + 1) std::abort();
  for (const std::string& problem : file->problems) {
    for (const char c : problem) {
      if (static_cast<unsigned char>(c) < 0x20) std::abort();
    }
  }
  const bool within = file->resources.objectives.size() <= weir::kObjectivesMax &&
                      file->resources.rewrites.size() <= weir::kRewritesMax;
  weir::ResourceStore store;
  const absl::Status status = store.Replace(file->resources);
  if (within && !status.ok() && status.message().find("targets") == absl::string_view::npos) {
    std::abort();
  }
  const auto table = store.table();
  for (const weir::InferenceObjective& one : file->resources.objectives) {
    if (within && table->Priority(one.name) != one.priority) std::abort();
  }
  for (const weir::InferenceModelRewrite& one : file->resources.rewrites) {
    for (const auto& rule : one.rules) {
      const std::string_view model = rule.models.empty() ? "" : std::string_view(rule.models[0]);
      if (status.ok() && !table->Rewrite(model, 0.5).has_value()) std::abort();
    }
  }
  return 0;
}
