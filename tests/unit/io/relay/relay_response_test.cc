// The response's way through the relay: framing, splits, backpressure, and ends of every kind.
#include <cerrno>

#include "relay_testing.h"

namespace weir::io {
namespace {

class RelayResponseTest : public RelayTest {
 protected:
  // A request that the upstream has in full.
  void Begin(std::string_view request = kPost) {
    if (upstream_ != nullptr) upstream_->Notify(kPeerClosed);  // not the one in the pool
    upstream_ = &AddUpstream();
    client_ = &Connect();
    Send(*client_, request);
    Accepts(*upstream_);
    Taken(*upstream_);
  }

  FakeTransport* client_ = nullptr;
  FakeTransport* upstream_ = nullptr;
};

TEST_F(RelayResponseTest, PassesStreamsUnchangedHoweverSplit) {
  for (size_t split = 1; split < kStream.size(); ++split) {
    Begin();
    Send(*upstream_, kStream.substr(0, split));
    Send(*upstream_, kStream.substr(split));
    EXPECT_EQ(Taken(*client_), kStream) << split;
    EXPECT_EQ(handler_.response_data, "data: a\n\ndata: b\n\n") << split;
    EXPECT_EQ(LastEnd().outcome, RelayOutcome::kComplete);
    handler_.response_data.clear();
    Leave(*client_);
  }
  Begin();
  SendByteWise(*upstream_, kStream);
  EXPECT_EQ(Taken(*client_), kStream);
  EXPECT_EQ(handler_.upstream_status, 200);
  EXPECT_FALSE(client_->closed());
  EXPECT_EQ(relay_->counters().idle_upstreams.value(), 1u);
}

TEST_F(RelayResponseTest, SendsHeadAndFirstBytesAtOnceAndEachEventAtOnce) {
  Begin();
  const size_t head = kStream.find("9\r\n");
  Send(*upstream_, kStream.substr(0, head + 14));
  EXPECT_EQ(client_->write_calls(), 1u);
  EXPECT_EQ(client_->written(), kStream.substr(0, head + 14));
  Send(*upstream_, kStream.substr(head + 14, 14));
  EXPECT_EQ(client_->write_calls(), 2u);
  EXPECT_EQ(client_->written(), kStream.substr(0, head + 28));
  EXPECT_EQ(loop_->buffers().in_use_bytes(), 0u) << "an idle stream holds no buffer";
}

TEST_F(RelayResponseTest, KnowsTheEndOfEachFraming) {
  const std::string_view responses[] = {
      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 204 No Content\r\n\r\n",
      "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
      kOk,
      "HTTP/1.1 500 Broken Here\r\nContent-Length: 3\r\nX: y\r\n\r\nerr",
  };
  for (const std::string_view response : responses) {
    Begin();
    Send(*upstream_, response);
    EXPECT_EQ(Taken(*client_), response);
    EXPECT_EQ(LastEnd().outcome, RelayOutcome::kComplete) << response;
    EXPECT_FALSE(client_->closed());
  }
  Begin("HEAD / HTTP/1.1\r\nHost: gw\r\n\r\n");
  Send(*upstream_, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
  EXPECT_EQ(Taken(*client_), "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
  EXPECT_EQ(handler_.ends.size(), 6u);
}

TEST_F(RelayResponseTest, AnswersWithoutLengthEndWithTheConnection) {
  Begin();
  Send(*upstream_, "HTTP/1.1 200 OK\r\n\r\nsome");
  Send(*upstream_, " text");
  EXPECT_TRUE(handler_.ends.empty());
  Leave(*upstream_);
  EXPECT_EQ(Taken(*client_), "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nsome text");
  EXPECT_TRUE(client_->closed());
  EXPECT_FALSE(client_->aborted());
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kComplete);

  Begin();
  Send(*upstream_, "HTTP/1.1 200 OK\r\n\r\nsome");
  Reset(*upstream_);
  EXPECT_TRUE(client_->aborted()) << "a cut without length is only visible as a reset";
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kUpstreamTruncated);
}

TEST_F(RelayResponseTest, ClientsOf10GetChunksWithoutTheirFraming) {
  Begin("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  SendByteWise(*upstream_, kStream);
  EXPECT_EQ(Taken(*client_),
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nconnection: close\r\n\r\n"
            "data: a\n\ndata: b\n\n");
  EXPECT_TRUE(client_->closed());
  Begin("GET / HTTP/1.0\r\n\r\n");
  Send(*upstream_, kStream);
  EXPECT_TRUE(Taken(*client_).ends_with("\r\n\r\ndata: a\n\ndata: b\n\n"));
}

TEST_F(RelayResponseTest, StripsAndAddsResponseHeaders) {
  const std::string_view strip[] = {"server"};
  const HeaderField add[] = {{"x-served-by", "a"}};
  handler_.on_request = [&](RelayRequest& request) {
    request.Proxy({.targets = targets_, .response_add = add, .response_strip = strip});
  };
  Begin();
  Send(*upstream_,
       "HTTP/1.1 200 OK\r\nServer: x\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok");
  EXPECT_EQ(Taken(*client_), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-served-by: a\r\n\r\nok");
}

TEST_F(RelayResponseTest, AnUpstreamWaitsForItsClient) {
  Begin();
  client_->AllowWrite(10);
  upstream_->Deliver(kStream.substr(0, 100));
  upstream_->Deliver(kStream.substr(100));
  upstream_->Notify(kReadable);
  EXPECT_EQ(client_->written().size(), 10u);
  EXPECT_FALSE(upstream_->all_read()) << "not read while the client does not take";
  client_->AllowWrite(20);
  client_->Notify(kWritable);
  EXPECT_FALSE(upstream_->all_read());
  EXPECT_TRUE(handler_.ends.empty());
  client_->AllowWrite(1000);
  client_->Notify(kWritable);
  EXPECT_TRUE(upstream_->all_read());
  EXPECT_EQ(Taken(*client_), kStream);
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kComplete);
}

TEST_F(RelayResponseTest, ShortWritesLoseNothing) {
  for (size_t most : {1u, 2u, 7u, 50u}) {
    Begin();
    client_->LimitWrite(most);
    Send(*upstream_, kStream);
    for (int i = 0; i < 500 && handler_.ends.empty(); ++i) client_->Notify(kWritable);
    EXPECT_EQ(Taken(*client_), kStream) << most;
    handler_.ends.clear();
    handler_.requests = 0;
    Leave(*client_);
  }
}

TEST_F(RelayResponseTest, LeavingTheClientCancelsTheUpstreamAtEveryStep) {
  for (size_t sent = 0; sent < kStream.size(); ++sent) {
    for (const bool reset : {false, true}) {
      Begin();
      if (sent > 0) Send(*upstream_, kStream.substr(0, sent));
      reset ? Reset(*client_) : Leave(*client_);
      EXPECT_TRUE(upstream_->closed()) << sent;
      EXPECT_TRUE(client_->closed()) << sent;
      EXPECT_EQ(LastEnd().outcome, RelayOutcome::kClientGone) << sent;
    }
  }
  EXPECT_EQ(relay_->counters().upstream_connections.value(), 0u);
  EXPECT_EQ(relay_->counters().client_connections.value(), 0u);
}

TEST_F(RelayResponseTest, AFailedWriteCancelsTheUpstream) {
  Begin();
  client_->FailWrites(EPIPE);
  Send(*upstream_, kStream.substr(0, 100));
  EXPECT_TRUE(upstream_->closed());
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kClientGone);
}

TEST_F(RelayResponseTest, TruncatedAnswersAreCutVisibly) {
  const size_t head = kStream.find("9\r\n");
  for (size_t sent = head; sent < kStream.size(); ++sent) {
    for (const bool reset : {false, true}) {
      Begin();
      Send(*upstream_, kStream.substr(0, sent));
      reset ? Reset(*upstream_) : Leave(*upstream_);
      EXPECT_EQ(Taken(*client_), kStream.substr(0, sent)) << sent;
      EXPECT_TRUE(client_->closed()) << "short chunks, then the end";
      EXPECT_EQ(LastEnd().outcome, RelayOutcome::kUpstreamTruncated) << sent;
    }
  }
  Begin();
  Send(*upstream_, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort");
  Leave(*upstream_);
  EXPECT_TRUE(client_->closed());
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kUpstreamTruncated);
}

TEST_F(RelayResponseTest, TruncationStillFlushesWhatCame) {
  Begin();
  client_->AllowWrite(20);
  upstream_->Deliver(kStream.substr(0, 100));
  upstream_->DeliverEof();
  upstream_->Notify(kReadable | kPeerClosed);
  EXPECT_TRUE(handler_.ends.empty());
  client_->AllowWrite(1000);
  client_->Notify(kWritable);
  EXPECT_EQ(Taken(*client_), kStream.substr(0, 100));
  EXPECT_TRUE(client_->closed());
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kUpstreamTruncated);
}

TEST_F(RelayResponseTest, BytesBehindTheEndNeverReachAnyClient) {
  Begin();
  Send(*upstream_, std::string(kOk) + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
  EXPECT_EQ(Taken(*client_), kOk);
  EXPECT_TRUE(upstream_->closed());
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kComplete);
  // The same in a second delivery of the same event.
  Begin();
  upstream_->Deliver(kStream);
  upstream_->Deliver("x");
  upstream_->Notify(kReadable);
  EXPECT_EQ(Taken(*client_), kStream);
  EXPECT_TRUE(upstream_->closed());
}

TEST_F(RelayResponseTest, InformationalResponsesStayBehind) {
  Begin();
  Send(*upstream_, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTT");
  EXPECT_EQ(Taken(*client_), "");
  Send(*upstream_, kOk.substr(3));
  EXPECT_EQ(Taken(*client_), kOk);
  Begin();
  for (uint32_t i = 0; i < kRelayInformationalMax + 2; ++i) {
    Send(*upstream_, "HTTP/1.1 102 Processing\r\n\r\n");
  }
  EXPECT_TRUE(Taken(*client_).starts_with("HTTP/1.1 502 "));
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kUpstreamProtocol);
}

TEST_F(RelayResponseTest, BadResponsesBecome502) {
  const std::string_view responses[] = {
      "SSH-2.0-OpenSSH\r\n",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
      "HTTP/1.1 200 OK\nA: b\n\n",
      "HTTP/2 200 OK\r\n\r\n",
  };
  for (const std::string_view response : responses) {
    Begin();
    Send(*upstream_, response);
    const std::string reply = Taken(*client_);
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 502 Bad Gateway\r\n")) << response;
    EXPECT_NE(reply.find("\"code\":\"upstream_protocol\""), std::string::npos);
    EXPECT_FALSE(client_->closed()) << "the client's connection is in order";
    EXPECT_TRUE(upstream_->closed());
    EXPECT_EQ(LastEnd().outcome, RelayOutcome::kUpstreamProtocol);
    EXPECT_EQ(LastEnd().status, 502);
  }
}

TEST_F(RelayResponseTest, EndlessHeadsBecome502) {
  Begin();
  const std::string line = "X-Filler: " + std::string(1000, 'x') + "\r\n";
  Send(*upstream_, "HTTP/1.1 200 OK\r\n");
  for (int i = 0; i < 70 && handler_.ends.empty(); ++i) Send(*upstream_, line);
  EXPECT_TRUE(Taken(*client_).starts_with("HTTP/1.1 502 "));
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kUpstreamProtocol);
  Begin();
  for (int i = 0; i < 40 && handler_.ends.size() < 2; ++i)
    Send(*upstream_, "HTTP/" + std::string(5000, 'x'));
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kUpstreamProtocol);
}

