// weir/resources.h: what requests name that is no endpoint: objectives (a name for a priority) and
// model rewrites (which model a request for a model is sent to). Start at ResourceStore.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "weir/limits.h"
#include "weir/status.h"

namespace weir {

// A name that requests give in a header, and the priority that it stands for.
struct InferenceObjective {
  std::string name;
  int32_t priority = 0;  // below 0: may be shed
};

// Sends requests for one model to another, or to several by weight.
struct InferenceModelRewrite {
  struct Target {
    std::string model;
    // 1..kRewriteWeightMax. If a target of a rule has a weight, those without are never chosen; if
    // none has, all are chosen equally often.
    std::optional<uint32_t> weight = {};
  };
  struct Rule {
    std::vector<std::string> models;  // exact names, any of them; empty: every model, and none
    std::vector<Target> targets;      // at least one
  };
  std::string name;
  // When it was made, in ns since 1970. The oldest rewrite with a rule for a model decides; of
  // equally old ones the first in the list.
  int64_t created_ns = 0;
  std::vector<Rule> rules;

  // Targets of all rules, each as often as its rule has models.
  size_t target_count() const {
    size_t count = 0;
    for (const Rule& rule : rules) {
      count += rule.targets.size() * (rule.models.empty() ? 1 : rule.models.size());
    }
    return count;
  }
};

// Everything of both kinds.
struct Resources {
  std::vector<InferenceObjective> objectives;
  std::vector<InferenceModelRewrite> rewrites;
};

// What a file of manifests holds.
struct ResourceFile {
  Resources resources;  // usable entries in order of the file
  // One text per thing that is wrong, as it should be logged, at most kResourceProblemsMax and one
  // that counts the rest:
  // `resources.yaml:9: spec.priority: "high", expected an integer of -2147483648..2147483647`
  std::vector<std::string> problems;
};
inline constexpr uint32_t kResourceProblemsMax = 64;

// Reads YAML or JSON manifests of the kinds InferenceObjective and InferenceModelRewrite in the API
// groups llm-d.ai and inference.networking.x-k8s.io, as documents of one file or in a List. An
// entry that cannot be used is a problem, the others count. Of two with one name, one per group,
// that of llm-d.ai counts. With a `pool_name`, entries whose spec.poolRef.name is another are left
// out. Manifests of other groups are skipped. Errors: kInvalidArgument if it is not YAML or exceeds
// kConfigBytesMax. [control, concurrent]
absl::StatusOr<ResourceFile> ParseResources(std::string_view text, const std::string& file,
                                            std::string_view pool_name = {});

// How often one target of one rule was chosen.
struct RewriteCount {
  std::string rewrite_name;
  std::string model;  // that was asked for; "*" for a rule without models
  std::string target_model;
  uint64_t decisions = 0;
};

// Resources in the form that requests look things up in. Immutable but for its counts; safe for
// concurrent use by many threads without external locking. Views that it returns live as long as
// it does.
class ResourceTable {
 public:
  // The priority of an objective, nothing if there is none of this name. No allocation.
  // [hot, concurrent]
  std::optional<int32_t> Priority(std::string_view objective) const noexcept;

  // The model that a request for `model` is sent to, nothing if no rule fits. A rule that names the
  // model goes before one for every model, however old. `uniform`, in [0, 1), chooses among the
  // rule's targets. Counts the choice. No allocation. [hot, concurrent]
  std::optional<std::string_view> Rewrite(std::string_view model, double uniform) const noexcept;

  size_t objective_count() const noexcept { return priorities_.size(); }
  size_t rewrite_count() const noexcept { return rewrites_.size(); }

  // The targets of all rules, and how often each was chosen. [control, concurrent]
  std::vector<RewriteCount> RewriteCounts() const;

 private:
  friend class ResourceStore;
  using Counter = std::atomic<uint64_t>;
  using CounterKey = std::array<std::string, 3>;  // rewrite, model, target model
  // A rule, as one of its models finds it.
  struct Choice {
    const InferenceModelRewrite::Rule* rule = nullptr;
    uint64_t weight_sum = 0;         // 0: no target has a weight
    std::vector<Counter*> counters;  // per target
  };

  // Goes on counting where `before` stands, for choices that both have.
  ResourceTable(Resources resources, const ResourceTable* before);
  void AddChoice(const InferenceModelRewrite& rewrite, const InferenceModelRewrite::Rule& rule,
                 std::string_view model, const ResourceTable* before);

  std::vector<InferenceModelRewrite> rewrites_;  // oldest first
  std::vector<Choice> choices_;
  std::map<std::string, int32_t, std::less<>> priorities_;
  std::unordered_map<std::string_view, uint32_t> exact_;  // model to index into choices_
  std::optional<uint32_t> generic_;                       // index into choices_
  std::map<CounterKey, std::shared_ptr<Counter>> counters_;
};

// The resources of one router: those of its pipeline file, and above them those that somebody
// brings from elsewhere. All methods are safe for concurrent use.
class ResourceStore {
 public:
  // `configured` is what the pipeline file holds. Its invalid entries are dropped: Check() it.
  explicit ResourceStore(const Resources& configured = {});

  // Says what is wrong with one entry, in a text without a file's name. Errors: kInvalidArgument.
  // [control, concurrent]
  static absl::Status Check(const InferenceObjective& objective);
  static absl::Status Check(const InferenceModelRewrite& rewrite);

  // Makes the store hold the pipeline file's resources and these; an entry of these replaces one of
  // the file with its name. Invalid ones, ones whose name occurs twice and those above
  // kObjectivesMax, kRewritesMax or kRewriteTargetsMax are skipped; the error lists each, the
  // others are in use. Requests that are being read keep the table they began with.
  // [control, concurrent]
  absl::Status Replace(const Resources& resources);

  // The newest table, never null. Copies a shared_ptr under a lock: requests read through a
  // ResourceReader. [control, concurrent]
  std::shared_ptr<const ResourceTable> table() const;
  // Changes with each Replace. [hot, concurrent]
  uint64_t version() const noexcept { return version_.load(std::memory_order_acquire); }

 private:
  const Resources configured_;
  std::atomic<uint64_t> version_{0};
  mutable std::mutex mutex_;
  std::shared_ptr<const ResourceTable> table_ ABSL_GUARDED_BY(mutex_);
};

// One thread's view of a store: an atomic load per lookup while nothing changes, the store's lock
// once after a change. The store must outlive it. One thread at a time.
class ResourceReader {
 public:
  explicit ResourceReader(const ResourceStore& store)
      : store_(store), version_(store.version()), table_(store.table()) {}

  // The newest table; valid until the next call. [hot]
  const ResourceTable& table() noexcept {
    if (const uint64_t version = store_.version(); version != version_) {
      version_ = version;
      table_ = store_.table();
    }
    return *table_;
  }

 private:
  const ResourceStore& store_;
  uint64_t version_;
  std::shared_ptr<const ResourceTable> table_;
};

}  // namespace weir
