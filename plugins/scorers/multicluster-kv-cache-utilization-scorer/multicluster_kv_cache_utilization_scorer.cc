#include <cmath>

#include "params_schema.h"
#include "weir/plugin/scorer.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::Request;

class MulticlusterKvCacheUtilizationScorer {
 public:
  void Score(const Request&, const Batch& batch, double* score) const {
    const auto used = batch.column<double>(0);
    if (!used) return;
    for (uint32_t i = 0; i < batch.count(); ++i) {
      if (!std::isnan(used[i])) score[i] = 1.0 - used[i];
    }
  }
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddScorer<MulticlusterKvCacheUtilizationScorer>("multicluster-kv-cache-utilization-scorer")
      .Schema(kParamsSchema)
      .Reads(weir::plugin::kClusterKvUsedRatio)
      .ReadsLoad(0)
      .Alpha();
}
