// PipelineLoader: who produces what for whom, and in which order producers run.
#include <algorithm>

#include "absl/strings/str_join.h"
#include "base/text.h"
#include "engine/known_types.h"
#include "engine/pipeline_loader.h"

namespace weir::internal {
namespace {

std::string_view View(weir_str text) { return {text.data, text.size}; }

bool Has(const weir_attribute& attribute, uint32_t flag) { return (attribute.flags & flag) != 0; }

constexpr weir_str Text(std::string_view text) { return {text.data(), text.size()}; }

// What extractors write, which run outside of the engine: values scraped per endpoint.
struct ScrapedAttribute {
  std::string_view extractor_type;
  weir_attribute attribute;
};
constexpr weir_attribute ScrapedValue(std::string_view name) {
  return {sizeof(weir_attribute), WEIR_ATTRIBUTE_WRITE, Text(name), Text("f64"), sizeof(double), 0,
          {nullptr, 0},           {nullptr, 0}};
}
constexpr ScrapedAttribute kScrapedAttributes[] = {
    {"multicluster-metrics-extractor", ScrapedValue("llm-d.ai/multicluster-queue-size")},
    {"multicluster-metrics-extractor", ScrapedValue("llm-d.ai/multicluster-kv-cache-utilization")},
};

// The attribute of this name that the plugin writes, null if it does not.
const weir_attribute* FindWritten(const PluginSpec& plugin, std::string_view name) {
  if (plugin.descriptor == nullptr) {
    for (const ScrapedAttribute& one : kScrapedAttributes) {
      if (one.extractor_type == plugin.type && View(one.attribute.name) == name) {
        return &one.attribute;
      }
    }
    return nullptr;
  }
  for (uint64_t i = 0; i < plugin.descriptor->attribute_count; ++i) {
    const weir_attribute& attribute = *plugin.descriptor->attributes[i];
    if (Has(attribute, WEIR_ATTRIBUTE_WRITE) && View(attribute.name) == name) return &attribute;
  }
  return nullptr;
}

// The producer that the reader's parameters name, null if they name none.
const ConfigNode* NamedProducer(const PluginSpec& reader, const weir_attribute& attribute) {
  if (attribute.producer_parameter.size == 0) return nullptr;
  const ConfigNode* name = reader.parameters.FindPath(View(attribute.producer_parameter));
  const bool given =
      name != nullptr && name->kind == ConfigNode::Kind::kString && !name->string.empty();
  return given ? name : nullptr;
}

}  // namespace

void PipelineLoader::BindAttributes() {
  // Required reads first: they add producers, which optional reads then find.
  for (const bool optional : {false, true}) {
    for (uint32_t i = 0; i < spec_.plugins.size(); ++i) {  // grows
      const weir_plugin* plugin = spec_.plugins[i].descriptor;
      const uint64_t count = plugin == nullptr ? 0 : plugin->attribute_count;
      facts_[i].writers.resize(count, -1);
      for (uint64_t a = 0; a < count; ++a) {
        const weir_attribute& attribute = *plugin->attributes[a];
        if (Has(attribute, WEIR_ATTRIBUTE_READ) &&
            Has(attribute, WEIR_ATTRIBUTE_OPTIONAL) == optional) {
          BindAttribute(i, a, !optional);
        }
      }
    }
  }
}

void PipelineLoader::BindAttribute(uint32_t reader, uint64_t attribute_index, bool may_add) {
  const weir_attribute& attribute = *spec_.plugins[reader].descriptor->attributes[attribute_index];
  std::optional<uint32_t> writer;
  if (const ConfigNode* name = NamedProducer(spec_.plugins[reader], attribute)) {
    if (by_name_.contains(name->string) || name->string != View(attribute.default_producer)) {
      writer = NamedWriter(reader, attribute, *name);
    } else {
      writer = DefaultWriter(reader, attribute, may_add);
    }
  } else {
    writer = OnlyWriter(reader, attribute);
    if (!writer.has_value()) writer = DefaultWriter(reader, attribute, may_add);
  }
  if (!writer.has_value()) return;
  if (!facts_[*writer].opaque) CheckBinding(reader, *writer, attribute);
  facts_[reader].writers[attribute_index] = static_cast<int32_t>(*writer);
}

std::optional<uint32_t> PipelineLoader::NamedWriter(uint32_t reader,
                                                    const weir_attribute& attribute,
                                                    const ConfigNode& name) {
  const std::string field =
      Concat(spec_.plugins[reader].field, ".", View(attribute.producer_parameter));
  const auto found = by_name_.find(name.string);
  if (found == by_name_.end()) {
    std::vector<std::string_view> names;
    for (const auto& [known, index] : by_name_) {
      if (FindWritten(spec_.plugins[index], View(attribute.name)) != nullptr) {
        names.push_back(known);
      }
    }
    problems_.Error(
        name.line, field,
        Concat(Quote(name.string), " is not a plugin of this file", Suggest(name.string, names)));
    return std::nullopt;
  }
  const uint32_t writer = found->second;
  if (!facts_[writer].opaque &&
      FindWritten(spec_.plugins[writer], View(attribute.name)) == nullptr) {
    problems_.Error(name.line, field,
                    Concat(Quote(name.string), " does not produce ", View(attribute.name)));
    return std::nullopt;
  }
  return writer;
}

std::optional<uint32_t> PipelineLoader::OnlyWriter(uint32_t reader,
                                                   const weir_attribute& attribute) const {
  std::optional<uint32_t> only;
  for (uint32_t i = 0; i < spec_.plugins.size(); ++i) {
    if (i == reader || FindWritten(spec_.plugins[i], View(attribute.name)) == nullptr) {
      continue;
    }
    if (only.has_value()) return std::nullopt;
    only = i;
  }
  if (!only.has_value()) return std::nullopt;
  // Two instances of one type, one of which names this producer: the other one means another, or it
  // would be the same plugin twice.
  for (uint32_t i = 0; i < spec_.plugins.size(); ++i) {
    if (i == reader || spec_.plugins[i].type != spec_.plugins[reader].type) continue;
    const ConfigNode* name = NamedProducer(spec_.plugins[i], attribute);
    if (name != nullptr && name->string == spec_.plugins[*only].name) return std::nullopt;
  }
  return only;
}

std::optional<uint32_t> PipelineLoader::DefaultWriter(uint32_t reader,
                                                      const weir_attribute& attribute,
                                                      bool may_add) {
  const std::string_view type = View(attribute.default_producer);
  const auto found = by_name_.find(type);
  if (!type.empty() && found != by_name_.end() &&
      FindWritten(spec_.plugins[found->second], View(attribute.name)) != nullptr) {
    return found->second;
  }
  // A plugin that this version does not have may be the producer.
  if (!may_add || AnyOpaque()) return std::nullopt;
  if (type.empty()) {
    problems_.Error(facts_[reader].line, facts_[reader].entry,
                    Concat(Name(reader), " reads ", View(attribute.name),
                           ", which no plugin of this file produces"));
    return std::nullopt;
  }
  return AddPlugin(type, spec_.plugins[reader].name);
}

void PipelineLoader::CheckBinding(uint32_t reader, uint32_t writer,
                                  const weir_attribute& attribute) {
  const weir_attribute* written = FindWritten(spec_.plugins[writer], View(attribute.name));
  if (written == nullptr) {
    problems_.Error(facts_[reader].line, facts_[reader].entry,
                    Concat(Name(writer), " does not produce ", View(attribute.name), ", which ",
                           Name(reader), " reads"));
  } else if (View(written->type) != View(attribute.type) ||
             written->element_bytes != attribute.element_bytes) {
    problems_.Error(
        facts_[reader].line, facts_[reader].entry,
        Concat(Name(reader), " reads ", View(attribute.name), " as ", View(attribute.type), " of ",
               attribute.element_bytes, " bytes, ", Name(writer), " produces ", View(written->type),
               " of ", written->element_bytes, " bytes"));
  }
}

void PipelineLoader::MakeColumns() {
  std::map<std::pair<uint32_t, std::string_view>, int32_t> by_key;
  const auto add = [&](uint32_t plugin, const weir_attribute& attribute) {
    by_key.emplace(std::pair(plugin, View(attribute.name)),
                   static_cast<int32_t>(spec_.columns.size()));
    spec_.columns.push_back({std::string(View(attribute.name)), spec_.plugins[plugin].name,
                             std::string(View(attribute.type)), attribute.element_bytes, plugin});
  };
  for (uint32_t i = 0; i < spec_.plugins.size(); ++i) {
    PluginSpec& plugin = spec_.plugins[i];
    plugin.columns.assign(facts_[i].writers.size(), -1);
    for (size_t a = 0; a < plugin.columns.size(); ++a) {
      const weir_attribute& attribute = *plugin.descriptor->attributes[a];
      if (!Has(attribute, WEIR_ATTRIBUTE_WRITE) || Has(attribute, WEIR_ATTRIBUTE_REQUEST)) continue;
      plugin.columns[a] = static_cast<int32_t>(spec_.columns.size());
      add(i, attribute);
    }
    for (const ScrapedAttribute& one : kScrapedAttributes) {
      if (plugin.descriptor == nullptr && one.extractor_type == plugin.type) add(i, one.attribute);
    }
  }
  for (uint32_t i = 0; i < spec_.plugins.size(); ++i) {
    PluginSpec& plugin = spec_.plugins[i];
    for (size_t a = 0; a < plugin.columns.size(); ++a) {
      const weir_attribute& attribute = *plugin.descriptor->attributes[a];
      if (!Has(attribute, WEIR_ATTRIBUTE_READ) || facts_[i].writers[a] < 0) continue;
      const auto column =
          by_key.find({static_cast<uint32_t>(facts_[i].writers[a]), View(attribute.name)});
      if (column != by_key.end()) plugin.columns[a] = column->second;
    }
  }
}

void PipelineLoader::OrderProducers() {
  const auto count = static_cast<uint32_t>(spec_.plugins.size());
  std::vector<bool> done(count);
  const auto is_ready = [&](uint32_t plugin) {
    return std::all_of(facts_[plugin].writers.begin(), facts_[plugin].writers.end(),
                       [&](int32_t writer) { return writer < 0 || done[writer]; });
  };
  for (uint32_t i = 0; i < count; ++i) done[i] = !HasRole(i, kRoleProducer) || facts_[i].opaque;
  // The first that is ready, again and again: ties keep the order of the file.
  for (uint32_t i = 0; i < count;) {
    if (!done[i] && is_ready(i)) {
      done[i] = true;
      spec_.producers.push_back(i);
      i = 0;
    } else {
      ++i;
    }
  }
  if (std::find(done.begin(), done.end(), false) != done.end()) ReportCycle(done);
}

void PipelineLoader::ReportCycle(const std::vector<bool>& done) {
  // Each plugin left waits for another one left: walking from reader to writer comes round.
  auto plugin = static_cast<uint32_t>(std::find(done.begin(), done.end(), false) - done.begin());
  std::vector<uint32_t> path;
  while (std::find(path.begin(), path.end(), plugin) == path.end()) {
    path.push_back(plugin);
    for (const int32_t writer : facts_[plugin].writers) {
      if (writer >= 0 && !done[writer]) {
        plugin = static_cast<uint32_t>(writer);
        break;
      }
    }
  }
  path.erase(path.begin(), std::find(path.begin(), path.end(), plugin));
  path.push_back(plugin);
  const std::string text = absl::StrJoin(
      path, " reads from ", [&](std::string* out, uint32_t one) { out->append(Name(one)); });
  problems_.Error(facts_[plugin].line, facts_[plugin].entry, Concat("a cycle: ", text));
}

}  // namespace weir::internal
