#include "weir/io/fleet/routes.h"

#include <gtest/gtest.h>

#include "weir/router.h"

namespace weir::io {
namespace {

class RoutesTest : public ::testing::Test {
 protected:
  const Route* Put(const std::string& address, const std::map<std::string, std::string>& labels) {
    const auto id =
        router_.pool().Upsert({.name = "a", .address = address, .labels = labels}).value();
    return routes_.Find({.id = id, .name = "default/a", .address = address});
  }

  const Router router_ = Router::Default().value();
  RouteCache routes_{router_.pool()};
};

TEST_F(RoutesTest, ReadsAddressAndLabels) {
  const Route* route = Put("10.0.0.1:8000", {{"weir.scheme", "https"}, {"weir.host", "a.test"}});
  ASSERT_NE(route, nullptr);
  EXPECT_EQ(route->address.ToString(), "10.0.0.1:8000");
  EXPECT_TRUE(route->tls);
  EXPECT_EQ(route->host, "a.test");
}

TEST_F(RoutesTest, NoticesLabelsThatChangeUnderOneAddress) {
  ASSERT_FALSE(Put("10.0.0.1:8000", {})->tls);
  const Route* route = Put("10.0.0.1:8000", {{"weir.scheme", "https"}, {"weir.host", "a.test"}});
  EXPECT_TRUE(route->tls);
  EXPECT_EQ(route->host, "a.test");
  route = Put("10.0.0.1:8000", {{"weir.scheme", "http"}});
  EXPECT_FALSE(route->tls);
  EXPECT_EQ(route->host, "");
}

TEST_F(RoutesTest, NoticesAnAddressThatChanges) {
  ASSERT_NE(Put("10.0.0.1:8000", {}), nullptr);
  EXPECT_EQ(Put("10.0.0.2:8000", {})->address.ToString(), "10.0.0.2:8000");
}

TEST_F(RoutesTest, SamplesDoNotMakeItReadAgain) {
  const Route* route = Put("10.0.0.1:8000", {{"weir.host", "a.test"}});
  const char* text = route->host.data();
  const uint64_t epoch = router_.pool().pool_epoch();
  router_.pool().ApplySamples({{{.id = route->id, .metrics = {.waiting_requests = 3}}}});
  EXPECT_EQ(router_.pool().pool_epoch(), epoch);
  EXPECT_EQ(
      routes_.Find({.id = route->id, .name = "default/a", .address = "10.0.0.1:8000"})->host.data(),
      text);
}

TEST_F(RoutesTest, AnAddressThatIsNoneHasNoRoute) {
  EXPECT_EQ(Put("name.test:8000", {}), nullptr);
  EXPECT_EQ(Put("name.test:8000", {}), nullptr);
}

TEST_F(RoutesTest, AnEndpointThatHasLeftHasNoRoute) {
  const Route* route = Put("10.0.0.1:8000", {{"weir.scheme", "https"}});
  ASSERT_NE(route, nullptr);
  const Target target{.id = route->id, .name = "default/a", .address = "10.0.0.1:8000"};
  ASSERT_TRUE(router_.pool().Remove("a").ok());
  EXPECT_EQ(routes_.Find(target), nullptr);
  EXPECT_EQ(routes_.Find(target), nullptr);
}

}  // namespace
}  // namespace weir::io
