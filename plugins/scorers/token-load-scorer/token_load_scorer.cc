#include <algorithm>

#include "params_schema.h"
#include "weir/plugin/scorer.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::Params;
using weir::plugin::Request;

constexpr int64_t kQueueThresholdTokensDefault = 128 * 32768;

class TokenLoadScorer {
 public:
  explicit TokenLoadScorer(const Params& params) {
    const int64_t threshold = params.integer("queueThresholdTokens", kQueueThresholdTokensDefault);
    if (threshold > 0) {
      threshold_tokens_ = static_cast<double>(threshold);
    } else {
      params.Log(WEIR_LOG_WARNING, "queueThresholdTokens: not above 0, using the default 4194304");
    }
  }

  void Score(const Request&, const Batch& batch, double* score) const {
    const auto load = batch.column<weir_in_flight_load>(0);
    const auto uncached_tokens = batch.column<int64_t>(1);
    for (uint32_t i = 0; i < batch.count(); ++i) {
      const double tokens =
          static_cast<double>(load[i].tokens) + static_cast<double>(uncached_tokens[i]);
      score[i] = 1.0 - std::clamp(tokens, 0.0, threshold_tokens_) / threshold_tokens_;
    }
  }

 private:
  double threshold_tokens_ = kQueueThresholdTokensDefault;
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddScorer<TokenLoadScorer>("token-load-scorer")
      .Schema(kParamsSchema)
      .Beta()
      .ReadsLoad(0)
      .Reads(weir::plugin::kInFlightLoad, "inFlightLoadProducerName")
      .Reads(weir::plugin::kUncachedTokens, "inFlightLoadProducerName");
}
