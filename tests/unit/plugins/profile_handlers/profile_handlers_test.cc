#include <gtest/gtest.h>

#include "plugin_harness.h"

namespace weir::testing {
namespace {

TEST(SingleProfileHandler, RunsTheProfileOnceAndTakesItsPick) {
  PluginHarness harness("single-profile-handler", R"({"ignored": 1})");
  const auto& handler = harness.table<weir_profile_handler>(WEIR_INTERFACE_PROFILE_HANDLER);
  EXPECT_EQ(handler.profiles_max, 1u);
  const weir_str name = plugin_check::Str("default");
  uint32_t state = WEIR_PROFILE_NOT_RUN;
  const uint32_t slot = 5;
  const weir_profiles profiles = {sizeof(weir_profiles), 1, &name, &state, &slot};
  KitRequestView request{KitRequest{}};
  const KitPool pool({{.name = "a"}});
  const weir_call* call = harness.host().Begin(pool, request);
  AllocationForbidden guard;

  uint64_t run = 0;
  EXPECT_EQ(handler.next(harness.self(), call, &request.raw(), &profiles, &run), WEIR_OK);
  EXPECT_EQ(run, 1u);
  uint32_t primary = 9;
  state = WEIR_PROFILE_PICKED;
  EXPECT_EQ(handler.next(harness.self(), call, &request.raw(), &profiles, &run), WEIR_OK);
  EXPECT_EQ(run, 0u);
  EXPECT_EQ(handler.finish(harness.self(), call, &request.raw(), &profiles, &primary), WEIR_OK);
  EXPECT_EQ(primary, 0u);
  state = WEIR_PROFILE_FAILED;
  EXPECT_EQ(handler.finish(harness.self(), call, &request.raw(), &profiles, &primary),
            WEIR_UNAVAILABLE);
}

}  // namespace
}  // namespace weir::testing
