#include "weir/io/fleet/fleet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "weir/io/fleet/routes.h"

namespace weir::io {
namespace {

using ::testing::HasSubstr;

class FleetTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Fleet>> Create(std::vector<std::string> urls) {
    return Fleet::Create(*loop_, router_, {.endpoint_urls = std::move(urls), .scrape = false},
                         [this](LogLevel, const std::string& text) { log_ += text + "\n"; });
  }

  std::unique_ptr<EventLoop> loop_ = EventLoop::Create().value();
  Router router_ = Router::Default().value();
  std::string log_;
};

TEST_F(FleetTest, TakesEndpointsOfFlags) {
  const auto fleet = Create({"http://127.0.0.1:8000", "https://127.0.0.1:8001/", "127.0.0.1:8002"});
  ASSERT_TRUE(fleet.ok()) << fleet.status();
  EXPECT_EQ((*fleet)->endpoint_count(), 3u);
  const auto snapshot = router_.pool().snapshot();
  ASSERT_EQ(snapshot->count(), 3u);
  EXPECT_EQ(snapshot->name(0), "default/127.0.0.1:8000");
  EXPECT_EQ(snapshot->label(1, kSchemeLabel), "https");
  EXPECT_EQ(snapshot->label(2, kSchemeLabel), std::nullopt);
}

TEST_F(FleetTest, RefusesFlagsThatAreNoServer) {
  for (const std::string url : {"127.0.0.1", "http://127.0.0.1:0", "http://127.0.0.1:70000",
                                "http://127.0.0.1:8000/v1", ":8000", ""}) {
    const auto fleet = Create({url});
    ASSERT_FALSE(fleet.ok()) << url;
    EXPECT_THAT(std::string(fleet.status().message()), HasSubstr("--endpoint " + url));
  }
  EXPECT_THAT(std::string(Create({"127.0.0.1:1", "http://127.0.0.1:1"}).status().message()),
              HasSubstr("given twice"));
}

TEST_F(FleetTest, WithoutEndpointsThePoolIsEmpty) {
  const auto fleet = Create({});
  ASSERT_TRUE(fleet.ok()) << fleet.status();
  EXPECT_FALSE((*fleet)->has_endpoints());
}

TEST_F(FleetTest, AFileOfThePipelineAndFlagsExcludeEachOther) {
  const std::string path = ::testing::TempDir() + "fleet_test_endpoints.yaml";
  std::ofstream(path) << "endpoints:\n- {name: a, address: 127.0.0.1, port: 8000}\n"
                         "- {name: b, address: 127.0.0.1, port: 70000}\n";
  router_ = Router::FromText(
                "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n"
                "- {type: queue-scorer}\n- {type: max-score-picker}\n"
                "- {name: servers, type: file-discovery, parameters: {path: " +
                    path +
                    "}}\ndataLayer: {discovery: {pluginRef: servers}}\nschedulingProfiles:\n"
                    "- {name: default, plugins: [{pluginRef: queue-scorer}]}\n",
                "test")
                .value();
  const auto fleet = Create({});
  ASSERT_TRUE(fleet.ok()) << fleet.status();
  EXPECT_EQ((*fleet)->endpoint_count(), 1u);
  EXPECT_EQ((*fleet)->endpoints_rejected(), 1u);
  EXPECT_THAT(log_, HasSubstr("70000"));
  EXPECT_THAT(std::string(Create({"127.0.0.1:1"}).status().message()),
              HasSubstr("expected one of them"));
}

}  // namespace
}  // namespace weir::io
