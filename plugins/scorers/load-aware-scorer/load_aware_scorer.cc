#include <algorithm>

#include "params_schema.h"
#include "weir/plugin/scorer.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::Params;
using weir::plugin::Request;

constexpr int64_t kThresholdDefault = 128;

class LoadAwareScorer {
 public:
  explicit LoadAwareScorer(const Params& params) {
    const int64_t threshold = params.integer("threshold", kThresholdDefault);
    if (threshold > 0) {
      threshold_ = static_cast<double>(threshold);
    } else {
      params.Log(WEIR_LOG_WARNING, "threshold: not above 0, using the default 128");
    }
  }

  // Absolute, unlike queue-scorer: 0.5 for an empty queue, so that it never outweighs affinity.
  void Score(const Request&, const Batch& batch, double* score) const {
    const auto waiting = batch.waiting_requests();
    for (uint32_t i = 0; i < batch.count(); ++i) {
      score[i] = 0.5 * (1.0 - std::min<double>(waiting[i], threshold_) / threshold_);
    }
  }

 private:
  double threshold_ = kThresholdDefault;
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddScorer<LoadAwareScorer>("load-aware-scorer")
      .Schema(kParamsSchema)
      .Beta()
      .ReadsLoad(WEIR_LOAD_WAITING_REQUESTS);
}
