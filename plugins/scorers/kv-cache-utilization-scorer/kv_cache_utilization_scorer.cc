#include "params_schema.h"
#include "weir/plugin/scorer.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::Request;

class KvCacheUtilizationScorer {
 public:
  void Score(const Request&, const Batch& batch, double* score) const {
    const auto used = batch.kv_used_ratio();
    for (uint32_t i = 0; i < batch.count(); ++i) score[i] = 1.0 - used[i];
  }
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddScorer<KvCacheUtilizationScorer>("kv-cache-utilization-scorer")
      .Schema(kParamsSchema)
      .Beta()
      .ReadsLoad(WEIR_LOAD_KV_USED_RATIO);
}
