// wire/resource_reader.h: objectives and model rewrites as a configuration writes them. Manifests
// and pipeline files share it; weir::ParseResources reads whole files of manifests.
#pragma once

#include <optional>
#include <string>

#include "weir/resources.h"
#include "wire/config_node.h"
#include "wire/config_problems.h"

namespace weir::internal {

// Where the name of an entry stands: beside its other fields, or in the manifest around them.
enum class ResourceForm { kInline, kManifest };

// Each reads a map and reports everything wrong with it; nothing if there was an error. `name` is
// that of the manifest, empty for kInline. [control]
std::optional<InferenceObjective> ReadObjective(const ConfigNode& map, ResourceForm form,
                                                const std::string& name, const std::string& field,
                                                ConfigProblems* problems);
std::optional<InferenceModelRewrite> ReadModelRewrite(const ConfigNode& map, ResourceForm form,
                                                      const std::string& name,
                                                      const std::string& field,
                                                      ConfigProblems* problems);

// The elements of a list, none if it is absent; another kind is reported.
const std::vector<ConfigNode>& ListItems(const ConfigNode* node, const std::string& field,
                                         ConfigProblems* problems);

}  // namespace weir::internal
