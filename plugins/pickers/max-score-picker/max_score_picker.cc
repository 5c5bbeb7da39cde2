#include <algorithm>
#include <limits>

#include "params_schema.h"
#include "weir/plugin/picker.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::DrawIndex;
using weir::plugin::Params;
using weir::plugin::Request;

constexpr double kLowest = -std::numeric_limits<double>::infinity();

class MaxScorePicker {
 public:
  explicit MaxScorePicker(const Params& params)
      : count_max_(std::max<int64_t>(params.integer("maxNumOfEndpoints", 1), 1)) {}

  // The highest score, uniform among equals; then the highest of the rest. O(picks * endpoints).
  uint32_t Pick(const Request&, const Batch& batch, const double* score, uint32_t* index,
                uint32_t index_max) const {
    const uint32_t count = batch.count();
    uint32_t picked = 0;
    const auto is_free = [&](uint32_t i) {
      return std::find(index, index + picked, i) == index + picked;
    };
    for (; picked < index_max && picked < count_max_; ++picked) {
      double best = kLowest;
      uint32_t first = 0, equals = 0;
      for (uint32_t i = 0; i < count; ++i) {
        if (!(score[i] >= best) || !is_free(i)) continue;  // NaN never is the best
        equals = score[i] > best ? 1 : equals + 1;
        if (equals == 1) first = i;
        best = score[i];
      }
      if (equals == 1 && best > kLowest) {
        index[picked] = first;
        continue;
      }
      const auto next = DrawIndex(batch.call(), count, [&](uint32_t i) {
        return (score[i] == best || best == kLowest) && is_free(i);
      });
      if (!next.has_value()) break;
      index[picked] = *next;
    }
    return picked;
  }

 private:
  int64_t count_max_;
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddPicker<MaxScorePicker>("max-score-picker").Schema(kParamsSchema).Beta().ReadsLoad(0);
}
