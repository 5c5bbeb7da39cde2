#include <algorithm>
#include <string>

#include "params_schema.h"
#include "weir/plugin/scorer.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::Params;
using weir::plugin::Request;

// Counter of endpoints scored 0 because the producer had no blocks for the prompt.
constexpr uint32_t kCounterNoData = 0;

class PrefixCacheScorer {
 public:
  explicit PrefixCacheScorer(const Params& params)
      : length_weight_(params.number("matchLengthWeight", 0.0)) {
    const int64_t scale_tokens = params.integer("matchLengthScaleTokens", 8192);
    if (!(length_weight_ >= 0 && length_weight_ <= 1)) {
      Params::Fail("matchLengthWeight: " + std::to_string(length_weight_) + ", expected 0..1");
    }
    if (length_weight_ > 0 && scale_tokens <= 0) {
      Params::Fail("matchLengthScaleTokens: " + std::to_string(scale_tokens) +
                   ", expected > 0 with a matchLengthWeight");
    }
    scale_tokens_ = static_cast<double>(std::max<int64_t>(scale_tokens, 1));
  }

  void Score(const Request&, const Batch& batch, double* score) const {
    const auto matches = batch.column<weir_prefix_match>(0);
    uint32_t no_data = 0;
    for (uint32_t i = 0; i < batch.count(); ++i) {
      const weir_prefix_match& match = matches[i];
      if (match.total_blocks == 0) {
        ++no_data;
        continue;
      }
      const double matched = match.matched_blocks;
      score[i] = (1 - length_weight_) * matched / match.total_blocks;
      if (length_weight_ == 0) continue;
      // Squared, so that short matches hardly count and long ones outweigh their share.
      const double length = std::min(1.0, matched * match.block_tokens / scale_tokens_);
      score[i] += length_weight_ * length * length;
    }
    if (no_data > 0) batch.call().Count(kCounterNoData, no_data);
  }

 private:
  double length_weight_;
  double scale_tokens_;
};

}  // namespace

WEIR_PLUGIN(module) {
  // An endpoint that is a cluster holds prefixes like one that is a server.
  module.AddScorer<PrefixCacheScorer>("multicluster-prefix-cache-scorer")
      .Schema(kParamsSchema)
      .Alpha()
      .Reads(weir::plugin::kPrefixMatch, "prefixMatchInfoProducerName")
      .ReadsLoad(0);
  module.AddScorer<PrefixCacheScorer>("prefix-cache-scorer")
      .Schema(kParamsSchema)
      .Beta()
      .Reads(weir::plugin::kPrefixMatch, "prefixMatchInfoProducerName")
      .ReadsLoad(0);
}
