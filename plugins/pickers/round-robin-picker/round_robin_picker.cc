#include <algorithm>
#include <atomic>

#include "params_schema.h"
#include "weir/plugin/picker.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::Params;
using weir::plugin::Request;

class RoundRobinPicker {
 public:
  explicit RoundRobinPicker(const Params& params)
      : count_max_(std::max<int64_t>(params.integer("maxNumOfEndpoints", 1), 1)) {}

  uint32_t Pick(const Request&, const Batch& batch, const double*, uint32_t* index,
                uint32_t index_max) const {
    const uint64_t turn = next_.fetch_add(1, std::memory_order_relaxed);
    uint32_t picked = 0;
    for (; picked < index_max && picked < count_max_ && picked < batch.count(); ++picked) {
      index[picked] = static_cast<uint32_t>((turn + picked) % batch.count());
    }
    return picked;
  }

 private:
  int64_t count_max_;
  mutable std::atomic<uint64_t> next_{0};
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddPicker<RoundRobinPicker>("round-robin-picker")
      .Schema(kParamsSchema)
      .ReadsLoad(0)
      .Beta();
}
