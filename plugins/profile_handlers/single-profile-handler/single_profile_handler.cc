#include "params_schema.h"
#include "weir/plugin/profile_handler.h"

namespace {

using weir::plugin::Call;
using weir::plugin::Profiles;
using weir::plugin::Request;

class SingleProfileHandler {
 public:
  static constexpr uint32_t kProfilesMax = 1;

  uint64_t Next(const Call&, const Request&, const Profiles& profiles) const {
    return profiles.ran(0) ? 0 : 1;
  }
  std::optional<uint32_t> Finish(const Call&, const Request&, const Profiles& profiles) const {
    return profiles.picked(0) ? std::optional<uint32_t>(0) : std::nullopt;
  }
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddProfileHandler<SingleProfileHandler>("single-profile-handler")
      .Schema(kParamsSchema)
      .Beta()
      .ReadsLoad(0);
}
