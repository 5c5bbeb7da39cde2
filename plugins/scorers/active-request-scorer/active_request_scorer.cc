#include <algorithm>

#include "params_schema.h"
#include "weir/plugin/scorer.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::Params;
using weir::plugin::Request;

class ActiveRequestScorer {
 public:
  explicit ActiveRequestScorer(const Params& params)
      : idle_threshold_(std::max<int64_t>(params.integer("idleThreshold", 0), 0)) {
    const double busy = params.number("maxBusyScore", max_busy_score_);
    if (busy >= 0 && busy <= 1) {
      max_busy_score_ = busy;
    } else {
      params.Log(WEIR_LOG_WARNING, "maxBusyScore: outside 0..1, using the default 1");
    }
  }

  // Equal load above the threshold gives 0 for all, unlike queue-scorer's 1; users of llm-d's
  // picker balance their weights around that.
  void Score(const Request&, const Batch& batch, double* score) const {
    const auto load = batch.column<weir_in_flight_load>(0);
    int64_t most = 0;
    for (const weir_in_flight_load& one : load) most = std::max(most, one.requests);
    const auto most_requests = static_cast<double>(most);
    const uint32_t count = batch.count();
    for (uint32_t i = 0; i < count; ++i) {
      const int64_t requests = load[i].requests;
      score[i] = requests <= idle_threshold_ ? 1.0
                                             : (most_requests - static_cast<double>(requests)) /
                                                   most_requests * max_busy_score_;
    }
  }

 private:
  int64_t idle_threshold_;
  double max_busy_score_ = 1.0;
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddScorer<ActiveRequestScorer>("active-request-scorer")
      .Schema(kParamsSchema)
      .Beta()
      .ReadsLoad(0)
      .Reads(weir::plugin::kInFlightLoad, "inFlightLoadProducerName");
}
