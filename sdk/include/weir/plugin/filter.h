// weir/plugin/filter.h: drops endpoints that must not serve a request.
#pragma once

#include "weir/plugin/plugin.h"

namespace weir::plugin {

// The endpoints that are still in, one bit each.
class Mask {
 public:
  Mask(uint64_t* words, uint32_t count) noexcept : words_(words), count_(count) {}
  bool kept(uint32_t index) const noexcept { return (words_[index / 64] >> (index % 64)) & 1; }
  void Drop(uint32_t index) noexcept { words_[index / 64] &= ~(uint64_t{1} << (index % 64)); }
  // Drops each kept endpoint for which keep(index) is false.
  template <class Predicate>
  void KeepIf(const Predicate& keep) {
    for (uint32_t i = 0; i < count_; ++i) {
      if (kept(i) && !keep(i)) Drop(i);
    }
  }

 private:
  uint64_t* words_;
  uint32_t count_;
};

// A set of label values as the numbers of one batch, at most kLabelValuesMax. [hot]
inline constexpr uint32_t kLabelValuesMax = 64;
class LabelValues {
 public:
  // Texts is a range of std::string or std::string_view. REQUIRES: at most kLabelValuesMax of them.
  template <class Texts>
  LabelValues(const Batch& batch, const Texts& texts) noexcept {
    for (const auto& text : texts) numbers_[count_++] = batch.intern(text);
  }
  // False for WEIR_LABEL_ABSENT.
  bool contains(uint32_t label) const noexcept {
    for (uint32_t i = 0; i < count_; ++i) {
      if (numbers_[i] == label) return true;
    }
    return false;
  }

 private:
  uint32_t numbers_[kLabelValuesMax];
  uint32_t count_ = 0;
};

// T has: void Apply(const Request& request, const Batch& batch, Mask keep) const.
// Drops endpoints from `keep`, which is preset with those that earlier filters left. The batch
// holds all candidates. [hot, concurrent]
template <class T>
struct FilterTable {
  static weir_code Apply(void* self, const weir_call* call, const weir_request* request,
                         const weir_batch* batch, uint64_t* keep) noexcept {
    try {
      static_cast<const T*>(self)->Apply(Request(request), Batch(call, batch),
                                         Mask(keep, batch->count));
      return WEIR_OK;
    } catch (...) {
      return WEIR_INTERNAL;
    }
  }
  static constexpr weir_filter kTable{sizeof(weir_filter), 0, Apply};
};

}  // namespace weir::plugin
