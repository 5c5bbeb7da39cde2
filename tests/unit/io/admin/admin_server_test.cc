#include "weir/io/admin/admin_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "testing/http_exchange.h"

namespace weir::io {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int64_t kTurnNs = 5'000'000;
constexpr int kTurnsMax = 4000;

class AdminServerTest : public ::testing::Test {
 protected:
  std::string Ask(const std::string& method, const std::string& path) {
    auto answer =
        std::async(std::launch::async, Exchange, server_->address(),
                   method + " " + path + " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    for (int turn = 0; turn < kTurnsMax; ++turn) {
      loop_->RunOnce(kTurnNs);
      if (answer.wait_for(std::chrono::seconds(0)) == std::future_status::ready) break;
    }
    return answer.get();
  }

  const std::unique_ptr<EventLoop> loop_ = EventLoop::Create().value();
  const HealthPages pages_{[] { return true; }};
  const std::unique_ptr<AdminServer> server_ =
      AdminServer::Open(*loop_, {.address = SocketAddress::Parse("127.0.0.1:0").value()}, pages_)
          .value();
};

TEST_F(AdminServerTest, AnswersGetAndHead) {
  EXPECT_THAT(Ask("GET", "/healthz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Ask("GET", "/healthz?x=y"), HasSubstr("\r\n\r\nok\n"));
  EXPECT_THAT(Ask("HEAD", "/healthz"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(AdminServerTest, OtherMethodsAreNotAllowed) {
  for (const char* method : {"POST", "DELETE", "PUT", "OPTIONS", "BREW"}) {
    const std::string answer = Ask(method, "/readyz");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 405 ")) << method;
    EXPECT_THAT(answer, HasSubstr("allow: GET\r\n")) << method;
  }
}

TEST_F(AdminServerTest, OtherPathsAreNotFound) {
  EXPECT_THAT(Ask("GET", "/metrics"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(Ask("POST", "/"), StartsWith("HTTP/1.1 404 "));
}

}  // namespace
}  // namespace weir::io
