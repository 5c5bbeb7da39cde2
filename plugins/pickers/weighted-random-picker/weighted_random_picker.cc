#include <algorithm>
#include <cmath>

#include "params_schema.h"
#include "weir/limits.h"
#include "weir/plugin/picker.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::DrawIndex;
using weir::plugin::Params;
using weir::plugin::Request;

constexpr double kSmallestDraw = 1e-10;  // in place of 0, whose logarithm is infinite

class WeightedRandomPicker {
 public:
  explicit WeightedRandomPicker(const Params& params)
      : count_max_(
            std::clamp<int64_t>(params.integer("maxNumOfEndpoints", 1), 1, weir::kTargetsMax)) {}

  // Sampling without replacement, with chances in proportion to the scores (Efraimidis and
  // Spirakis): the largest u^(1/score) win. Compared as log(u) / score, which orders alike.
  uint32_t Pick(const Request&, const Batch& batch, const double* score, uint32_t* index,
                uint32_t index_max) const {
    const uint32_t wanted = std::min(index_max, count_max_);
    double keys[weir::kTargetsMax];
    uint32_t picked = 0;
    for (uint32_t i = 0; i < batch.count(); ++i) {
      if (!(score[i] > 0)) continue;
      const double key = std::log(std::max(batch.call().uniform(), kSmallestDraw)) / score[i];
      if (picked == wanted && (wanted == 0 || key <= keys[wanted - 1])) continue;
      uint32_t at = picked < wanted ? picked++ : wanted - 1;
      for (; at > 0 && keys[at - 1] < key; --at) {
        keys[at] = keys[at - 1];
        index[at] = index[at - 1];
      }
      keys[at] = key;
      index[at] = i;
    }
    // Endpoints without a score come last, in random order.
    for (; picked < wanted; ++picked) {
      const auto next = DrawIndex(batch.call(), batch.count(), [&](uint32_t i) {
        return std::find(index, index + picked, i) == index + picked;
      });
      if (!next.has_value()) break;
      index[picked] = *next;
    }
    return picked;
  }

 private:
  uint32_t count_max_;
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddPicker<WeightedRandomPicker>("weighted-random-picker")
      .Schema(kParamsSchema)
      .Beta()
      .ReadsLoad(0);
}
