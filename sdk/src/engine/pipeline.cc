#include "engine/pipeline.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace weir::internal {
namespace {

absl::Status TooMany(const PipelineSpec& spec, std::string_view what, size_t count, uint32_t max) {
  return absl::ResourceExhaustedError(
      absl::StrCat(spec.file, ": ", count, " ", std::string(what), ", expected at most ", max));
}

absl::Status CheckLimits(const PipelineSpec& spec) {
  if (spec.plugins.size() > kPluginsMax) {
    return TooMany(spec, "plugins", spec.plugins.size(), kPluginsMax);
  }
  if (spec.profiles.size() > kProfilesMax) {
    return TooMany(spec, "schedulingProfiles", spec.profiles.size(), kProfilesMax);
  }
  if (spec.columns.size() > kAttributesMax) {
    return TooMany(spec, "attributes", spec.columns.size(), kAttributesMax);
  }
  for (const ProfileSpec& profile : spec.profiles) {
    const size_t steps = profile.filters.size() + profile.scorers.size();
    if (steps > kPluginsPerProfileMax) {
      return TooMany(spec, absl::StrCat("filters and scorers in profile \"", profile.name, "\""),
                     steps, kPluginsPerProfileMax);
    }
  }
  return absl::OkStatus();
}

bool WritesTokens(const weir_plugin& plugin) {
  for (uint64_t i = 0; i < plugin.attribute_count; ++i) {
    const weir_attribute& attribute = *plugin.attributes[i];
    constexpr uint32_t kBoth = WEIR_ATTRIBUTE_WRITE | WEIR_ATTRIBUTE_REQUEST;
    if ((attribute.flags & kBoth) == kBoth) return true;
  }
  return false;
}

uint64_t RequiredColumns(const PluginSpec& plugin) {
  static_assert(kAttributesPerTypeMax <= 64);
  uint64_t required = 0;
  for (size_t i = 0; plugin.descriptor != nullptr && i < plugin.columns.size(); ++i) {
    const uint32_t flags = plugin.descriptor->attributes[i]->flags;
    const bool reads = (flags & WEIR_ATTRIBUTE_READ) != 0 && (flags & WEIR_ATTRIBUTE_OPTIONAL) == 0;
    if (reads && plugin.columns[i] >= 0) required |= uint64_t{1} << i;
  }
  return required;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Pipeline>> Pipeline::Create(PipelineSpec spec,
                                                           const weir_host& host) {
  if (absl::Status status = CheckLimits(spec); !status.ok()) return status;
  auto pipeline = std::make_unique<Pipeline>();
  std::vector<std::string> errors;
  uint32_t flight_bytes = 0;
  for (uint32_t i = 0; i < spec.plugins.size(); ++i) {
    const PluginSpec& plugin = spec.plugins[i];
    pipeline->writes_tokens.push_back(plugin.descriptor != nullptr &&
                                      WritesTokens(*plugin.descriptor));
    pipeline->required_columns.push_back(RequiredColumns(plugin));
    if (plugin.descriptor == nullptr) {
      pipeline->instances.push_back(nullptr);
      continue;
    }
    auto instance = PluginInstance::Create(*plugin.descriptor, plugin.name, plugin.parameters,
                                           spec.file, plugin.field, host, nullptr);
    if (!instance.ok()) {
      errors.emplace_back(instance.status().message());
      continue;
    }
    if (const weir_observer* observer = (*instance)->observer()) {
      pipeline->observers.push_back({i, flight_bytes});
      flight_bytes += (std::min(observer->flight_state_bytes, kFlightStateBytesMax + 1) + 7) & ~7u;
      if (observer->flight_state_bytes > kFlightStateBytesMax ||
          flight_bytes > kFlightStateTotalBytesMax) {
        errors.push_back(absl::StrCat(
            spec.file, ": plugin \"", plugin.name, "\" asks for ", observer->flight_state_bytes,
            " bytes per request in flight, expected at most ", kFlightStateBytesMax, " and ",
            kFlightStateTotalBytesMax, " in all"));
      }
    }
    pipeline->instances.push_back(*std::move(instance));
  }
  if (!errors.empty()) return absl::InvalidArgumentError(absl::StrJoin(errors, "\n"));

  for (const ProfileSpec& from : spec.profiles) {
    Profile profile{from.name, from.filters, {}, from.picker, {}};
    const auto add_columns = [&](uint32_t plugin) {
      for (const int32_t column : spec.plugins[plugin].columns) {
        if (column >= 0) profile.columns.push_back(static_cast<uint32_t>(column));
      }
    };
    for (const ProfileSpec::Scorer& scorer : from.scorers) {
      profile.scorers.push_back({scorer.plugin, scorer.weight});
      add_columns(scorer.plugin);
    }
    add_columns(from.picker);
    std::sort(profile.columns.begin(), profile.columns.end());
    profile.columns.erase(std::unique(profile.columns.begin(), profile.columns.end()),
                          profile.columns.end());
    pipeline->profiles.push_back(std::move(profile));
  }
  for (uint32_t i = 0; i < spec.columns.size(); ++i) {
    if (pipeline->instances[spec.columns[i].producer] == nullptr) {
      pipeline->scraped_columns.push_back(i);
    }
  }
  pipeline->spec = std::move(spec);
  for (const Profile& profile : pipeline->profiles) {
    pipeline->profile_names.push_back({profile.name.data(), profile.name.size()});
  }
  return pipeline;
}

}  // namespace weir::internal
