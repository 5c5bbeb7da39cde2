#include "wire/resource_reader.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <type_traits>

#include "absl/time/time.h"
#include "base/text.h"

namespace weir {
namespace internal {
namespace {

constexpr std::string_view kObjectiveKind = "InferenceObjective";
constexpr std::string_view kRewriteKind = "InferenceModelRewrite";
constexpr std::string_view kGroup = "llm-d.ai";
constexpr std::string_view kOldGroup = "inference.networking.x-k8s.io";
constexpr std::string_view kVersion = "v1alpha2";

bool Absent(const ConfigNode* node) {
  return node == nullptr || node->kind == ConfigNode::Kind::kNull;
}

// The map of an entry, for errors of one entry.
class FieldReader {
 public:
  FieldReader(const ConfigNode& map, std::string field, ConfigProblems* problems,
              std::initializer_list<std::string_view> known)
      : map_(map), field_(std::move(field)), problems_(*problems) {
    if (map.kind != ConfigNode::Kind::kMap) {
      problems_.Error(map.line, field_, Concat(Show(map), ", expected a map"));
    }
    for (const auto& [name, value] : map.members) {
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      problems_.Error(value.line, Here(name), "unknown field");
    }
  }

  std::string Here(std::string_view key) const {
    return Concat(field_, field_.empty() ? "" : ".", key);
  }
  // Null if it is absent.
  const ConfigNode* Find(std::string_view key) const {
    const ConfigNode* value = map_.Find(key);
    return Absent(value) ? nullptr : value;
  }
  std::string Text(std::string_view key, std::string_view expected, bool required = true) const {
    const ConfigNode* value = Find(key);
    if (value == nullptr) {
      if (required && map_.kind == ConfigNode::Kind::kMap) {
        problems_.Error(map_.line, Here(key), Concat("missing, expected ", expected));
      }
    } else if (value->kind != ConfigNode::Kind::kString || value->string.empty()) {
      Wrong(*value, key, expected);
    } else {
      return value->string;
    }
    return "";
  }
  std::optional<int64_t> Integer(std::string_view key, int64_t min, int64_t max) const {
    const ConfigNode* value = Find(key);
    if (value == nullptr) return std::nullopt;
    if (value->kind == ConfigNode::Kind::kInteger && value->integer >= min &&
        value->integer <= max) {
      return value->integer;
    }
    Wrong(*value, key, Concat("an integer of ", min, "..", max));
    return std::nullopt;
  }
  void Wrong(const ConfigNode& value, std::string_view key, std::string_view expected) const {
    const std::string shown =
        value.kind == ConfigNode::Kind::kString && value.string.empty() ? "empty" : Show(value);
    problems_.Error(value.line, Here(key), Concat(shown, ", expected ", expected));
  }

