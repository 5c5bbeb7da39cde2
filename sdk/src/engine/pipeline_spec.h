// engine/pipeline_spec.h: an EndpointPickerConfig, read strictly, defaults filled in, every name
// resolved. What the engine builds its pipeline from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugin/registry.h"
#include "weir/options.h"
#include "weir/resources.h"
#include "weir/router.h"
#include "weir/status.h"
#include "wire/config_node.h"

namespace weir::internal {

// A column of the pipeline: an attribute of one producer instance.
struct ColumnSpec {
  std::string name;           // e.g. "PrefixCacheMatchInfoDataKey"
  std::string producer_name;  // instance
  std::string type;
  uint32_t element_bytes = 0;
  uint32_t producer = 0;  // index into plugins
};

struct PluginSpec {
  std::string name;
  std::string type;
  ConfigNode parameters;                    // a map
  std::string field;                        // "plugins[2].parameters" or "" for added plugins
  bool added = false;                       // by a default, not by the file
  const weir_plugin* descriptor = nullptr;  // null for data layer and parser types
  // Per declared attribute: index into columns, or -1 (optional and nobody writes it, or an
  // attribute of the request).
  std::vector<int32_t> columns;
};

struct ProfileSpec {
  struct Scorer {
    uint32_t plugin = 0;
    double weight = 1;
  };
  std::string name;
  std::vector<uint32_t> filters;  // in order; indices into plugins
  std::vector<Scorer> scorers;
  uint32_t picker = 0;
};

struct PipelineSpec {
  std::string file;                 // for errors of later steps
  std::vector<PluginSpec> plugins;  // file order, then added ones
  std::vector<ColumnSpec> columns;
  std::vector<uint32_t> producers;  // in the order they run
  std::vector<ProfileSpec> profiles;
  uint32_t profile_handler = 0;
  // Data sources, each before its extractors, and the discovery, in file order; added ones last.
  std::vector<uint32_t> data_layer;
  std::vector<uint32_t> parsers;  // in the order they are asked
  std::string discovery_plugin;   // instance name or empty
  Resources resources;            // of the file itself
  std::optional<ResourcesSource> resources_file;
  std::vector<std::string> warnings;  // one line each
};

// The pipeline of a router without a file.
std::string_view DefaultPipelineText();

// Reads, completes and checks a pipeline. Every error found is one line of the text:
//   pipeline.yaml:14: schedulingProfiles[0].plugins[2].pluginRef: "prefx-cache-scorer" is not a
//   plugin of this file; did you mean "prefix-cache-scorer"?   (in one line)
// An empty text is DefaultPipelineText(). The text of a plugin's own create is not among the
// errors: PluginInstance::Create finds it later. Errors: kInvalidArgument; kUnimplemented if all it
// lacks is a type of a later version. [control]
absl::StatusOr<PipelineSpec> LoadPipelineSpec(std::string_view text, const std::string& file,
                                              const PluginRegistry& registry,
                                              const RouterOptions& options);

}  // namespace weir::internal
