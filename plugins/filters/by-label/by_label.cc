#include <algorithm>
#include <string>
#include <vector>

#include "params_schema.h"
#include "weir/plugin/filter.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::kLabelValuesMax;
using weir::plugin::LabelValues;
using weir::plugin::Mask;
using weir::plugin::Params;
using weir::plugin::Request;

class ByLabel {
 public:
  explicit ByLabel(const Params& params)
      : label_(params.string("label")),
        valid_values_(params.strings("validValues")),
        allows_no_label_(params.boolean("allowsNoLabel", false)) {
    if (label_.empty()) Params::Fail("label: empty, expected the key of a label");
    if (valid_values_.empty() && !allows_no_label_) {
      Params::Fail("validValues: empty, expected values unless allowsNoLabel is true");
    }
    if (valid_values_.size() > kLabelValuesMax) {
      Params::Fail("validValues: more than " + std::to_string(kLabelValuesMax) + " values");
    }
    // llm-d's picker compares an absent label as the empty text.
    const auto empty = std::find(valid_values_.begin(), valid_values_.end(), "");
    if (empty != valid_values_.end()) allows_no_label_ = true;
  }

  void Apply(const Request&, const Batch& batch, Mask keep) const {
    const auto labels = batch.labels(label_);
    const LabelValues valid(batch, valid_values_);
    keep.KeepIf([&](uint32_t i) {
      return labels[i] == WEIR_LABEL_ABSENT ? allows_no_label_ : valid.contains(labels[i]);
    });
  }

 private:
  std::string label_;
  std::vector<std::string> valid_values_;
  bool allows_no_label_;
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddFilter<ByLabel>("by-label")
      .Schema(kParamsSchema)
      .Beta()
      .ReadsLoad(0)
      .Deprecated("label-selector-filter");
}
