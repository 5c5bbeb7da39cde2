#include <algorithm>

#include "params_schema.h"
#include "weir/plugin/scorer.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::Request;

class QueueScorer {
 public:
  void Score(const Request&, const Batch& batch, double* score) const {
    const auto waiting = batch.waiting_requests();
    const uint32_t count = batch.count();
    uint32_t low = waiting[0], high = waiting[0];
    for (const uint32_t requests : waiting) {
      low = std::min(low, requests);
      high = std::max(high, requests);
    }
    const double span = static_cast<double>(high) - low;
    for (uint32_t i = 0; i < count; ++i) {
      score[i] = span == 0 ? 1.0 : (high - waiting[i]) / span;
    }
  }
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddScorer<QueueScorer>("queue-scorer")
      .Schema(kParamsSchema)
      .ReadsLoad(WEIR_LOAD_WAITING_REQUESTS)
      .Beta();
}
