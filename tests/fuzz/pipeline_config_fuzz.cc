// Configuration files: any bytes give a pipeline whose indices hold, or errors that name the file.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/pipeline_spec.h"
#include "wire/config_node.h"

namespace {

using weir::internal::ConfigNode;
using weir::internal::PipelineSpec;
using weir::internal::PluginRegistry;

void Require(bool condition) {
  if (!condition) std::abort();
}

void CheckSpec(const PipelineSpec& spec) {
  const size_t plugins = spec.plugins.size();
  Require(spec.profile_handler < plugins && !spec.profiles.empty());
  for (const auto& profile : spec.profiles) {
    Require(profile.picker < plugins);
    for (const uint32_t filter : profile.filters) Require(filter < plugins);
    for (const auto& scorer : profile.scorers) Require(scorer.plugin < plugins);
  }
  for (const auto& column : spec.columns) Require(column.producer < plugins);
  for (const auto& plugin : spec.plugins) {
    Require(!plugin.name.empty());
    for (const int32_t column : plugin.columns) {
      Require(column < static_cast<int32_t>(spec.columns.size()));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const registry = new PluginRegistry(PluginRegistry::WithBuiltins());
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<ConfigNode> node = weir::internal::ParseConfig(text, "f");
  if (!node.ok()) {
    Require(node.status().message().substr(0, 2) == "f:");
  } else {
    // What was read can be written and read again. Numbers that JSON does not have become null.
    const std::string json = node->ToJson();
    const absl::StatusOr<ConfigNode> again = weir::internal::ParseConfig(json, "f");
    Require(!again.ok() || again->ToJson() == json);
  }
  const absl::StatusOr<PipelineSpec> spec =
      weir::internal::LoadPipelineSpec(text, "f", *registry, weir::RouterOptions());
  Require(node.ok() || !spec.ok());
  if (spec.ok()) {
    CheckSpec(*spec);
  } else {
    Require(spec.status().message().substr(0, 2) == "f:");
  }
  return 0;
}
