#include <weir/plugin/scorer.h>

// Prefers endpoints in the caller's zone.
class ZoneScorer {
 public:
  explicit ZoneScorer(const weir::plugin::Params& params) : other_(params.number("other", 0.2)) {}
  void Score(const weir::plugin::Request& request, const weir::plugin::Batch& batch,
             double* score) const {
    const auto zone = batch.labels("zone");  // interned: one integer per endpoint
    const auto here = batch.intern(request.header("x-zone"));
    for (uint32_t i = 0; i < batch.count(); ++i) score[i] = zone[i] == here ? 1.0 : other_;
  }

 private:
  double other_;
};

WEIR_PLUGIN(module) { module.AddScorer<ZoneScorer>("zone-scorer"); }
