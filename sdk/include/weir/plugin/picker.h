// weir/plugin/picker.h: chooses among scored endpoints.
#pragma once

#include "weir/plugin/plugin.h"

namespace weir::plugin {

// One of the indices below `count` for which eligible(index) is true, each with the same chance, or
// nothing if there is none. Draws only where there is a choice. O(count). [hot]
template <class Predicate>
std::optional<uint32_t> DrawIndex(const Call& call, uint32_t count, const Predicate& eligible) {
  uint32_t eligible_count = 0;
  for (uint32_t i = 0; i < count; ++i) eligible_count += eligible(i) ? 1 : 0;
  if (eligible_count == 0) return std::nullopt;
  uint32_t ahead = eligible_count == 1 ? 0 : static_cast<uint32_t>(call.uniform() * eligible_count);
  for (uint32_t i = 0; i < count; ++i) {
    if (eligible(i) && ahead-- == 0) return i;
  }
  return std::nullopt;
}

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
