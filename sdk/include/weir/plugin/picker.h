// weir/plugin/picker.h: chooses among scored endpoints.
#pragma once

#include "weir/plugin/plugin.h"

namespace weir::plugin {

// T has: uint32_t Pick(const Request& request, const Batch& batch, const double* score,
//                      uint32_t* index, uint32_t index_max) const.
// Writes up to index_max distinct indices below batch.count(), best first, and returns how many.
// score[i] is the weighted sum. Draws come from batch.call().uniform(). [hot, concurrent]
template <class T>
struct PickerTable {
  static weir_code Pick(void* self, const weir_call* call, const weir_request* request,
                        const weir_batch* batch, const double* score, uint32_t* index,
                        uint32_t index_max, uint32_t* index_count) noexcept {
    try {
      *index_count = static_cast<const T*>(self)->Pick(Request(request), Batch(call, batch), score,
                                                       index, index_max);
      return WEIR_OK;
    } catch (...) {
      return WEIR_INTERNAL;
    }
  }
  static constexpr weir_picker kTable{sizeof(weir_picker), 0, Pick};
};

}  // namespace weir::plugin
