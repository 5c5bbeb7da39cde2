// weir/plugin/profile_handler.h: decides which scheduling profiles run and which one counts.
#pragma once

#include "weir/plugin/plugin.h"

namespace weir::plugin {

// The profiles of the pipeline, in the order of the configuration. [hot]
class Profiles {
 public:
  explicit Profiles(const weir_profiles* profiles) noexcept : profiles_(profiles) {}
  uint32_t count() const noexcept { return profiles_->count; }
  std::string_view name(uint32_t index) const noexcept { return View(profiles_->names[index]); }
  bool ran(uint32_t index) const noexcept {
    return profiles_->states[index] != WEIR_PROFILE_NOT_RUN;
  }
  bool picked(uint32_t index) const noexcept {
    return profiles_->states[index] == WEIR_PROFILE_PICKED;
  }
  // REQUIRES: picked(index)
  uint32_t primary_slot(uint32_t index) const noexcept { return profiles_->primary_slots[index]; }

 private:
  const weir_profiles* profiles_;
};

// T has:
//   uint64_t Next(const Call& call, const Request& request, const Profiles& profiles) const
//     returns a bit per profile to run now; called again after they ran, until it returns 0.
//   std::optional<uint32_t> Finish(const Call&, const Request&, const Profiles&) const
//     returns the profile whose first pick serves the request, or nothing if it cannot be placed.
// Optional: static constexpr uint32_t kProfilesMax. [hot, concurrent]
template <class T>
struct ProfileHandlerTable {
  template <class U, class = void>
  struct Limit : std::integral_constant<uint32_t, 0> {};
  template <class U>
  struct Limit<U, std::void_t<decltype(U::kProfilesMax)>>
      : std::integral_constant<uint32_t, U::kProfilesMax> {};

  static weir_code Next(void* self, const weir_call* call, const weir_request* request,
                        const weir_profiles* profiles, uint64_t* run) noexcept {
    try {
      *run = static_cast<const T*>(self)->Next(Call(call), Request(request), Profiles(profiles));
      return WEIR_OK;
    } catch (...) {
      return WEIR_INTERNAL;
    }
  }
  static weir_code Finish(void* self, const weir_call* call, const weir_request* request,
                          const weir_profiles* profiles, uint32_t* primary) noexcept {
    try {
      const std::optional<uint32_t> chosen =
          static_cast<const T*>(self)->Finish(Call(call), Request(request), Profiles(profiles));
      if (!chosen.has_value()) return WEIR_UNAVAILABLE;
      *primary = *chosen;
      return WEIR_OK;
    } catch (...) {
      return WEIR_INTERNAL;
    }
  }
  static constexpr weir_profile_handler kTable{sizeof(weir_profile_handler), Limit<T>::value, Next,
                                               Finish};
};

}  // namespace weir::plugin
