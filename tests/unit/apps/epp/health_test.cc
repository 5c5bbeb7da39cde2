#include "health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace weir::epp {
namespace {

TEST(Health, GoldenTable) {
  std::ifstream file(WEIR_SOURCE_DIR "/tests/golden/epp/health.json");
  const auto rows = nlohmann::json::parse(file);
  const std::map<std::string, io::ServingStatus> statuses = {
      {"SERVING", io::ServingStatus::kServing},
      {"NOT_SERVING", io::ServingStatus::kNotServing},
      {"SERVICE_UNKNOWN", io::ServingStatus::kServiceUnknown}};
  ASSERT_GT(rows.size(), 20u);
  for (const auto& row : rows) {
    SCOPED_TRACE(row.dump());
    const auto& inputs = row["inputs"];
    const std::string service = row["service"];
    EXPECT_EQ(HealthOf(service, {.leader_election = row["election"],
                                 .live = inputs["live"],
                                 .leader = inputs.value("leader", true),
                                 .protocol = inputs.value("protocol", true),
                                 .plugins = inputs.value("plugins", true),
                                 .draining = inputs.value("draining", false)}),
              statuses.at(row["status"]));
  }
}

TEST(Health, FollowsTheProcess) {
  Health health(false);
  EXPECT_FALSE(health.ready());
  health.set_live();
  EXPECT_TRUE(health.ready());
  health.set_draining();
  EXPECT_FALSE(health.ready());
  EXPECT_EQ(health.StatusOf("liveness"), io::ServingStatus::kServing);
}

TEST(Health, ListsTheNamesThatProbesUse) {
  Health health(false);
  std::vector<std::string> names;
  health.ListServices(names);
  EXPECT_THAT(names, ::testing::ElementsAre("envoy.service.ext_proc.v3.ExternalProcessor",
                                            "liveness", "readiness"));
}

}  // namespace
}  // namespace weir::epp
