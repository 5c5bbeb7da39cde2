#include "weir/resources.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"

namespace weir {
namespace {

constexpr std::string_view kEveryModel = "*";

// Empty if the text is a fine name, otherwise what is wrong with it.
std::string NameProblem(std::string_view text) {
  if (text.empty()) return "empty";
  if (text.size() > kNameBytesMax) return absl::StrCat("longer than ", kNameBytesMax, " bytes");
  const bool has_control = std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
  });
  return has_control ? "holds a control byte" : "";
}

absl::Status Invalid(std::string_view field, std::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": ", std::string(problem)));
}

// Takes entries one by one, those that are valid and fit.
class Collector {
 public:
  void Add(const InferenceObjective& objective) {
    if (Fits("objective", objective, &objective_names_, resources_.objectives.size(),
             kObjectivesMax)) {
      resources_.objectives.push_back(objective);
    }
  }
  void Add(const InferenceModelRewrite& rewrite) {
    const size_t targets = rewrite.target_count();
    if (targets > kRewriteTargetsMax - target_count_) {
      Skip("model rewrite", rewrite.name,
           absl::StrCat("with it there are more than ", kRewriteTargetsMax, " targets"));
      return;
    }
    if (Fits("model rewrite", rewrite, &rewrite_names_, resources_.rewrites.size(), kRewritesMax)) {
      resources_.rewrites.push_back(rewrite);
      target_count_ += targets;
    }
  }

  bool has_objective(const std::string& name) const { return objective_names_.contains(name); }
  bool has_rewrite(const std::string& name) const { return rewrite_names_.contains(name); }
  Resources& resources() { return resources_; }

  absl::Status ToStatus() const {
    if (problem_count_ == 0) return absl::OkStatus();
    std::string text = absl::StrJoin(problems_, "\n");
    if (problem_count_ > problems_.size()) {
      absl::StrAppend(&text, "\nand ", problem_count_ - problems_.size(), " more");
    }
    return absl::InvalidArgumentError(absl::StrCat(text, "; ", resources_.objectives.size(),
                                                   " objectives and ", resources_.rewrites.size(),
                                                   " model rewrites are in use"));
  }

 private:
  static constexpr size_t kProblemsShownMax = 32;

  template <typename Entry>
  bool Fits(std::string_view kind, const Entry& entry, std::set<std::string>* names, size_t count,
            uint32_t max) {
    if (absl::Status status = ResourceStore::Check(entry); !status.ok()) {
      Skip(kind, entry.name, status.message());
    } else if (names->contains(entry.name)) {
      Skip(kind, entry.name, "the name occurs twice");
    } else if (count >= max) {
      Skip(kind, entry.name, absl::StrCat("there are ", max, " already, the maximum"));
    } else {
      names->insert(entry.name);
      return true;
    }
    return false;
  }
  void Skip(std::string_view kind, std::string_view name, absl::string_view problem) {
    if (++problem_count_ > kProblemsShownMax) return;
    problems_.push_back(
        absl::StrCat(std::string(kind), " \"", std::string(name.substr(0, 64)), "\": ", problem));
  }

  Resources resources_;
  std::set<std::string> objective_names_;
  std::set<std::string> rewrite_names_;
  size_t target_count_ = 0;
  size_t problem_count_ = 0;
  std::vector<std::string> problems_;
};

}  // namespace

ResourceTable::ResourceTable(Resources resources, const ResourceTable* before)
    : rewrites_(std::move(resources.rewrites)) {
  for (InferenceObjective& objective : resources.objectives) {
    priorities_.emplace(std::move(objective.name), objective.priority);
  }
  std::stable_sort(rewrites_.begin(), rewrites_.end(),
                   [](const auto& a, const auto& b) { return a.created_ns < b.created_ns; });
  for (const InferenceModelRewrite& rewrite : rewrites_) {
    for (const InferenceModelRewrite::Rule& rule : rewrite.rules) {
      const auto next = [this] { return static_cast<uint32_t>(choices_.size()); };
      for (const std::string& model : rule.models) {
        // A younger rule for the model is never reached.
        if (exact_.emplace(model, next()).second) AddChoice(rewrite, rule, model, before);
      }
      if (rule.models.empty() && !generic_.has_value()) {
        generic_ = next();
        AddChoice(rewrite, rule, kEveryModel, before);
      }
    }
  }
}

