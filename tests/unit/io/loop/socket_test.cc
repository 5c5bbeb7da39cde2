#include "weir/io/loop/socket.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

#include <vector>

#include "loop_testing.h"

namespace weir::io {
namespace {

struct Keeper : AcceptHandler {
  void OnAccept(UniqueFd socket, const SocketAddress& peer) override {
    sockets.push_back(std::move(socket));
    peers.push_back(peer);
  }
  std::vector<UniqueFd> sockets;
  std::vector<SocketAddress> peers;
};

struct Waiter : EventHandler {
  void OnReady(Ready ready) override { seen |= ready; }
  Ready seen = 0;
};

std::unique_ptr<Listener> Listen(EventLoop& loop, AcceptHandler& handler,
                                 std::string_view address = "127.0.0.1:0") {
  return Listener::Open(loop, {.address = SocketAddress::Parse(address).value()}, handler).value();
}

TEST(SocketAddress, ParsesWhatItPrints) {
  for (const char* text : {"127.0.0.1:80", "10.1.2.3:65535", "[::1]:8000", "[fe80::1]:0"}) {
    EXPECT_EQ(SocketAddress::Parse(text).value().ToString(), text);
  }
  EXPECT_EQ(SocketAddress::Parse(":8080").value().ToString(), "0.0.0.0:8080");
  EXPECT_EQ(SocketAddress::Parse("[::1]:7").value().port(), 7);
  EXPECT_EQ(SocketAddress::Parse("1.2.3.4:7").value(), SocketAddress::Parse("1.2.3.4:7").value());
  EXPECT_NE(SocketAddress::Parse("1.2.3.4:7").value(), SocketAddress::Parse("1.2.3.4:8").value());
  EXPECT_FALSE(SocketAddress().valid());
  EXPECT_EQ(SocketAddress().ToString(), "none");
}

TEST(SocketAddress, KnowsItsHostAlone) {
  EXPECT_EQ(SocketAddress::Parse("10.1.2.3:65535").value().Host(), "10.1.2.3");
  EXPECT_EQ(SocketAddress::Parse("[fe80::1]:7").value().Host(), "fe80::1");
  EXPECT_EQ(SocketAddress().Host(), "");
}

TEST(SocketAddress, RefusesWhatIsNone) {
  for (const char* text : {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
                           "127.0.0.1:8x", "::1:80", "host:80", "[::1", "[::g]:1", "1.2.3:4"}) {
    const auto parsed = SocketAddress::Parse(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_NE(parsed.status().message().find(text), std::string_view::npos);
  }
}

TEST(ResolveAddress, TakesNumericAddressesAndNames) {
  EXPECT_EQ(ResolveAddress("127.0.0.1:9").value().front().ToString(), "127.0.0.1:9");
  EXPECT_FALSE(ResolveAddress("localhost:9").value().empty());
  EXPECT_EQ(ResolveAddress("no-such-name.invalid:9").status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(ResolveAddress(":9").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Listener, AcceptsOverBothFamilies) {
  auto loop = EventLoop::Create().value();
  for (const char* address : {"127.0.0.1:0", "[::1]:0"}) {
    Keeper keeper;
    auto listener =
        Listener::Open(*loop, {.address = SocketAddress::Parse(address).value()}, keeper);
    if (!listener.ok() && address[0] == '[') GTEST_SKIP() << "no IPv6 here";
    ASSERT_TRUE(listener.ok()) << listener.status();
    ASSERT_NE((*listener)->port(), 0);
    int error = 0;
    UniqueFd client = StartConnect((*listener)->address(), error);
    ASSERT_TRUE(client) << error;
    Waiter waiter;
    ASSERT_EQ(loop->Watch(client.get(), waiter), Code::kOk);
    ASSERT_TRUE(RunUntil(*loop, [&] { return !keeper.sockets.empty() && waiter.seen != 0; }));
    int no_delay = 0;
    socklen_t size = sizeof no_delay;
    ::getsockopt(keeper.sockets[0].get(), IPPROTO_TCP, TCP_NODELAY, &no_delay, &size);
    EXPECT_NE(no_delay, 0);
    loop->Unwatch(client.get(), waiter);
  }
}

TEST(Listener, SaysWhichAddressIsInUse) {
  auto loop = EventLoop::Create().value();
  Keeper keeper;
  auto first = Listen(*loop, keeper);
  const auto second = Listener::Open(*loop, {.address = first->address()}, keeper);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find(first->address().ToString()), std::string_view::npos);
  EXPECT_FALSE(Listener::Open(*loop, {}, keeper).ok());
}

TEST(Listener, SharesAPortAmongLoops) {
  auto one = EventLoop::Create().value();
  auto two = EventLoop::Create().value();
  Keeper keeper;
  auto first = Listener::Open(
      *one, {.address = SocketAddress::Parse("127.0.0.1:0").value(), .reuse_port = true}, keeper);
  ASSERT_TRUE(first.ok());
  auto second = Listener::Open(*two, {.address = (*first)->address(), .reuse_port = true}, keeper);
  EXPECT_TRUE(second.ok()) << second.status();
}

TEST(Listener, KnowsAnAddressThatSomebodySharesAlready) {
  auto loop = EventLoop::Create().value();
  Keeper keeper;
  const SocketAddress any = SocketAddress::Parse("127.0.0.1:0").value();
  auto listener = Listener::Open(*loop, {.address = any, .reuse_port = true}, keeper).value();
  const SocketAddress taken = listener->address();
  const absl::Status status = Listener::CheckFree(taken);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find(taken.ToString()), std::string_view::npos);
  listener.reset();
  EXPECT_TRUE(Listener::CheckFree(taken).ok());
  EXPECT_TRUE(Listener::CheckFree(any).ok());
  EXPECT_FALSE(Listener::CheckFree({}).ok());
}

TEST(Listener, CloseTakesThoseWhoHadConnected) {
  auto loop = EventLoop::Create().value();
  Keeper keeper;
  auto listener = Listen(*loop, keeper);
  int error = 0;
  UniqueFd client = StartConnect(listener->address(), error);
  Waiter waiter;
  ASSERT_EQ(loop->Watch(client.get(), waiter), Code::kOk);
  listener->Close();
  listener->Close();
  EXPECT_EQ(keeper.sockets.size(), 1u);
  EXPECT_TRUE(RunUntil(*loop, [&] { return waiter.seen != 0; }));
  loop->Unwatch(client.get(), waiter);
}

TEST(Listener, TakesOnlySoManyInOneTurn) {
  auto loop = EventLoop::Create().value();
  Keeper keeper;
  auto listener = Listen(*loop, keeper);
  std::vector<UniqueFd> clients;
  for (uint32_t i = 0; i < kAcceptsPerTurnMax + 10; ++i) {
    int error = 0;
    clients.push_back(StartConnect(listener->address(), error));
    ASSERT_TRUE(clients.back()) << error;
  }
  loop->RunOnce(kTestDeadlineNs);
  EXPECT_EQ(keeper.sockets.size(), kAcceptsPerTurnMax);
  EXPECT_TRUE(RunUntil(*loop, [&] { return keeper.sockets.size() == clients.size(); }));
}

TEST(StartConnect, TellsOfRefusal) {
  auto loop = EventLoop::Create().value();
  Keeper keeper;
  const SocketAddress nobody = Listen(*loop, keeper)->address();  // closed again
  int error = 0;
  Stream stream = Stream::Plain(StartConnect(nobody, error));
  if (!stream.open() || stream.fd() < 0) {
    EXPECT_EQ(error, ECONNREFUSED);
    return;
  }
  Waiter waiter;
  ASSERT_EQ(loop->Watch(stream, waiter), Code::kOk);
  ASSERT_TRUE(RunUntil(*loop, [&] { return waiter.seen != 0; }));
  EXPECT_EQ(stream.TakeConnectError(), ECONNREFUSED);
  loop->Close(stream, waiter);
}

// With no descriptor left, the listener pauses instead of spinning, and goes on when there is one.
TEST(Listener, PausesWhenDescriptorsRunOut) {
  ManualClock clock;
  auto loop = EventLoop::Create(clock).value();
  Keeper keeper;
  auto listener = Listen(*loop, keeper);
  // UBSan needs descriptors of its own the first time it checks a type: one connection goes ahead.
  int error = 0;
  const UniqueFd first = StartConnect(listener->address(), error);
  ASSERT_TRUE(RunUntil(*loop, [&] { return keeper.sockets.size() == 1; }));
  const UniqueFd client = StartConnect(listener->address(), error);
  rlimit saved;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &saved), 0);
  const UniqueFd probe(::dup(client.get()));
  rlimit tight = saved;
  tight.rlim_cur = static_cast<rlim_t>(probe.get()) + 1;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  ASSERT_TRUE(RunUntil(*loop, [&] { return listener->pauses().value() == 1; }));
  EXPECT_EQ(loop->RunOnce(0), 0u) << "paused";
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &saved), 0);
  EXPECT_EQ(loop->RunOnce(0), 0u) << "still paused";
  clock.Advance(kAcceptPauseNs);
  EXPECT_TRUE(RunUntil(*loop, [&] { return keeper.sockets.size() == 2; }));
}

}  // namespace
}  // namespace weir::io
