// Attempts, fallbacks and the pool of upstream connections.
#include <cerrno>

#include "relay_testing.h"

namespace weir::io {
namespace {

class RelayUpstreamTest : public RelayTest {
 protected:
  // One request that the first upstream answers, so that its connection is in the pool.
  void Warm(FakeTransport& upstream) {
    FakeTransport& client = Connect();
    Send(client, kPost);
    Accepts(upstream);
    Send(upstream, kOk);
    ASSERT_EQ(Taken(client), kOk);
    Taken(upstream);
    Leave(client);
  }
};

TEST_F(RelayUpstreamTest, ReusesConnections) {
  FakeTransport& upstream = AddUpstream();
  Warm(upstream);
  FakeTransport& client = Connect();
  for (int i = 0; i < 3; ++i) {
    Send(client, kPost);
    EXPECT_EQ(Taken(upstream), kPostUpstream) << "sent at once, in one piece";
    Send(upstream, kOk);
    EXPECT_EQ(Taken(client), kOk);
  }
  EXPECT_EQ(dialer_.dialled(), 1u);
  EXPECT_EQ(upstream.write_calls(), 4u);
  EXPECT_EQ(relay_->counters().upstream_reuses.value(), 3u);
}

TEST_F(RelayUpstreamTest, IdleConnectionsIgnoreWriteEdgesAndCloseOnAnythingElse) {
  for (const Ready ready : {kReadable, kPeerClosed, kBroken}) {
    FakeTransport& upstream = AddUpstream();
    Warm(upstream);
    upstream.Notify(kWritable);
    EXPECT_FALSE(upstream.closed());
    upstream.Notify(ready);
    EXPECT_TRUE(upstream.closed());
    EXPECT_EQ(relay_->counters().idle_upstreams.value(), 0u);
  }
}

TEST_F(RelayUpstreamTest, IdleConnectionsEndAfterATime) {
  FakeTransport& upstream = AddUpstream();
  Warm(upstream);
  Advance(3 * kSecondNs);
  EXPECT_FALSE(upstream.closed());
  Advance(2 * kSecondNs);
  EXPECT_TRUE(upstream.closed());
  EXPECT_EQ(relay_->counters().upstream_connections.value(), 0u);
}

TEST_F(RelayUpstreamTest, HoldsThePoolLimits) {
  Restart({.idle_upstreams_max = 3, .idle_upstreams_per_target_max = 2});
  std::vector<FakeTransport*> upstreams;
  std::vector<FakeTransport*> clients;
  for (int i = 0; i < 3; ++i) {
    upstreams.push_back(&AddUpstream());
    clients.push_back(&Connect());
    Send(*clients.back(), kPost);
    Accepts(*upstreams.back());
  }
  for (FakeTransport* upstream : upstreams) Send(*upstream, kOk);
  EXPECT_EQ(relay_->counters().idle_upstreams.value(), 2u);
  EXPECT_TRUE(upstreams[2]->closed());
  handler_.on_request = [this](RelayRequest& request) {
    request.Proxy({.targets = std::span(targets_).subspan(1)});
  };
  upstreams.clear();
  for (int i = 0; i < 2; ++i) {
    upstreams.push_back(&AddUpstream());
    Send(*clients[static_cast<size_t>(i)], kPost);
    Accepts(*upstreams.back());
  }
  for (FakeTransport* upstream : upstreams) Send(*upstream, kOk);
  EXPECT_EQ(relay_->counters().idle_upstreams.value(), 3u);
}

TEST_F(RelayUpstreamTest, AStaleConnectionIsRetriedFresh) {
  for (const int step : {0, 1, 2}) {
    FakeTransport& stale = AddUpstream();
    Warm(stale);
    FakeTransport& fresh = AddUpstream();
    FakeTransport& client = Connect();
    if (step == 0) stale.FailWrites(EPIPE);
    Send(client, kPost);
    if (step == 1) Leave(stale);
    if (step == 2) Reset(stale);
    Accepts(fresh);
    EXPECT_EQ(Taken(fresh), kPostUpstream) << step;
    Send(fresh, kOk);
    EXPECT_EQ(Taken(client), kOk);
    EXPECT_EQ(LastEnd().target_index, 0u) << "the same target";
    EXPECT_EQ(LastEnd().attempts, 2u);
    fresh.Notify(kPeerClosed);
  }
  EXPECT_TRUE(handler_.failed_attempts.empty()) << "says nothing about the target";
  EXPECT_EQ(relay_->counters().attempt_retries.value(), 3u);
}

TEST_F(RelayUpstreamTest, StaleConnectionsUseUpNoAttempts) {
  Restart({.attempts_max = 3});
  std::vector<FakeTransport*> stale;
  for (const UpstreamTarget& target : targets_) {
    stale.push_back(&AddUpstream());
    handler_.on_request = [&](RelayRequest& request) { request.Proxy({.targets = {&target, 1}}); };
    Warm(*stale.back());
  }
  handler_.on_request = [this](RelayRequest& request) { request.Proxy({.targets = targets_}); };
  for (FakeTransport* one : stale) one->FailWrites(EPIPE);
  dialer_.RefuseNext();
  dialer_.RefuseNext();
  FakeTransport& last = AddUpstream();
  FakeTransport& client = Connect();
  Send(client, kPost);
  Accepts(last);
  Send(last, kOk);
  EXPECT_EQ(Taken(client), kOk);
  EXPECT_EQ(LastEnd().target_index, 2u);
  EXPECT_EQ(LastEnd().attempts, 6u) << "connections tried";
}

TEST_F(RelayUpstreamTest, FallsBackWhenConnectingFails) {
  dialer_.RefuseNext();
  FakeTransport& second = AddUpstream();
  FakeTransport& third = AddUpstream();
  FakeTransport& client = Connect();
  Send(client, kPost);
  second.FailWrites(ECONNREFUSED);
  second.Notify(kReadable | kWritable | kBroken);
  EXPECT_TRUE(second.closed());
  Accepts(third);
  EXPECT_EQ(Taken(third), kPostUpstream);
  Send(third, kOk);
  EXPECT_EQ(Taken(client), kOk);
  EXPECT_EQ(LastEnd().target_index, 2u);
  EXPECT_EQ(LastEnd().attempts, 3u);
  EXPECT_EQ(handler_.failed_attempts,
            (std::vector<std::string>{"0 upstream_connect_failed", "1 upstream_connect_failed"}));
  EXPECT_EQ(dialer_.addresses(),
            (std::vector<std::string>{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"}));
}

TEST_F(RelayUpstreamTest, FallsBackWhenConnectingTakesTooLong) {
  FakeTransport& first = AddUpstream();
  FakeTransport& second = AddUpstream();
  FakeTransport& client = Connect();
  Send(client, kPost);
  Advance(4 * kSecondNs);
  EXPECT_TRUE(first.closed());
  Accepts(second);
  Send(second, kOk);
  EXPECT_EQ(Taken(client), kOk);
}

TEST_F(RelayUpstreamTest, FallsBackOnAResetBeforeTheResponse) {
  for (const std::string_view begun : {"", "HTTP/1.1 200 OK\r\nContent-Le"}) {
    handler_.failed_attempts.clear();
    FakeTransport& first = AddUpstream();
    FakeTransport& second = AddUpstream();
    FakeTransport& client = Connect();
    Send(client, kPost);
    Accepts(first);
    if (!begun.empty()) Send(first, begun);
    Reset(first);
    Accepts(second);
    EXPECT_EQ(Taken(second), kPostUpstream);
    Send(second, kOk);
    EXPECT_EQ(Taken(client), kOk) << "nothing of the first answer";
    EXPECT_EQ(handler_.failed_attempts, std::vector<std::string>{"0 upstream_reset"});
    second.Notify(kPeerClosed);
  }
}

TEST_F(RelayUpstreamTest, NeverRetriesOnceTheClientHasAByte) {
  FakeTransport& first = AddUpstream();
  FakeTransport& second = AddUpstream();
  FakeTransport& client = Connect();
  Send(client, kPost);
  Accepts(first);
  Send(first, kStream.substr(0, 90));
  Reset(first);
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(dialer_.dialled(), 1u);
  EXPECT_EQ(Taken(second), "");
}

TEST_F(RelayUpstreamTest, GivesUpAtTheLastTargetAndAtTheAttemptLimit) {
  for (int i = 0; i < 3; ++i) dialer_.RefuseNext();
  FakeTransport& client = Connect();
  Send(client, kPost);
  std::string reply = Taken(client);
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 502 "));
  EXPECT_NE(reply.find("upstream_connect_failed"), std::string::npos);
  EXPECT_EQ(LastEnd().attempts, 3u);
  EXPECT_FALSE(client.closed());

  Restart({.attempts_max = 2});
  for (int i = 0; i < 2; ++i) dialer_.RefuseNext();
  FakeTransport& other = Connect();
  Send(other, kPost);
  EXPECT_TRUE(Taken(other).starts_with("HTTP/1.1 502 "));
  EXPECT_EQ(LastEnd().attempts, 2u);
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kUpstreamConnectFailed);
}

TEST_F(RelayUpstreamTest, HoldsTheTargetLimit) {
  Restart({.attempts_max = 1000});
  targets_.resize(kRelayTargetsMax + 1, targets_[0]);
  for (uint32_t i = 0; i < kRelayTargetsMax + 1; ++i) dialer_.RefuseNext();
  FakeTransport& client = Connect();
  Send(client, kPost);
  EXPECT_TRUE(Taken(client).starts_with("HTTP/1.1 502 "));
  EXPECT_EQ(LastEnd().attempts, kRelayTargetsMax);
}

TEST_F(RelayUpstreamTest, ForgetsTargetsBeyondTheLimit) {
  FakeTransport& client = Connect();
  for (uint32_t i = 0; i < kRelayPooledTargetsMax + 10; ++i) {
    targets_[0].address.set_port(static_cast<uint16_t>(1 + i));
    FakeTransport& upstream = AddUpstream();
    Send(client, kPost);
    Accepts(upstream);
    Send(upstream, kOk);
    // Some stay open: they must not be forgotten.
    if (i % 100 != 0) upstream.Notify(kPeerClosed);
  }
  EXPECT_EQ(Count(RelayOutcome::kComplete), kRelayPooledTargetsMax + 10u);
  const uint64_t connects = relay_->counters().upstream_connects.value();
  targets_[0].address.set_port(1);
  Send(client, kPost);
  EXPECT_EQ(relay_->counters().upstream_connects.value(), connects) << "the first is still known";
  Leave(client);
}

TEST_F(RelayUpstreamTest, SendsLargeRequestsInPieces) {
  const std::string body(200'000, 'b');
  FakeTransport& upstream = AddUpstream();
  FakeTransport& client = Connect();
  upstream.AllowWrite(50);
  Send(client, "POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 200000\r\n\r\n" + body);
  Accepts(upstream);
  EXPECT_EQ(upstream.written().size(), 50u);
  upstream.LimitWrite(70'000);
  upstream.AllowWrite(1'000'000);
  Accepts(upstream);
  EXPECT_EQ(Taken(upstream),
            "POST / HTTP/1.1\r\nHost: gw\r\ncontent-length: 200000\r\n\r\n" + body);
  Send(upstream, kOk);
  EXPECT_EQ(Taken(client), kOk);
  EXPECT_EQ(relay_->counters().idle_upstreams.value(), 1u);
}

TEST_F(RelayUpstreamTest, AnAnswerBeforeTheRequestIsSentPasses) {
  FakeTransport& upstream = AddUpstream();
  FakeTransport& client = Connect();
  upstream.AllowWrite(20);
  Send(client, kPost);
  Accepts(upstream);
  Send(upstream, kOk);
  EXPECT_EQ(Taken(client), kOk);
  EXPECT_TRUE(upstream.closed()) << "out of step: the rest of the request was never sent";
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kComplete);

  // It stops to listen, but its answer is there to be read.
  FakeTransport& closing = AddUpstream();
  closing.AllowWrite(20);
  Send(client, kPost);
  Accepts(closing);
  closing.FailWrites(EPIPE);
  closing.Deliver("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
  closing.DeliverEof();
  closing.Notify(kReadable | kWritable | kPeerClosed | kBroken);
  EXPECT_EQ(Taken(client), "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kComplete);
}

TEST_F(RelayUpstreamTest, AnAnswerThatBeginsEarlyLetsTheRequestGoOn) {
  FakeTransport& upstream = AddUpstream();
  FakeTransport& client = Connect();
  upstream.AllowWrite(20);
  Send(client, kPost);
  Accepts(upstream);
  Send(upstream, kStream.substr(0, 100));
  upstream.AllowWrite(1000);
  Accepts(upstream);
  EXPECT_EQ(Taken(upstream), kPostUpstream);
  Send(upstream, kStream.substr(100));
  EXPECT_EQ(Taken(client), kStream);
  EXPECT_FALSE(upstream.closed());
  EXPECT_EQ(loop_->buffers().in_use_bytes(), 0u);
}

TEST_F(RelayUpstreamTest, ConnectionsThatCloseAreNotPooled) {
  const std::string_view responses[] = {
      "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
      "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
  };
  for (const std::string_view response : responses) {
    FakeTransport& upstream = AddUpstream();
    FakeTransport& client = Connect();
    Send(client, kPost);
    Accepts(upstream);
    Send(upstream, response);
    EXPECT_TRUE(upstream.closed());
    EXPECT_EQ(Taken(client), kOk) << "the client's connection is another matter";
    EXPECT_FALSE(client.closed());
  }
}

TEST_F(RelayUpstreamTest, TargetsDoNotShareConnections) {
  FakeTransport& first = AddUpstream();
  Warm(first);
  handler_.on_request = [this](RelayRequest& request) {
    request.Proxy({.targets = std::span(targets_).subspan(1, 1)});
  };
  FakeTransport& second = AddUpstream();
  Send(Connect(), kPost);
  Accepts(second);
  EXPECT_EQ(Taken(second), kPostUpstream);
  EXPECT_EQ(Taken(first), "");
}

}  // namespace
}  // namespace weir::io
