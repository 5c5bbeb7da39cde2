// engine/pipeline_loader.h: the steps from a configuration text to a PipelineSpec.
#pragma once

#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/known_types.h"
#include "engine/pipeline_spec.h"
#include "plugin/registry.h"
#include "weir/options.h"
#include "weir/status.h"
#include "wire/config_node.h"
#include "wire/config_problems.h"

namespace weir::internal {

// Reads one file. Each step reports what it finds wrong and goes on, so that one reading names all
// errors; a plugin whose type this process does not have is opaque to later steps: it may be
// anything, and nothing is said about what it might provide. Used once. [control]
class PipelineLoader {
 public:
  PipelineLoader(const std::string& file, const PluginRegistry& registry,
                 const RouterOptions& options);

  absl::StatusOr<PipelineSpec> Load(const ConfigNode& root);

 private:
  // What the loader knows of a plugin beside its PluginSpec; same index.
  struct Facts {
    uint32_t roles = 0;
    bool opaque = false;
    int line = 0;
    std::string entry;             // "plugins[2]", or the name of an added plugin
    std::vector<int32_t> writers;  // per attribute that it reads: the producer's index, or -1
  };
  struct FieldRule;

  // The file (pipeline_reader.cc).
  void ReadHeader(const ConfigNode& root);
  void ReadFeatureGates(const ConfigNode* gates);
  void ReadPlugins(const ConfigNode* plugins);
  void ReadPlugin(const ConfigNode& entry, const std::string& field);
  void ResolveType(const ConfigNode& type, const std::string& field, PluginSpec* plugin,
                   Facts* facts);
  // The alpha check and the deprecation warning. `name` is the instance's.
  void CheckStability(const PluginRegistry::Entry& entry, const std::string& type,
                      const std::string& name, int line, const std::string& field);
  void RefuseExperimental(const std::string& type, const std::string& name, int line,
                          const std::string& field);
  void CheckFlowControlType(const KnownType& type, const PluginSpec& plugin, int line,
                            const std::string& field);

  // Sections that name plugins (pipeline_sections.cc).
  void ReadProfiles(const ConfigNode* profiles);
  void ReadProfile(const ConfigNode& entry, const std::string& field);
  void ReadProfilePlugin(const ConfigNode& entry, const std::string& field, ProfileSpec* profile);
  void ReadDataLayer(const ConfigNode* data_layer);
  void ReadSource(const ConfigNode& entry, const std::string& field);
  void ReadParsers(const ConfigNode& root);
  void ReadParser(const ConfigNode& entry, const std::string& field);
  void ReadFlowControl(const ConfigNode& root);
  void CheckFields(const ConfigNode& node, const std::string& field,
                   std::initializer_list<FieldRule> rules);
  void CheckField(const FieldRule& rule, const ConfigNode& value, const std::string& field);

  // Objectives and model rewrites (pipeline_resources.cc).
  void ReadResources(const ConfigNode* resources);
  template <class Entry>
  void AddResource(std::optional<Entry> entry, const ConfigNode& node, const std::string& field,
                   std::map<std::string, int>* lines, std::vector<Entry>* entries);
  void CheckResourceLimits(const ConfigNode& resources);
  void ReadResourcesFile(const ConfigNode& file, const std::string& field);

  // What the file leaves out (pipeline_defaults.cc).
  void AddDefaultProfile();
  void AddDefaultPicker();
  void AddDefaultDataLayer();
  void AddDefaultParsers();
  void CheckProfileHandler();
  void CheckMetricsReaders();
  void CheckExtractors();
  void CheckLimits();
  std::optional<uint32_t> AddPlugin(std::string_view type, std::string_view why);

  // Attributes (pipeline_binding.cc).
  void BindAttributes();
  void BindAttribute(uint32_t reader, uint64_t attribute, bool may_add);
  std::optional<uint32_t> NamedWriter(uint32_t reader, const weir_attribute& attribute,
                                      const ConfigNode& name);
  std::optional<uint32_t> OnlyWriter(uint32_t reader, const weir_attribute& attribute) const;
  std::optional<uint32_t> DefaultWriter(uint32_t reader, const weir_attribute& attribute,
                                        bool may_add);
  void CheckBinding(uint32_t reader, uint32_t writer, const weir_attribute& attribute);
  void MakeColumns();
  void OrderProducers();
  void ReportCycle(const std::vector<bool>& done);

  // Helpers.
  bool IsMap(const ConfigNode& node, const std::string& field);
  // The elements of a list, none if `node` is null, absent or no list (which is reported).
  const std::vector<ConfigNode>& Items(const ConfigNode* node, const std::string& field);
  void RefuseUnknownFields(const ConfigNode& node, const std::string& field,
                           std::initializer_list<std::string_view> known);
  // The text of a member that must be there and not be empty.
  std::optional<std::string> RequiredText(const ConfigNode& map, std::string_view key,
                                          const std::string& field, std::string_view expected);
  // The plugin that map[key] names, which must have one of the roles.
  std::optional<uint32_t> Reference(const ConfigNode& map, std::string_view key,
                                    const std::string& field, uint32_t roles,
                                    std::string_view expected);
  void ReportUnknownReference(const ConfigNode& name, const std::string& field);
  // A policy of flow control by its name. Those that flow control makes by itself need no plugin.
  void CheckPolicy(const ConfigNode& name, const std::string& field, uint32_t role,
                   std::string_view expected);
  std::optional<uint32_t> FindByType(std::string_view type) const;
  bool AnyOpaque() const;
  bool HasRole(uint32_t plugin, uint32_t role) const { return (facts_[plugin].roles & role) != 0; }
  std::string Name(uint32_t plugin) const { return Quote(spec_.plugins[plugin].name); }
  // DidYouMean, while its text would still be shown.
  std::string Suggest(std::string_view name, std::span<const std::string_view> candidates) const;
  void NotBuilt(int line, const std::string& field, std::string_view what);

  const PluginRegistry& registry_;
  const RouterOptions& options_;
  ConfigProblems problems_;
  PipelineSpec spec_;
  std::vector<Facts> facts_;
  std::map<std::string, uint32_t, std::less<>> by_name_;
  std::vector<bool> profile_has_picker_;
  std::vector<uint32_t> sources_;  // data sources that dataLayer lists
  bool profiles_given_ = false;
  bool parsers_given_ = false;
  bool inject_data_layer_ = true;
  bool flow_control_ = false;
};

}  // namespace weir::internal
