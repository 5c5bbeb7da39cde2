#include <string_view>

#include "params_schema.h"
#include "weir/plugin/filter.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::LabelValues;
using weir::plugin::Mask;
using weir::plugin::Request;

constexpr std::string_view kRoleLabel = "llm-d.ai/role";
constexpr std::string_view kRoles[] = {"encode", "encode-prefill", "encode-prefill-decode"};

class EncodeFilter {
 public:
  void Apply(const Request&, const Batch& batch, Mask keep) const {
    const auto labels = batch.labels(kRoleLabel);
    const LabelValues roles(batch, kRoles);
    keep.KeepIf([&](uint32_t i) { return roles.contains(labels[i]); });
  }
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddFilter<EncodeFilter>("encode-filter").Schema(kParamsSchema).Beta().ReadsLoad(0);
}
