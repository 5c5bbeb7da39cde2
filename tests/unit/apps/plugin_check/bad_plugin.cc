// Plugin types that each break one rule, for the test of weir-plugin-check.
#include <cmath>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <vector>

#include "weir/plugin/filter.h"
#include "weir/plugin/picker.h"
#include "weir/plugin/profile_handler.h"
#include "weir/plugin/scorer.h"

using weir::plugin::Batch;
using weir::plugin::Call;
using weir::plugin::Params;
using weir::plugin::Profiles;
using weir::plugin::Request;

struct Good {
  void Score(const Request&, const Batch&, double*) const {}
};

struct WritesBehind {
  void Score(const Request&, const Batch& batch, double* score) const { score[batch.count()] = 1; }
};

struct WritesBefore {
  void Score(const Request&, const Batch&, double* score) const { score[-1] = 1; }
};

struct ReadsBehind {
  void Score(const Request&, const Batch& batch, double* score) const {
    score[0] = batch.waiting_requests()[batch.count()] == 1 ? 0.5 : 0.25;
  }
};

struct ReadsNewerHost {
  void Score(const Request& request, const Batch&, double* score) const {
    const auto* behind = reinterpret_cast<const unsigned char*>(request.raw() + 1);
    score[0] = *behind == 0 ? 0.5 : 0.25;
  }
};

struct Allocates {
  void Score(const Request&, const Batch& batch, double* score) const {
    const std::vector<double> copy(batch.count(), 0.5);
    score[0] = copy[0];
  }
};

struct GivesNan {
  void Score(const Request&, const Batch&, double* score) const {
    score[0] = std::numeric_limits<double>::quiet_NaN();
  }
};

struct Throws {
  void Score(const Request&, const Batch&, double*) const { throw std::runtime_error("no"); }
};

struct Exits {
  void Score(const Request&, const Batch&, double*) const { std::_Exit(0); }
};

struct Remembers {
  void Score(const Request&, const Batch&, double* score) const {
    calls_ = calls_ + 1;
    score[0] = static_cast<double>(calls_ % 100) / 100;
  }
  mutable volatile int calls_ = 0;
};

// Crashes only where a value is odd, which the fuzzer and the odd columns find.
struct CrashesOnNan {
  void Score(const Request&, const Batch& batch, double*) const {
    for (const float used : batch.kv_used_ratio()) {
      if (std::isnan(used)) std::abort();
    }
  }
};

struct PicksTwice {
  uint32_t Pick(const Request&, const Batch&, const double*, uint32_t* index,
                uint32_t index_max) const {
    for (uint32_t i = 0; i < index_max; ++i) index[i] = 0;
    return index_max;
  }
};

struct PicksOutside {
  uint32_t Pick(const Request&, const Batch& batch, const double*, uint32_t* index,
                uint32_t) const {
    index[0] = batch.count();
    return 1;
  }
};

struct NeverDone {
  uint64_t Next(const Call&, const Request&, const Profiles&) const { return 1u << 20; }
  std::optional<uint32_t> Finish(const Call&, const Request&, const Profiles&) const { return 0; }
};

struct NeedsParameters {
  explicit NeedsParameters(const Params& params) {
    if (params.string("name").empty()) Params::Fail("name: empty, expected a name");
  }
  void Score(const Request&, const Batch&, double*) const {}
};

struct CrashesOnParameters {
  explicit CrashesOnParameters(const Params& params) {
    if (params.integer("depth", 1) < 0) std::abort();
  }
  void Score(const Request&, const Batch&, double*) const {}
};

// A filter by hand: the wrapper's Mask cannot set bits.
static weir_code BringBack(void*, const weir_call*, const weir_request*, const weir_batch*,
                           uint64_t* keep) {
  keep[0] = ~uint64_t{0};
  return WEIR_OK;
}
static constexpr weir_filter kBringsBack{sizeof(weir_filter), 0, BringBack};

WEIR_PLUGIN(module) {
  module.AddScorer<Good>("good");
  module.AddScorer<WritesBehind>("writes-behind");
  module.AddScorer<WritesBefore>("writes-before");
  module.AddScorer<ReadsBehind>("reads-behind");
  module.AddScorer<ReadsNewerHost>("reads-newer-host");
  module.AddScorer<Allocates>("allocates");
  module.AddScorer<GivesNan>("gives-nan");
  module.AddScorer<Throws>("throws");
  module.AddScorer<Exits>("exits");
  module.AddScorer<Remembers>("remembers");
  module.AddScorer<CrashesOnNan>("crashes-on-nan");
  module.AddScorer<Good>("brings-back").Implements(WEIR_INTERFACE_FILTER, &kBringsBack);
  module.AddPicker<PicksTwice>("picks-twice");
  module.AddPicker<PicksOutside>("picks-outside");
  module.AddProfileHandler<NeverDone>("never-done");
  module.AddScorer<NeedsParameters>("needs-parameters");
  module.AddScorer<NeedsParameters>("has-example")
      .Schema(R"({"type": "object", "examples": [{"name": "x"}],
                  "properties": {"name": {"type": "string", "description": "A name."}}})");
  module.AddScorer<CrashesOnParameters>("crashes-on-parameters")
      .Schema(
          R"({"type": "object", "properties": {"depth": {"type": "integer", "description": "-"}}})");
  module.AddScorer<Good>("broken-schema").Schema("{");
}
