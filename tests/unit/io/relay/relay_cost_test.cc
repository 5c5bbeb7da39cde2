// What a request costs in steady state: no allocation, and no memory that waits with an idle
// stream.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "testing/allocation_guard.h"
#include "weir/io/relay/relay.h"
#include "weir/io/relay/relay_client.h"
#include "weir/io/relay/relay_core.h"
#include "weir/response_reader.h"

namespace weir::io {
namespace {

constexpr std::string_view kRequest =
    "POST /v1/completions HTTP/1.1\r\nHost: gw\r\nContent-Length: 4\r\n\r\nbody";
constexpr std::string_view kHead =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n";
constexpr std::string_view kRest = "9\r\ndata: b\n\n\r\n0\r\n\r\n";

// Both ends of fake connections: sockets that the test itself reads and writes, without a loop.
class PairDialer final : public UpstreamDialer {
 public:
  Stream Dial(const UpstreamTarget&) override {
    std::array<int, 2> fds = {-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds.data()), 0);
    far_end.Reset(fds[1]);
    return Stream::Plain(UniqueFd(fds[0]));
  }
  UniqueFd far_end;
};

class ScanningHandler final : public RelayHandler {
 public:
  void OnRequest(RelayRequest& request) override {
    request.Proxy({.targets = {&target, 1}, .strip = strip});
  }
  void OnResponseBytes(RelayRequest&, std::string_view data) override { response.Feed(data); }
  void OnEnd(RelayRequest&, const RelayEnd& end) override {
    completed += end.outcome == RelayOutcome::kComplete ? 1 : 0;
  }
  UpstreamTarget target{.address = SocketAddress::Parse("10.0.0.1:80").value()};
  std::array<std::string_view, 1> strip = {"x-internal"};
  ResponseReader response{ResponseFormat::kOpenAi};
  uint32_t completed = 0;
};

size_t Receive(int fd) {
  char buffer[4096];
  const ssize_t bytes = ::recv(fd, buffer, sizeof buffer, 0);
  return bytes > 0 ? static_cast<size_t>(bytes) : 0;
}

TEST(RelayCostTest, ARequestAllocatesNothingOnceWarm) {
  auto loop = EventLoop::Create().value();
  ScanningHandler handler;
  PairDialer dialer;
  Relay relay(*loop, handler, {}, &dialer);
  std::array<int, 2> fds = {-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds.data()), 0);
  UniqueFd client(fds[1]);
  relay.Accept(Stream::Plain(UniqueFd(fds[0])), {});

  const auto exchange = [&] {
    ::send(client.get(), kRequest.data(), kRequest.size(), 0);
    loop->RunOnce(0);
    loop->RunOnce(0);
    Receive(dialer.far_end.get());
    ::send(dialer.far_end.get(), kHead.data(), kHead.size(), 0);
    loop->RunOnce(0);
    ::send(dialer.far_end.get(), kRest.data(), kRest.size(), 0);
    loop->RunOnce(0);
    return Receive(client.get());
  };
  EXPECT_EQ(exchange(), kHead.size() + kRest.size());
  {
    testing::AllocationForbidden guard;
    for (int i = 0; i < 10; ++i) exchange();
  }
  EXPECT_EQ(handler.completed, 11u);
  EXPECT_EQ(handler.response.events(), 22u);
  EXPECT_EQ(relay.counters().upstream_reuses.value(), 10u);
}

TEST(RelayCostTest, AnIdleStreamHoldsNoBuffer) {
  EXPECT_LE(sizeof(RelayClient) + sizeof(UpstreamConnection), 1024u);
  auto loop = EventLoop::Create().value();
  ScanningHandler handler;
  PairDialer dialer;
  Relay relay(*loop, handler, {}, &dialer);
  std::vector<UniqueFd> open;
  for (int i = 0; i < 50; ++i) {
    std::array<int, 2> fds = {-1, -1};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds.data()), 0);
    open.emplace_back(fds[1]);
    relay.Accept(Stream::Plain(UniqueFd(fds[0])), {});
    ::send(fds[1], kRequest.data(), kRequest.size(), 0);
    loop->RunOnce(0);
    loop->RunOnce(0);
    ::send(dialer.far_end.get(), kHead.data(), kHead.size(), 0);
    loop->RunOnce(0);
    EXPECT_EQ(Receive(fds[1]), kHead.size());
    open.push_back(std::move(dialer.far_end));
  }
  EXPECT_EQ(relay.counters().requests_in_flight.value(), 50u);
  EXPECT_EQ(loop->buffers().in_use_bytes(), 0u);
}

}  // namespace
}  // namespace weir::io