 private:
  const ConfigNode& map_;
  const std::string field_;
  ConfigProblems& problems_;
};

// Null or the name of a pool; whether it is this one is the caller's question.
void CheckPoolRef(const FieldReader& spec, ConfigProblems* problems) {
  const ConfigNode* pool = spec.Find("poolRef");
  if (pool == nullptr) return;
  const FieldReader reader(*pool, spec.Here("poolRef"), problems, {"group", "kind", "name"});
  if (pool->kind != ConfigNode::Kind::kMap) return;
  reader.Text("name", "the name of a pool");
  reader.Text("group", "an API group", false);
  reader.Text("kind", "\"InferencePool\"", false);
}

std::string ReadMatch(const ConfigNode& map, const std::string& field, ConfigProblems* problems) {
  const FieldReader match(map, field, problems, {"model"});
  const ConfigNode* model = match.Find("model");
  if (model == nullptr) {
    if (map.kind == ConfigNode::Kind::kMap) {
      problems->Error(map.line, match.Here("model"), "missing, expected a map");
    }
    return "";
  }
  const FieldReader reader(*model, match.Here("model"), problems, {"type", "value"});
  if (model->kind != ConfigNode::Kind::kMap) return "";
  const std::string type = reader.Text("type", "\"Exact\"", false);
  if (!type.empty() && type != "Exact") reader.Wrong(*reader.Find("type"), "type", "\"Exact\"");
  return reader.Text("value", "the name of a model");
}

InferenceModelRewrite::Target ReadTarget(const ConfigNode& map, const std::string& field,
                                         ConfigProblems* problems) {
  const FieldReader reader(map, field, problems, {"modelRewrite", "weight"});
  InferenceModelRewrite::Target target;
  target.model = reader.Text("modelRewrite", "the name of a model");
  if (const auto weight = reader.Integer("weight", 1, kRewriteWeightMax)) {
    target.weight = static_cast<uint32_t>(*weight);
  }
  return target;
}

InferenceModelRewrite::Rule ReadRule(const ConfigNode& map, const std::string& field,
                                     ConfigProblems* problems) {
  const FieldReader reader(map, field, problems, {"matches", "targets"});
  InferenceModelRewrite::Rule rule;
  const std::vector<ConfigNode>& matches =
      ListItems(reader.Find("matches"), reader.Here("matches"), problems);
  for (size_t i = 0; i < matches.size(); ++i) {
    rule.models.push_back(
        ReadMatch(matches[i], Concat(reader.Here("matches"), "[", i, "]"), problems));
  }
  const std::vector<ConfigNode>& targets =
      ListItems(reader.Find("targets"), reader.Here("targets"), problems);
  for (size_t i = 0; i < targets.size(); ++i) {
    rule.targets.push_back(
        ReadTarget(targets[i], Concat(reader.Here("targets"), "[", i, "]"), problems));
  }
  const bool is_list =
      Absent(map.Find("targets")) || map.Find("targets")->kind == ConfigNode::Kind::kList;
  if (map.kind == ConfigNode::Kind::kMap && targets.empty() && is_list) {
    problems->Error(map.line, reader.Here("targets"), "missing, expected at least one target");
  }
  return rule;
}

std::string NameOf(const FieldReader& reader, ResourceForm form, const std::string& name) {
  return form == ResourceForm::kInline ? reader.Text("name", "a name") : name;
}

}  // namespace

const std::vector<ConfigNode>& ListItems(const ConfigNode* node, const std::string& field,
                                         ConfigProblems* problems) {
  static const std::vector<ConfigNode> kNone;
  if (Absent(node)) return kNone;
  if (node->kind == ConfigNode::Kind::kList) return node->items;
  problems->Error(node->line, field, Concat(Show(*node), ", expected a list"));
  return kNone;
}

std::optional<InferenceObjective> ReadObjective(const ConfigNode& map, ResourceForm form,
                                                const std::string& name, const std::string& field,
                                                ConfigProblems* problems) {
  const uint32_t errors_before = problems->error_count();
  const std::string_view other = form == ResourceForm::kInline ? "name" : "poolRef";
  const FieldReader reader(map, field, problems, {other, "priority"});
  if (map.kind != ConfigNode::Kind::kMap) return std::nullopt;
  InferenceObjective objective{.name = NameOf(reader, form, name)};
  objective.priority =
      static_cast<int32_t>(reader.Integer("priority", INT32_MIN, INT32_MAX).value_or(0));
  CheckPoolRef(reader, problems);
  if (problems->error_count() > errors_before) return std::nullopt;
  if (const absl::Status status = ResourceStore::Check(objective); !status.ok()) {
    problems->Error(map.line, field, std::string(status.message()));
    return std::nullopt;
  }
  return objective;
}

std::optional<InferenceModelRewrite> ReadModelRewrite(const ConfigNode& map, ResourceForm form,
                                                      const std::string& name,
                                                      const std::string& field,
                                                      ConfigProblems* problems) {
  const uint32_t errors_before = problems->error_count();
  const std::string_view other = form == ResourceForm::kInline ? "name" : "poolRef";
  const FieldReader reader(map, field, problems, {other, "rules"});
  if (map.kind != ConfigNode::Kind::kMap) return std::nullopt;
  InferenceModelRewrite rewrite{.name = NameOf(reader, form, name)};
  const std::vector<ConfigNode>& rules =
      ListItems(reader.Find("rules"), reader.Here("rules"), problems);
  for (size_t i = 0; i < rules.size(); ++i) {
    rewrite.rules.push_back(
        ReadRule(rules[i], Concat(reader.Here("rules"), "[", i, "]"), problems));
  }
  CheckPoolRef(reader, problems);
  if (problems->error_count() > errors_before) return std::nullopt;
  if (const absl::Status status = ResourceStore::Check(rewrite); !status.ok()) {
    problems->Error(map.line, field, std::string(status.message()));
    return std::nullopt;
  }
  return rewrite;
}

namespace {

// Reads the manifests of one file.
class ManifestReader {
 public:
  ManifestReader(const std::string& file, std::string_view pool_name)
      : file_(file), pool_name_(pool_name) {}

  void Read(const ConfigNode& document) {
    if (document.kind == ConfigNode::Kind::kNull) return;
    const ConfigNode* kind = document.Find("kind");
    const ConfigNode* version = document.Find("apiVersion");
    if (kind == nullptr || kind->kind != ConfigNode::Kind::kString || version == nullptr ||
        version->kind != ConfigNode::Kind::kString) {
      Problem(document.line, "", "no manifest, expected apiVersion and kind");
      return;
    }
    // What `kubectl get -o yaml` prints for several objects.
    if (kind->string == "List" || kind->string == Concat(kObjectiveKind, "List") ||
        kind->string == Concat(kRewriteKind, "List")) {
      ConfigProblems problems(file_);
      for (const ConfigNode& item : ListItems(document.Find("items"), "items", &problems)) {
        Read(item);
      }
      if (problems.failed()) Report(problems);
      return;
    }
    const size_t slash = version->string.find('/');
    const std::string_view group = std::string_view(version->string).substr(0, slash);
    if (group != kGroup && group != kOldGroup) return;  // not about routing
    ReadResource(document, *kind, *version, group == kOldGroup);
  }

