// Plugins that break the rules, built as a loadable library for router_test.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "weir/plugin/filter.h"
#include "weir/plugin/picker.h"
#include "weir/plugin/producer.h"
#include "weir/plugin/profile_handler.h"
#include "weir/plugin/scorer.h"

namespace {

using namespace weir::plugin;

struct NanScorer {
  void Score(const Request&, const Batch& batch, double* score) const {
    for (uint32_t i = 0; i < batch.count(); ++i) score[i] = i == 0 ? std::nan("") : 1e300;
  }
};

struct ThrowingScorer {
  void Score(const Request&, const Batch&, double*) const { throw std::runtime_error("no"); }
};

// Counts beyond the counters there are.
struct CountingScorer {
  void Score(const Request&, const Batch& batch, double*) const {
    for (uint32_t i = 0; i < 10; ++i) batch.call().Count(i, i + 1);
  }
};

struct ThrowingFilter {
  void Apply(const Request&, const Batch&, Mask keep) const {
    keep.Drop(0);
    throw std::runtime_error("no");
  }
};

// Drops nothing and claims endpoints that an earlier filter dropped and that do not exist.
weir_code SetAllBits(void*, const weir_call*, const weir_request*, const weir_batch* batch,
                     uint64_t* keep) {
  for (uint32_t word = 0; word < (batch->count + 63) / 64; ++word) keep[word] = ~uint64_t{0};
  return WEIR_OK;
}
constexpr weir_filter kSetAllBits{sizeof(weir_filter), 0, SetAllBits};
struct GreedyFilter {};

struct DropFirstFilter {
  void Apply(const Request&, const Batch&, Mask keep) const { keep.Drop(0); }
};
struct DropAllFilter {
  void Apply(const Request&, const Batch&, Mask keep) const {
    keep.KeepIf([](uint32_t) { return false; });
  }
};

struct WildPicker {
  uint32_t Pick(const Request&, const Batch& batch, const double*, uint32_t* index,
                uint32_t index_max) const {
    index[0] = batch.count();
    index[1] = 0;
    index[2] = 0;
    index[3] = UINT32_MAX;
    return index_max + 5;
  }
};
struct IdlePicker {
  uint32_t Pick(const Request&, const Batch&, const double*, uint32_t*, uint32_t) const {
    return 0;
  }
};

struct GreedyProducer {
  void Produce(const Request&, const Batch& batch, const Output& output) const {
    for (const uint64_t bytes : {1u << 20, 1u}) {
      while (batch.call().allocate<char>(bytes) != nullptr) {
      }
    }
    output.column<double>(0)[0] = 1;
  }
};
struct FailingProducer {
  void Produce(const Request&, const Batch&, const Output&) const {
    throw std::runtime_error("no");
  }
};
inline constexpr Attribute kMood{"Mood", "f64", sizeof(double), ""};
struct MoodScorer {
  void Score(const Request&, const Batch& batch, double* score) const {
    const auto mood = batch.column<double>(0);
    for (uint32_t i = 0; i < batch.count(); ++i) score[i] = mood ? mood[i] : 0.5;
  }
};
// Trust that what they require is there.
struct NeedyScorer {
  void Score(const Request&, const Batch& batch, double* score) const {
    std::copy_n(&batch.column<double>(0)[0], batch.count(), score);
  }
};
struct NeedyFilter {
  void Apply(const Request&, const Batch& batch, Mask keep) const {
    const auto mood = batch.column<double>(0);
    keep.KeepIf([&](uint32_t i) { return mood[i] > 0; });
  }
};
struct NeedyPicker {
  uint32_t Pick(const Request&, const Batch& batch, const double*, uint32_t* index,
                uint32_t) const {
    index[0] = batch.column<double>(0)[0] > 0 ? 0 : 1;
    return 1;
  }
};

struct WrongPrimaryHandler {
  uint64_t Next(const Call&, const Request&, const Profiles& profiles) const {
    return profiles.ran(0) ? 0 : ~uint64_t{0};
  }
  std::optional<uint32_t> Finish(const Call&, const Request&, const Profiles&) const { return 7; }
};
struct EndlessHandler {
  uint64_t Next(const Call&, const Request&, const Profiles&) const { return 1; }
  std::optional<uint32_t> Finish(const Call&, const Request&, const Profiles& profiles) const {
    if (!profiles.picked(0)) return std::nullopt;
    return 0;
  }
};

// Runs every profile at once; the first is primary.
struct ThoroughHandler {
  uint64_t Next(const Call&, const Request&, const Profiles& profiles) const {
    return profiles.ran(0) ? 0 : ~uint64_t{0};
  }
  std::optional<uint32_t> Finish(const Call&, const Request&, const Profiles&) const { return 0; }
};

}  // namespace

WEIR_PLUGIN(module) {
  module.Describe("bad-plugins", "1");
  module.AddScorer<NanScorer>("nan-scorer");
  module.AddScorer<ThrowingScorer>("throwing-scorer");
  module.AddScorer<CountingScorer>("counting-scorer");
  module.AddFilter<ThrowingFilter>("throwing-filter");
  module.AddFilter<DropFirstFilter>("drop-first-filter");
  module.AddFilter<DropAllFilter>("drop-all-filter");
  module.Add<GreedyFilter>("greedy-filter").Implements(WEIR_INTERFACE_FILTER, &kSetAllBits);
  module.AddPicker<WildPicker>("wild-picker");
  module.AddPicker<IdlePicker>("idle-picker");
  module.AddProducer<GreedyProducer>("greedy-producer").Writes(kMood);
  module.AddProducer<FailingProducer>("failing-producer").Writes(kMood);
  module.AddScorer<MoodScorer>("mood-scorer").MayRead(kMood);
  module.AddScorer<NeedyScorer>("needy-scorer").Reads(kMood);
  module.AddFilter<NeedyFilter>("needy-filter").Reads(kMood);
  module.AddPicker<NeedyPicker>("needy-picker").Reads(kMood);
  module.AddProfileHandler<WrongPrimaryHandler>("wrong-primary-handler");
  module.AddProfileHandler<EndlessHandler>("endless-handler");
  module.AddProfileHandler<ThoroughHandler>("thorough-handler");
}