TEST_F(RelayResponseTest, BrokenChunksCutTheAnswer) {
  Begin();
  Send(*upstream_, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n");
  EXPECT_TRUE(client_->closed());
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kUpstreamProtocol);
  EXPECT_EQ(handler_.response_data, "abc");
}

TEST_F(RelayResponseTest, StalledUpstreamsRunIntoTimeouts) {
  Begin();
  Advance(599 * kSecondNs);
  EXPECT_EQ(Taken(*client_), "");
  Advance(2 * kSecondNs);
  EXPECT_TRUE(Taken(*client_).starts_with("HTTP/1.1 504 "));
  EXPECT_TRUE(upstream_->closed());
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kUpstreamTimeout);

  Begin();
  Send(*upstream_, kStream.substr(0, 100));
  Advance(299 * kSecondNs);
  Send(*upstream_, kStream.substr(100, 5));
  Advance(299 * kSecondNs);
  EXPECT_FALSE(client_->closed());
  Advance(2 * kSecondNs);
  EXPECT_TRUE(client_->closed());
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kUpstreamTimeout);
}

TEST_F(RelayResponseTest, AClientThatTakesNothingRunsIntoATimeout) {
  Begin();
  client_->AllowWrite(0);
  Send(*upstream_, kStream.substr(0, 100));
  Advance(59 * kSecondNs);
  EXPECT_FALSE(client_->closed());
  Advance(2 * kSecondNs);
  EXPECT_TRUE(client_->closed());
  EXPECT_TRUE(upstream_->closed());
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kClientTimeout);
}

