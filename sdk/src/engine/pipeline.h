// engine/pipeline.h: a PipelineSpec with its plugins made, in the form decisions walk through.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/pipeline_spec.h"
#include "plugin/instance.h"
#include "weir/limits.h"

namespace weir::internal {

struct Pipeline {
  struct Scorer {
    uint32_t plugin;
    double weight;
  };
  struct Profile {
    std::string name;
    std::vector<uint32_t> filters;
    std::vector<Scorer> scorers;
    uint32_t picker;
    std::vector<uint32_t> columns;  // that its scorers and picker read
  };
  struct Observer {
    uint32_t plugin;
    uint32_t state_offset;  // in FlightState::observer_bytes
  };

  PipelineSpec spec;
  std::vector<std::unique_ptr<PluginInstance>> instances;  // as spec.plugins, null: no descriptor
  std::vector<bool> writes_tokens;                         // per plugin
  // Per plugin a bit for each declared attribute whose column must be there when it is asked.
  std::vector<uint64_t> required_columns;
  std::vector<Profile> profiles;
  std::vector<weir_str> profile_names;
  std::vector<Observer> observers;
  std::vector<uint32_t> scraped_columns;  // that no plugin here writes; as the pool's attributes

  // Makes the plugins. Errors: kInvalidArgument, one line per bad parameter; kResourceExhausted
  // (kPluginsMax, kProfilesMax, flight state). Warnings go to spec.warnings.
  static absl::StatusOr<std::unique_ptr<Pipeline>> Create(PipelineSpec spec, const weir_host& host);
};

}  // namespace weir::internal