void ResourceTable::AddChoice(const InferenceModelRewrite& rewrite,
                              const InferenceModelRewrite::Rule& rule, std::string_view model,
                              const ResourceTable* before) {
  Choice choice{.rule = &rule};
  for (const InferenceModelRewrite::Target& target : rule.targets) {
    choice.weight_sum += target.weight.value_or(0);
    CounterKey key = {rewrite.name, std::string(model), target.model};
    std::shared_ptr<Counter>& counter = counters_[key];
    if (counter == nullptr && before != nullptr) {
      if (const auto old = before->counters_.find(key); old != before->counters_.end()) {
        counter = old->second;
      }
    }
    if (counter == nullptr) counter = std::make_shared<Counter>(0);
    choice.counters.push_back(counter.get());
  }
  choices_.push_back(std::move(choice));
}

std::optional<int32_t> ResourceTable::Priority(std::string_view objective) const noexcept {
  const auto found = priorities_.find(objective);
  if (found == priorities_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::string_view> ResourceTable::Rewrite(std::string_view model,
                                                       double uniform) const noexcept {
  WEIR_DCHECK(uniform >= 0 && uniform < 1);
  const auto exact = exact_.find(model);
  if (exact == exact_.end() && !generic_.has_value()) return std::nullopt;
  const Choice& choice = choices_[exact != exact_.end() ? exact->second : *generic_];
  const std::vector<InferenceModelRewrite::Target>& targets = choice.rule->targets;
  size_t chosen = 0;
  if (choice.weight_sum == 0) {
    chosen = std::min(static_cast<size_t>(uniform * static_cast<double>(targets.size())),
                      targets.size() - 1);
  } else {
    const double draw = uniform * static_cast<double>(choice.weight_sum);
    uint64_t sum = targets[0].weight.value_or(0);
    while (static_cast<double>(sum) <= draw && chosen + 1 < targets.size()) {
      sum += targets[++chosen].weight.value_or(0);
    }
  }
  choice.counters[chosen]->fetch_add(1, std::memory_order_relaxed);
  return targets[chosen].model;
}

std::vector<RewriteCount> ResourceTable::RewriteCounts() const {
  std::vector<RewriteCount> counts;
  for (const auto& [key, counter] : counters_) {
    counts.push_back({key[0], key[1], key[2], counter->load(std::memory_order_relaxed)});
  }
  return counts;
}

ResourceStore::ResourceStore(const Resources& configured) : configured_(configured) {
  Replace({}).IgnoreError();
}

absl::Status ResourceStore::Check(const InferenceObjective& objective) {
  const std::string problem = NameProblem(objective.name);
  return problem.empty() ? absl::OkStatus() : Invalid("name", problem);
}

absl::Status ResourceStore::Check(const InferenceModelRewrite& rewrite) {
  if (auto problem = NameProblem(rewrite.name); !problem.empty()) return Invalid("name", problem);
  for (size_t i = 0; i < rewrite.rules.size(); ++i) {
    const InferenceModelRewrite::Rule& rule = rewrite.rules[i];
    const std::string field = absl::StrCat("rules[", i, "]");
    for (size_t m = 0; m < rule.models.size(); ++m) {
      if (auto problem = NameProblem(rule.models[m]); !problem.empty()) {
        return Invalid(absl::StrCat(field, ".matches[", m, "].model.value"), problem);
      }
    }
    if (rule.targets.empty()) return Invalid(field + ".targets", "empty, expected at least one");
    for (size_t t = 0; t < rule.targets.size(); ++t) {
      const InferenceModelRewrite::Target& target = rule.targets[t];
      const std::string target_field = absl::StrCat(field, ".targets[", t, "]");
      if (auto problem = NameProblem(target.model); !problem.empty()) {
        return Invalid(target_field + ".modelRewrite", problem);
      }
      if (target.weight && (*target.weight < 1 || *target.weight > kRewriteWeightMax)) {
        return Invalid(target_field + ".weight",
                       absl::StrCat(*target.weight, ", expected 1..", kRewriteWeightMax));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ResourceStore::Replace(const Resources& resources) {
  // Those given go first: they win over the file's of their name and are not the ones left out at a
  // limit.
  Collector given;
  for (const InferenceObjective& one : resources.objectives) given.Add(one);
  for (const InferenceModelRewrite& one : resources.rewrites) given.Add(one);
  Collector all = given;
  for (const InferenceObjective& one : configured_.objectives) {
    if (!given.has_objective(one.name)) all.Add(one);
  }
  for (const InferenceModelRewrite& one : configured_.rewrites) {
    if (!given.has_rewrite(one.name)) all.Add(one);
  }
  const absl::Status status = all.ToStatus();
  std::lock_guard lock(mutex_);
  table_.reset(new ResourceTable(std::move(all.resources()), table_.get()));
  version_.fetch_add(1, std::memory_order_release);
  return status;
}

std::shared_ptr<const ResourceTable> ResourceStore::table() const {
  std::lock_guard lock(mutex_);
  return table_;
}

}  // namespace weir
