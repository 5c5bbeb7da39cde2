#include <algorithm>

#include "params_schema.h"
#include "weir/plugin/scorer.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::Request;

class RunningRequestsSizeScorer {
 public:
  void Score(const Request&, const Batch& batch, double* score) const {
    const auto running = batch.running_requests();
    const auto [low, high] = std::minmax_element(running.begin(), running.end());
    const double span = static_cast<double>(*high) - *low;
    for (uint32_t i = 0; i < batch.count(); ++i) {
      score[i] = span == 0 ? 1.0 : (*high - running[i]) / span;
    }
  }
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddScorer<RunningRequestsSizeScorer>("running-requests-size-scorer")
      .Schema(kParamsSchema)
      .Beta()
      .ReadsLoad(WEIR_LOAD_RUNNING_REQUESTS);
}
