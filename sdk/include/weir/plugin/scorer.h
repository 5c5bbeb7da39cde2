// weir/plugin/scorer.h: prefers some endpoints over others.
#pragma once

#include "weir/plugin/plugin.h"

namespace weir::plugin {

// T has: void Score(const Request& request, const Batch& batch, double* score) const.
// Writes score[i] in 0..1 for each endpoint of the batch, higher is better; preset is 0. Values
// outside are clamped, NaN counts as 0. [hot, concurrent]
template <class T>
struct ScorerTable {
  static weir_code Score(void* self, const weir_call* call, const weir_request* request,
                         const weir_batch* batch, double* score) noexcept {
    try {
      static_cast<const T*>(self)->Score(Request(request), Batch(call, batch), score);
      return WEIR_OK;
    } catch (...) {
      return WEIR_INTERNAL;
    }
  }
  static constexpr weir_scorer kTable{sizeof(weir_scorer), 0, Score};
};

}  // namespace weir::plugin
