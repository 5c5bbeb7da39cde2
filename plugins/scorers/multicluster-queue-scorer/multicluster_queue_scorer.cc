#include <algorithm>
#include <cmath>
#include <limits>

#include "params_schema.h"
#include "weir/plugin/scorer.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::Request;

class MulticlusterQueueScorer {
 public:
  void Score(const Request&, const Batch& batch, double* score) const {
    const auto sizes = batch.column<double>(0);
    if (!sizes) return;
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    for (const double size : sizes) {
      if (std::isnan(size)) continue;
      low = std::min(low, size);
      high = std::max(high, size);
    }
    for (uint32_t i = 0; i < batch.count(); ++i) {
      if (std::isnan(sizes[i])) continue;
      score[i] = high == low ? 1.0 : (high - sizes[i]) / (high - low);
    }
  }
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddScorer<MulticlusterQueueScorer>("multicluster-queue-scorer")
      .Schema(kParamsSchema)
      .Reads(weir::plugin::kClusterQueueSize)
      .ReadsLoad(0)
      .Alpha();
}
