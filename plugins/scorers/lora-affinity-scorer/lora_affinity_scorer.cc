#include "params_schema.h"
#include "weir/plugin/scorer.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::Request;

double ScoreOf(const weir_adapter& adapter) {
  if (adapter.state == WEIR_ADAPTER_ACTIVE) return 1.0;
  if (adapter.used < adapter.adapters_max) return 0.8;
  return adapter.state == WEIR_ADAPTER_WAITING ? 0.6 : 0.0;
}

class LoraAffinityScorer {
 public:
  void Score(const Request& request, const Batch& batch, double* score) const {
    const auto adapters = batch.adapters(request.model());
    if (!adapters) return;
    for (uint32_t i = 0; i < batch.count(); ++i) score[i] = ScoreOf(adapters[i]);
  }
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddScorer<LoraAffinityScorer>("lora-affinity-scorer")
      .Schema(kParamsSchema)
      .ReadsLoad(WEIR_LOAD_ADAPTERS)
      .Beta();
}
