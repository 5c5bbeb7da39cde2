#include <algorithm>

#include "params_schema.h"
#include "weir/plugin/picker.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::DrawIndex;
using weir::plugin::Params;
using weir::plugin::Request;

class RandomPicker {
 public:
  explicit RandomPicker(const Params& params)
      : count_max_(std::max<int64_t>(params.integer("maxNumOfEndpoints", 1), 1)) {}

  uint32_t Pick(const Request&, const Batch& batch, const double*, uint32_t* index,
                uint32_t index_max) const {
    uint32_t picked = 0;
    for (; picked < index_max && picked < count_max_; ++picked) {
      const auto next = DrawIndex(batch.call(), batch.count(), [&](uint32_t i) {
        return std::find(index, index + picked, i) == index + picked;
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
  module.AddPicker<RandomPicker>("random-picker").Schema(kParamsSchema).Beta().ReadsLoad(0);
}