TEST_F(RelayResponseTest, TheWholeRequestMayHaveALimit) {
  Restart({.total_ns = 20 * kSecondNs});
  Begin();
  Advance(21 * kSecondNs);
  EXPECT_TRUE(Taken(*client_).starts_with("HTTP/1.1 504 "));
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kTotalTimeout);
  Begin();
  Send(*upstream_, kStream.substr(0, 100));
  for (int i = 0; i < 21; ++i) Advance(kSecondNs);
  EXPECT_TRUE(client_->closed());
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kTotalTimeout);
  Begin();
  Send(*upstream_, kStream);
  Advance(40 * kSecondNs);
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kComplete);
}

TEST_F(RelayResponseTest, AFastUpstreamDoesNotKeepTheLoop) {
  Begin();
  Send(*upstream_, "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n");
  for (uint32_t i = 0; i < 3 * kRelayStepsPerTurnMax; ++i) upstream_->Deliver(std::string(50, 'x'));
  Taken(*client_);
  upstream_->Notify(kReadable);
  EXPECT_LE(Taken(*client_).size(), kRelayStepsPerTurnMax * 50u);
  for (int turn = 0; turn < 10; ++turn) Advance(2'000'000);
  EXPECT_TRUE(upstream_->all_read());
}

TEST_F(RelayResponseTest, CountsWhatPasses) {
  Begin();
  Send(*upstream_, kOk);
  const RelayCounters& counters = relay_->counters();
  EXPECT_EQ(counters.client_bytes_in.value(), kPost.size());
  EXPECT_EQ(counters.client_bytes_out.value(), kOk.size());
  EXPECT_EQ(counters.upstream_bytes_in.value(), kOk.size());
  EXPECT_EQ(counters.upstream_bytes_out.value(), kPostUpstream.size());
  EXPECT_EQ(counters.upstream_connects.value(), 1u);
  EXPECT_EQ(counters.requests_in_flight.value(), 0u);
  EXPECT_EQ(LastEnd().response_bytes, 2u);
  EXPECT_EQ(LastEnd().attempts, 1u);
  EXPECT_EQ(Count(RelayOutcome::kComplete), 1u);
}

TEST_F(RelayResponseTest, AnAnswerThatNeitherClientNorBuffersTakeIsCut) {
  Restart({.buffered_bytes_max = 32u << 10});
  FakeTransport& upstream = AddUpstream();
  FakeTransport& client = Connect();
  client.AllowWrite(100);
  Send(client, kPost);
  Accepts(upstream);
  Send(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + std::string(50'000, 'x'));
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kBuffersFull);
  EXPECT_EQ(Taken(client).size(), 100u);
  EXPECT_TRUE(client.closed());
  EXPECT_TRUE(upstream.closed());
}

}  // namespace
}  // namespace weir::io