  ResourceFile Take() {
    if (problems_left_out_ > 0) {
      result_.problems.push_back(Concat(file_, ": ", problems_left_out_, " more problems"));
    }
    return std::move(result_);
  }

 private:
  void ReadResource(const ConfigNode& document, const ConfigNode& kind, const ConfigNode& version,
                    bool old_group) {
    if (!version.string.ends_with(Concat("/", kVersion))) {
      Problem(version.line, "apiVersion",
              Concat(Quote(version.string), ", expected ", Quote(Concat(kGroup, "/", kVersion))));
    } else if (kind.string == kObjectiveKind) {
      Add(document, old_group, &objectives_, &result_.resources.objectives, ReadObjective);
    } else if (kind.string == kRewriteKind) {
      Add(document, old_group, &rewrites_, &result_.resources.rewrites, ReadModelRewrite);
    } else {
      Problem(kind.line, "kind",
              Concat(Quote(kind.string), ", expected ", Quote(kObjectiveKind), " or ",
                     Quote(kRewriteKind)));
    }
  }

  // What is known of an entry by its name.
  struct Seen {
    size_t index;
    int line;
    bool old_group;
  };
  using Names = std::map<std::string, Seen>;

  template <class Entry>
  void Add(const ConfigNode& document, bool old_group, Names* names, std::vector<Entry>* entries,
           std::optional<Entry> (*read)(const ConfigNode&, ResourceForm, const std::string&,
                                        const std::string&, ConfigProblems*)) {
    ConfigProblems problems(file_);
    const ConfigNode empty{.kind = ConfigNode::Kind::kMap, .line = document.line};
    const ConfigNode* metadata = document.Find("metadata");
    const ConfigNode* name = metadata == nullptr ? nullptr : metadata->Find("name");
    if (name == nullptr || name->kind != ConfigNode::Kind::kString || name->string.empty()) {
      problems.Error(document.line, "metadata.name", "missing, expected a name");
      Report(problems);
      return;
    }
    const ConfigNode* spec = document.Find("spec");
    if (Absent(spec)) spec = &empty;
    if (OfOtherPool(*spec)) return;
    const int64_t created_ns = CreatedNs(*metadata, &problems);
    std::optional<Entry> entry =
        read(*spec, ResourceForm::kManifest, name->string, "spec", &problems);
    if constexpr (std::is_same_v<Entry, InferenceModelRewrite>) {
      if (entry.has_value()) entry->created_ns = created_ns;
    }
    if (problems.failed() || !entry.has_value()) return Report(problems);
    const auto [seen, is_new] =
        names->emplace(name->string, Seen{entries->size(), name->line, old_group});
    if (is_new) {
      entries->push_back(*std::move(entry));
    } else if (seen->second.old_group != old_group) {
      // Both groups serve the same objects while a cluster moves from one to the other.
      if (!old_group) (*entries)[seen->second.index] = *std::move(entry);
      seen->second.old_group = false;
    } else {
      Problem(name->line, "metadata.name",
              Concat(Quote(name->string), " occurs twice, first in line ", seen->second.line));
    }
  }

  bool OfOtherPool(const ConfigNode& spec) const {
    if (pool_name_.empty()) return false;
    const ConfigNode* name = spec.FindPath("poolRef/name");
    return name != nullptr && name->kind == ConfigNode::Kind::kString && name->string != pool_name_;
  }

  static int64_t CreatedNs(const ConfigNode& metadata, ConfigProblems* problems) {
    const ConfigNode* created = metadata.Find("creationTimestamp");
    if (Absent(created)) return 0;
    absl::Time time;
    std::string error;
    if (created->kind != ConfigNode::Kind::kString ||
        !absl::ParseTime(absl::RFC3339_full, created->string, &time, &error)) {
      problems->Error(created->line, "metadata.creationTimestamp",
                      Concat(Show(*created), ", expected a time like 2026-01-31T12:00:00Z"));
      return 0;
    }
    return absl::ToUnixNanos(time);
  }

  void Problem(int line, std::string_view field, std::string_view text) {
    ConfigProblems problems(file_);
    problems.Error(line, field, text);
    Report(problems);
  }
  void Report(const ConfigProblems& problems) {
    const std::string text(problems.ToStatus().message());
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      if (result_.problems.size() < kResourceProblemsMax) {
        result_.problems.push_back(text.substr(begin, end - begin));
      } else {
        ++problems_left_out_;
      }
      begin = end + 1;
    }
  }

  const std::string file_;
  const std::string pool_name_;
  ResourceFile result_;
  Names objectives_;
  Names rewrites_;
  size_t problems_left_out_ = 0;
};

}  // namespace
}  // namespace internal

absl::StatusOr<ResourceFile> ParseResources(std::string_view text, const std::string& file,
                                            std::string_view pool_name) {
  const auto documents = internal::ParseConfigDocuments(text, file);
  if (!documents.ok()) return documents.status();
  internal::ManifestReader reader(file, pool_name);
  for (const internal::ConfigNode& document : *documents) reader.Read(document);
  return reader.Take();
}

}  // namespace weir
