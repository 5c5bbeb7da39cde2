#include "test_types.h"

#include <gtest/gtest.h>

#include "weir/plugin/filter.h"
#include "weir/plugin/observer.h"
#include "weir/plugin/picker.h"
#include "weir/plugin/producer.h"
#include "weir/plugin/profile_handler.h"
#include "weir/plugin/scorer.h"

namespace weir::internal {
namespace {

using plugin::Attribute;
using plugin::Batch;
using plugin::Call;
using plugin::Mask;
using plugin::Output;
using plugin::Profiles;
using plugin::Request;

struct Scorer {
  void Score(const Request&, const Batch&, double*) const {}
};
struct Filter {
  void Apply(const Request&, const Batch&, Mask) const {}
};
struct Picker {
  uint32_t Pick(const Request&, const Batch&, const double*, uint32_t*, uint32_t) const {
    return 0;
  }
};
struct Producer {
  void Produce(const Request&, const Batch&, const Output&) const {}
};
struct Handler {
  static constexpr uint32_t kProfilesMax = 2;
  uint64_t Next(const Call&, const Request&, const Profiles&) const { return 0; }
  std::optional<uint32_t> Finish(const Call&, const Request&, const Profiles&) const { return 0; }
};

// A chain of producers: a -> b -> c, and a loop that "closing-producer" closes.
constexpr Attribute kA{"A", "f64", 8, "a-producer"};
constexpr Attribute kB{"B", "f64", 8, "b-producer"};
constexpr Attribute kC{"C", "f64", 8, "c-producer"};
constexpr Attribute kAOfOtherType{"A", "i32", 4, "a-producer"};
constexpr Attribute kNobody{"Nobody", "f64", 8, ""};

constexpr char kStrictSchema[] = R"({"type": "object", "properties": {
  "threshold": {"type": "number", "minimum": 0},
  "mode": {"type": "string", "enum": ["linear", "square"]},
  "old": {"type": "integer", "deprecated": true, "description": "use threshold"}},
  "additionalProperties": false})";

const weir_module* TestModule() {
  static const plugin::Module* const module = [] {
    auto* fresh = new plugin::Module;
    fresh->AddScorer<Scorer>("strict-scorer").Schema(kStrictSchema);
    fresh->AddScorer<Scorer>("alpha-scorer").Alpha();
    fresh->AddScorer<Scorer>("old-scorer").Deprecated("strict-scorer");
    fresh->AddScorer<Scorer>("a-scorer").Reads(kA, "aProducerName");
    fresh->AddScorer<Scorer>("c-scorer").Reads(kC);
    fresh->AddScorer<Scorer>("optional-scorer").MayRead(kA, "aProducerName");
    fresh->AddScorer<Scorer>("mistyped-scorer").Reads(kAOfOtherType);
    fresh->AddScorer<Scorer>("hopeless-scorer").Reads(kNobody);
    fresh->AddFilter<Filter>("test-filter");
    fresh->AddPicker<Picker>("test-picker");
    fresh->AddProfileHandler<Handler>("two-profile-handler");
    fresh->AddProducer<Producer>("a-producer").Writes(kA);
    fresh->AddProducer<Producer>("b-producer").Reads(kA).Writes(kB);
    fresh->AddProducer<Producer>("c-producer").Reads(kB, "bProducerName").MayRead(kA).Writes(kC);
    fresh->AddProducer<Producer>("closing-producer").Reads(kC).Writes(kA);
    return fresh;
  }();
  return module->raw();
}

}  // namespace

PluginRegistry TestRegistry() {
  PluginRegistry registry = PluginRegistry::WithBuiltins();
  const absl::Status added = registry.AddModule(TestModule(), "test types");
  EXPECT_TRUE(added.ok()) << added.message();
  return registry;
}

}  // namespace weir::internal
