// The client's side of the relay: what becomes a request, what is refused, how answers are written.
#include <array>
#include <cerrno>

#include "relay_testing.h"

namespace weir::io {
namespace {

class RelayRequestTest : public RelayTest {
 protected:
  void AnswerLocally(std::string_view body = "pong") {
    handler_.on_request = [body](RelayRequest& request) {
      request.Respond({.content_type = "text/plain", .body = body});
    };
  }
  uint64_t Refused(RelayReject reject) const {
    return relay_->counters().refused[static_cast<size_t>(reject)].value();
  }
};

constexpr std::string_view kGet = "GET /ping HTTP/1.1\r\nHost: gw\r\n\r\n";
constexpr std::string_view kPong =
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\npong";

TEST_F(RelayRequestTest, AnswersLocallyAndKeepsTheConnection) {
  AnswerLocally();
  FakeTransport& client = Connect();
  Send(client, kGet);
  EXPECT_EQ(Taken(client), kPong);
  EXPECT_EQ(client.write_calls(), 1u) << "head and body in one send";
  SendByteWise(client, kGet);
  EXPECT_EQ(Taken(client), kPong);
  EXPECT_FALSE(client.closed());
  EXPECT_EQ(Count(RelayOutcome::kLocal), 2u);
  EXPECT_EQ(LastEnd().status, 200);
  EXPECT_EQ(LastEnd().attempts, 0u);
}

TEST_F(RelayRequestTest, AnswersPipelinedRequestsInOrder) {
  FakeTransport& upstream = AddUpstream();
  FakeTransport& client = Connect();
  Send(client, std::string(kPost) + std::string(kPost) + "GET /x HTTP/1.1\r\nHost: gw\r\n\r\nGET");
  Accepts(upstream);
  EXPECT_EQ(Taken(upstream), kPostUpstream);
  Send(upstream, kOk);
  EXPECT_EQ(Taken(client), kOk);
  EXPECT_EQ(Taken(upstream), kPostUpstream) << "the second one takes the same connection";
  Send(upstream, kOk);
  EXPECT_EQ(Taken(upstream), "GET /x HTTP/1.1\r\nHost: gw\r\n\r\n");
  Send(upstream, kOk);
  EXPECT_EQ(Taken(client), std::string(kOk) + std::string(kOk));
  Send(client, " /y HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(Taken(upstream), "GET /y HTTP/1.1\r\nHost: gw\r\n\r\n");
  Send(upstream, kOk);
  EXPECT_EQ(Taken(client), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: close\r\n\r\nok");
}

TEST_F(RelayRequestTest, ManyPipelinedRequestsDoNotKeepTheLoop) {
  AnswerLocally();
  FakeTransport& client = Connect();
  std::string many;
  for (uint32_t i = 0; i < 3 * kRelayStepsPerTurnMax; ++i) many += kGet;
  Send(client, many);
  EXPECT_LE(handler_.requests, kRelayStepsPerTurnMax);
  EXPECT_GT(handler_.requests, 0u);
  for (int turn = 0; turn < 10; ++turn) Advance(2'000'000);
  EXPECT_EQ(handler_.requests, 3 * kRelayStepsPerTurnMax);
  EXPECT_EQ(Taken(client).size(), 3 * kRelayStepsPerTurnMax * kPong.size());
}

TEST_F(RelayRequestTest, ReadsBodiesHoweverSplit) {
  AnswerLocally();
  const std::string sized = "POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 11\r\n\r\nhello world";
  const std::string chunked =
      "POST / HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n"
      "6\r\nhello \r\n5;x=y\r\nworld\r\n0\r\nT: t\r\n\r\n";
  for (const std::string& text : {sized, chunked}) {
    for (size_t split = 1; split < text.size(); ++split) {
      FakeTransport& client = Connect();
      client.Deliver(text.substr(0, split));
      client.Notify(kReadable);
      Send(client, text.substr(split));
      EXPECT_EQ(Taken(client), kPong) << split;
      EXPECT_EQ(handler_.bodies.back(), "hello world") << split;
      EXPECT_EQ(LastEnd().request_body_bytes, 11u);
      client.Notify(kReadable);
    }
    FakeTransport& client = Connect();
    SendByteWise(client, text + text);
    EXPECT_EQ(Taken(client), std::string(kPong) + std::string(kPong));
    EXPECT_EQ(handler_.bodies.back(), "hello world");
  }
}

TEST_F(RelayRequestTest, ReadsALargeBodyWhole) {
  AnswerLocally();
  std::string body(3u << 20, 'a');
  for (size_t i = 0; i < body.size(); i += 1000) body[i] = static_cast<char>('a' + i / 1000 % 26);
  FakeTransport& client = Connect();
  Send(client, "POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: " + std::to_string(body.size()) +
                   "\r\n\r\n");
  for (size_t at = 0; at < body.size(); at += 100'000) Send(client, body.substr(at, 100'000));
  for (int turn = 0; turn < 100 && handler_.requests == 0; ++turn) Advance(2'000'000);
  ASSERT_EQ(handler_.requests, 1u);
  EXPECT_EQ(handler_.bodies[0], body);
  EXPECT_EQ(Taken(client), kPong);
}

TEST_F(RelayRequestTest, HoldsTheBodyLimit) {
  Restart({.body_bytes_max = 10});
  AnswerLocally();
  const auto sized = [](int size) {
    return "POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n" +
           std::string(static_cast<size_t>(size), 'x');
  };
  const auto chunked = [](size_t size) {
    return "POST / HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n" +
           std::string(size == 10 ? "a" : "b") + "\r\n" + std::string(size, 'x') + "\r\n0\r\n\r\n";
  };
  FakeTransport& client = Connect();
  Send(client, sized(10));
  Send(client, chunked(10));
  EXPECT_EQ(handler_.requests, 2u);
  Taken(client);
  Send(client, sized(11));
  EXPECT_TRUE(Taken(client).starts_with("HTTP/1.1 413 "));
  EXPECT_TRUE(client.write_shut()) << "lingers, so that the answer is read";
  FakeTransport& other = Connect();
  Send(other, chunked(11));
  EXPECT_TRUE(Taken(other).starts_with("HTTP/1.1 413 "));
  EXPECT_EQ(handler_.requests, 2u);
  EXPECT_EQ(Refused(RelayReject::kBodyTooLarge), 2u);
}

TEST_F(RelayRequestTest, RefusesBadHeadsWithAnOpenAiError) {
  FakeTransport& client = Connect();
  Send(client,
       "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string reply = Taken(client);
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 400 Bad Request\r\n")) << reply;
  EXPECT_NE(reply.find("\"message\":\"Content-Length and Transfer-Encoding are both given\""),
            std::string::npos);
  EXPECT_NE(reply.find("connection: close"), std::string::npos);
  EXPECT_EQ(
      relay_->counters().refused_heads[static_cast<size_t>(HeadError::kLengthAndChunked)].value(),
      1u);
  EXPECT_EQ(handler_.requests, 0u);
  Send(client, kGet);  // discarded: nothing after a refusal is a request
  EXPECT_EQ(handler_.requests, 0u);
  Leave(client);
  EXPECT_TRUE(client.closed());
}

TEST_F(RelayRequestTest, ARefusedClientIsNotListenedToForLong) {
  FakeTransport& client = Connect();
  Send(client, "GET /\r\n\r\n");
  EXPECT_TRUE(Taken(client).starts_with("HTTP/1.1 400 "));
  const std::string block(kRelayReadBytesMax, 'x');
  for (uint64_t sent = block.size(); sent < kRelayLingerBytesMax; sent += block.size()) {
    Send(client, block);
    ASSERT_FALSE(client.closed()) << sent;
  }
  Send(client, block);
  EXPECT_TRUE(client.closed());
}

TEST_F(RelayRequestTest, RefusesBadChunks) {
  FakeTransport& client = Connect();
  Send(client, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
  EXPECT_TRUE(Taken(client).starts_with("HTTP/1.1 400 "));
  EXPECT_EQ(Refused(RelayReject::kBadChunk), 1u);
}

TEST_F(RelayRequestTest, AnswersExpectationsBeforeTheBody) {
  AnswerLocally();
  FakeTransport& client = Connect();
  const std::string head =
      "POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
  Send(client, head);
  EXPECT_EQ(Taken(client), "HTTP/1.1 100 Continue\r\n\r\n");
  Send(client, "ab");
  EXPECT_EQ(Taken(client), kPong);
  Send(client, head + "ab");  // the body is here already
  EXPECT_EQ(Taken(client), kPong);
  FakeTransport& too_large = Connect();
  Restart({.body_bytes_max = 1});
  FakeTransport& refused = Connect();
  Send(refused, head);
  EXPECT_TRUE(Taken(refused).starts_with("HTTP/1.1 413 ")) << "no 100 before a refusal";
  EXPECT_TRUE(too_large.closed());
}

TEST_F(RelayRequestTest, SlowHeadsAndBodiesRunIntoTimeouts) {
  AnswerLocally();
  FakeTransport& head = Connect();
  Send(head, "GET / HT");
  Advance(9 * kSecondNs);
  Send(head, "T");  // more bytes do not move the limit
  Advance(kSecondNs + 1'000'000);
  EXPECT_TRUE(Taken(head).starts_with("HTTP/1.1 408 "));
  EXPECT_EQ(Refused(RelayReject::kHeadTimeout), 1u);
  Advance(3 * kSecondNs);  // linger_ns
  EXPECT_TRUE(head.closed());

  FakeTransport& body = Connect();
  Send(body, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx");
  Advance(299 * kSecondNs);
  EXPECT_EQ(Taken(body), "");
  Advance(2 * kSecondNs);
  EXPECT_TRUE(Taken(body).starts_with("HTTP/1.1 408 "));
  EXPECT_EQ(Refused(RelayReject::kBodyTimeout), 1u);
  EXPECT_EQ(handler_.requests, 0u);
}

TEST_F(RelayRequestTest, IdleConnectionsAreClosed) {
  AnswerLocally();
  FakeTransport& fresh = Connect();
  FakeTransport& used = Connect();
  Advance(70 * kSecondNs);
  Send(used, kGet);
  Advance(10 * kSecondNs);
  EXPECT_TRUE(fresh.closed());
  EXPECT_FALSE(used.closed());
  Advance(70 * kSecondNs);
  EXPECT_TRUE(used.closed());
  EXPECT_EQ(relay_->counters().client_connections.value(), 0u);
}

TEST_F(RelayRequestTest, HeadersForOneHopAndStrippedOnesStayBehind) {
  const std::string_view strip[] = {"x-secret"};
  const HeaderField add[] = {{"x-request-id", "7"}};
  handler_.on_request = [&](RelayRequest& request) {
    EXPECT_EQ(request.head().Find("x-secret"), "1");
    request.Proxy({.targets = targets_, .add = add, .strip = strip, .path_and_query = "/other"});
  };
  targets_[0].host = "server-a";
  FakeTransport& upstream = AddUpstream();
  FakeTransport& client = Connect();
  Send(client,
       "GET http://gw/x HTTP/1.1\r\nHost: gw\r\nX-Secret: 1\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"
       "Upgrade: websocket\r\nTE: trailers\r\nAccept: a\r\n\r\n");
  Accepts(upstream);
  EXPECT_EQ(Taken(upstream),
            "GET /other HTTP/1.1\r\nhost: server-a\r\nAccept: a\r\nx-request-id: 7\r\n\r\n");
}

TEST_F(RelayRequestTest, ReplacesTheBody) {
  const std::array<std::string_view, 3> pieces = {"rewritten ", "", "body"};
  handler_.on_request = [&](RelayRequest& request) {
    request.Proxy({.targets = targets_, .body = pieces});
  };
  for (const size_t bytes_per_write : {size_t{1}, size_t{7}, size_t{1000}}) {
    FakeTransport& upstream = AddUpstream();
    upstream.LimitWrite(bytes_per_write);
    Send(Connect(), kPost);
    for (int i = 0; i < 200; ++i) Accepts(upstream);
    EXPECT_EQ(
        Taken(upstream),
        "POST /v1/completions HTTP/1.1\r\nHost: gw\r\ncontent-length: 14\r\n\r\nrewritten body");
  }
}

TEST_F(RelayRequestTest, ReplacesTheBodyByNothing) {
  const std::array<std::string_view, 1> pieces = {""};
  handler_.on_request = [&](RelayRequest& request) {
    request.Proxy({.targets = targets_, .body = pieces});
  };
  FakeTransport& upstream = AddUpstream();
  Send(Connect(), kPost);
  Accepts(upstream);
  EXPECT_EQ(Taken(upstream),
            "POST /v1/completions HTTP/1.1\r\nHost: gw\r\ncontent-length: 0\r\n\r\n");
}

TEST_F(RelayRequestTest, ChunkedRequestsGoOutWithALength) {
  FakeTransport& upstream = AddUpstream();
  Send(Connect(),
       "POST /v1/completions HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\nTrailer: "
       "T\r\n\r\n"
       "2\r\nbo\r\n2\r\ndy\r\n0\r\nT: 1\r\n\r\n");
  Accepts(upstream);
  EXPECT_EQ(Taken(upstream), kPostUpstream);
}

TEST_F(RelayRequestTest, AnAnswerMayComeLater) {
  handler_.on_request = [](RelayRequest&) {};
  FakeTransport& upstream = AddUpstream();
  FakeTransport& client = Connect();
  FakeTransport& other = Connect();
  Send(client, kPost);
  RelayRequest* waiting = handler_.request;
  Send(other, kGet);  // takes over the shared memory of heads
  ASSERT_NE(waiting, nullptr);
  EXPECT_EQ(waiting->head().target, "/v1/completions");
  EXPECT_EQ(waiting->body(), "body");
  handler_.request->RespondError({.status = 404, .message = "no such model", .code = "not_found"});
  EXPECT_TRUE(Taken(other).starts_with("HTTP/1.1 404 Not Found\r\n"));
  waiting->Proxy({.targets = targets_});
  Accepts(upstream);
  Send(upstream, kOk);
  EXPECT_EQ(Taken(client), kOk);
}

TEST_F(RelayRequestTest, AWaitingRequestMayBeAnsweredInsideACallForAnother) {
  std::vector<RelayRequest*> waiting;
  handler_.on_request = [&](RelayRequest& request) {
    if (request.head().path() == "/wait") {
      waiting.push_back(&request);
    } else {
      request.Proxy({.targets = targets_});
    }
  };
  // The first piece of the answer releases one, the end of the request the other.
  handler_.on_response_bytes = [&] {
    if (waiting.size() != 2) return;
    RelayRequest* released = waiting.back();
    waiting.pop_back();
    released->Respond({.content_type = "text/plain", .body = "pong"});
  };
  handler_.on_end = [&] {
    if (waiting.size() != 1) return;
    RelayRequest* released = waiting.back();
    waiting.pop_back();
    released->Proxy({.targets = targets_});
  };
  FakeTransport& queued = Connect();
  FakeTransport& answered = Connect();
  const std::string_view wait = "GET /wait HTTP/1.1\r\nHost: gw\r\n\r\n";
  Send(queued, wait);
  Send(answered, std::string(wait) + "GET /next HTTP/1.1\r\nHost: gw\r\n\r\n");
  FakeTransport& upstream = AddUpstream();
  FakeTransport& client = Connect();
  Send(client, kPost);
  Accepts(upstream);
  Taken(upstream);
  FakeTransport& other = AddUpstream();
  Send(upstream, kStream);
  EXPECT_EQ(Taken(client), kStream) << "not disturbed by the answer in between";
  EXPECT_EQ(Taken(answered), kPong);
  EXPECT_EQ(Taken(upstream), "GET /wait HTTP/1.1\r\nHost: gw\r\n\r\n") << "at once, reused";
  Send(upstream, kOk);
  EXPECT_EQ(Taken(queued), kOk);
  Advance(2'000'000);  // what was behind the answer comes a tick later
  EXPECT_EQ(Taken(upstream) + Taken(other), "GET /next HTTP/1.1\r\nHost: gw\r\n\r\n");
  Send(upstream, kOk);
  EXPECT_EQ(Taken(answered), kOk);
}

TEST_F(RelayRequestTest, TheHandlerMayCutEverythingOffInAnyCall) {
  const std::function<void()> cut = [this] { relay_->Drain(0); };
  for (const int when : {0, 1, 2, 3}) {
    Restart({});
    handler_.on_response_bytes = when == 1 ? cut : nullptr;
    handler_.on_end = when == 2 ? cut : nullptr;
    handler_.on_request = [&](RelayRequest& request) {
      if (when == 0) return cut();
      request.Proxy({.targets = targets_});
      if (when == 3) cut();
    };
    FakeTransport unused;
    FakeTransport& upstream = when == 0 ? unused : AddUpstream();
    FakeTransport& client = Connect();
    Send(client, kPost);
    Accepts(upstream);
    Send(upstream, when == 1 ? kStream : kOk);
    EXPECT_TRUE(client.closed()) << when;
    EXPECT_TRUE(relay_->idle()) << when;
    handler_.on_response_bytes = handler_.on_end = nullptr;
  }
}

TEST_F(RelayRequestTest, AClientThatLeavesWhileTheHandlerThinksEndsTheRequest) {
  handler_.on_request = [](RelayRequest&) {};
  FakeTransport& client = Connect();
  Send(client, kPost);
  Leave(client);
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kClientGone);
  EXPECT_EQ(LastEnd().status, 0);
}

TEST_F(RelayRequestTest, ServesHttp10Clients) {
  AnswerLocally();
  FakeTransport& closing = Connect();
  Send(closing, "GET / HTTP/1.0\r\n\r\n");
  EXPECT_EQ(Taken(closing),
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n"
            "connection: close\r\n\r\npong");
  EXPECT_TRUE(closing.closed() || closing.write_shut());
  FakeTransport& keeping = Connect();
  Send(keeping, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(Taken(keeping),
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n"
            "connection: keep-alive\r\n\r\npong");
  EXPECT_FALSE(keeping.closed());
}

TEST_F(RelayRequestTest, HeadAnswersHaveNoBody) {
  AnswerLocally();
  FakeTransport& client = Connect();
  Send(client, "HEAD / HTTP/1.1\r\nHost: gw\r\n\r\n");
  EXPECT_EQ(Taken(client),
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\n");
  handler_.on_request = [this](RelayRequest& request) { request.Proxy({.targets = targets_}); };
  Send(client, "HEAD / HTTP/1.1\r\nHost: gw\r\n\r\n");  // nobody listens
  const std::string reply = Taken(client);
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 502 ")) << reply;
  EXPECT_TRUE(reply.ends_with("\r\n\r\n")) << reply;
  EXPECT_FALSE(client.closed());
}

TEST_F(RelayRequestTest, LargeAnswersWaitForTheClient) {
  const std::string body(300'000, 'm');
  AnswerLocally(body);
  FakeTransport& client = Connect();
  client.AllowWrite(1000);
  Send(client, kGet);
  EXPECT_TRUE(handler_.ends.empty()) << "not over before the kernel has it";
  client.LimitWrite(100'000);
  client.AllowWrite(1'000'000);
  client.Notify(kWritable);
  EXPECT_EQ(client.written().size(), 300'000u + std::string(kPong).size() - 4 + 5);
  EXPECT_EQ(handler_.ends.size(), 1u);

  AnswerLocally(body);
  FakeTransport& stuck = Connect();
  stuck.AllowWrite(10);
  Send(stuck, kGet);
  Advance(61 * kSecondNs);
  EXPECT_TRUE(stuck.closed());
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kClientTimeout);
}

TEST_F(RelayRequestTest, HoldsTheConnectionLimit) {
  Restart({.connections_max = 2});
  AnswerLocally();
  FakeTransport& first = Connect();
  Connect();
  FakeTransport& third = Connect();
  EXPECT_TRUE(Taken(third).starts_with("HTTP/1.1 503 "));
  EXPECT_TRUE(third.closed());
  EXPECT_EQ(Refused(RelayReject::kConnectionsFull), 1u);
  Leave(first);
  FakeTransport& fourth = Connect();
  Send(fourth, kGet);
  EXPECT_EQ(Taken(fourth), kPong);
}

TEST_F(RelayRequestTest, HoldsTheBufferLimit) {
  Restart({.buffered_bytes_max = 1u << 20});
  AnswerLocally();
  FakeTransport& client = Connect();
  Send(client, "POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 2000000\r\n\r\n");
  const std::string piece(100'000, 'x');
  for (int i = 0; i < 10; ++i) Send(client, piece);
  EXPECT_EQ(Taken(client), "");
  EXPECT_LE(loop_->buffers().in_use_bytes(), 1u << 20);
  Send(client, piece);
  EXPECT_TRUE(Taken(client).starts_with("HTTP/1.1 503 "));
  EXPECT_EQ(Refused(RelayReject::kBuffersFull), 1u);
}

TEST_F(RelayRequestTest, AnnouncedBytesTakeNoMemory) {
  Restart({.buffered_bytes_max = 1u << 20});
  AnswerLocally();
  for (int i = 0; i < 300; ++i) {
    FakeTransport& slow = Connect();
    Send(slow, "POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 1000000\r\n\r\n");
    Send(slow, "x");
    EXPECT_EQ(Taken(slow), "");
  }
  FakeTransport& client = Connect();
  Send(client, "POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 5000\r\n\r\n");
  Send(client, std::string(1000, 'x'));
  Send(client, std::string(4000, 'y'));
  EXPECT_EQ(Taken(client), kPong);
  EXPECT_EQ(handler_.bodies.back(), std::string(1000, 'x') + std::string(4000, 'y'));
}

TEST_F(RelayRequestTest, HeadsCountAgainstTheBufferLimit) {
  Restart({.buffered_bytes_max = 64u << 10});
  AnswerLocally();
  const std::string part = "GET / HTTP/1.1\r\nHost: gw\r\nx: " + std::string(20'000, 'x');
  FakeTransport& first = Connect();
  FakeTransport& second = Connect();
  FakeTransport& third = Connect();
  Send(first, part);
  Send(second, part);
  Send(third, part);
  EXPECT_LE(loop_->buffers().in_use_bytes(), 64u << 10);
  EXPECT_TRUE(Taken(third).starts_with("HTTP/1.1 503 "));
  EXPECT_EQ(Refused(RelayReject::kBuffersFull), 1u);
  Send(first, "\r\n\r\n");
  EXPECT_EQ(Taken(first), kPong);
}

TEST_F(RelayRequestTest, PagesNobodyTakesUseHalfOfTheBuffers) {
  Restart({.buffered_bytes_max = 1100u << 10});
  const std::string page(200'000, 'p');
  AnswerLocally(page);
  std::vector<FakeTransport*> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(&Connect());
    clients.back()->AllowWrite(1000);
    Send(*clients.back(), kGet);
  }
  EXPECT_LE(loop_->buffers().in_use_bytes(), 550u << 10);
  EXPECT_TRUE(Taken(*clients[1]).starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(Taken(*clients[2]).starts_with("HTTP/1.1 503 "));
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kBuffersFull);
  AnswerLocally();  // small ones are served still
  FakeTransport& client = Connect();
  Send(client, kGet);
  EXPECT_EQ(Taken(client), kPong);
}

TEST_F(RelayRequestTest, DrainClosesIdleOnesAndFinishesTheRest) {
  AnswerLocally();
  FakeTransport& idle = Connect();
  Send(idle, kGet);
  EXPECT_EQ(Taken(idle), kPong);
  handler_.on_request = [this](RelayRequest& request) { request.Proxy({.targets = targets_}); };
  FakeTransport& upstream = AddUpstream();
  FakeTransport& busy = Connect();
  Send(busy, kPost);
  Accepts(upstream);
  relay_->Drain(10 * kSecondNs);
  Advance(kTickNs);
  EXPECT_TRUE(idle.closed());
  EXPECT_FALSE(busy.closed());
  EXPECT_FALSE(relay_->idle());
  Send(upstream, kOk);
  EXPECT_EQ(Taken(busy), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: close\r\n\r\nok");
  EXPECT_TRUE(busy.closed() || busy.write_shut());
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kComplete);
}

TEST_F(RelayRequestTest, DrainServesRequestsThatAreOnTheirWay) {
  AnswerLocally();
  FakeTransport& served = Connect();
  FakeTransport& unserved = Connect();
  FakeTransport& silent = Connect();
  Send(served, kGet);
  EXPECT_EQ(Taken(served), kPong);
  served.Deliver(kGet);  // its event comes too late
  relay_->Drain(60 * kSecondNs);
  Advance(kTickNs);
  const std::string last_pong =
      "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n"
      "connection: close\r\n\r\npong";
  EXPECT_EQ(Taken(served), last_pong);
  EXPECT_FALSE(unserved.closed());
  Send(unserved, kGet);
  EXPECT_EQ(Taken(unserved), last_pong);
  EXPECT_FALSE(silent.closed());
  Advance(11 * kSecondNs);  // of client_head_ns
  EXPECT_TRUE(silent.closed());
  EXPECT_TRUE(relay_->idle());
}

TEST_F(RelayRequestTest, CountsClientsThatSendNothing) {
  Connect();
  Advance(76 * kSecondNs);
  EXPECT_TRUE(relay_->idle());
  EXPECT_EQ(relay_->counters().client_idle_closes.value(), 1u);
  EXPECT_EQ(relay_->counters().client_handshakes_failed.value(), 0u);
}

TEST_F(RelayRequestTest, DrainCutsOffAtItsDeadline) {
  FakeTransport& upstream = AddUpstream();
  FakeTransport& client = Connect();
  Send(client, kPost);
  Accepts(upstream);
  relay_->Drain(10 * kSecondNs);
  Advance(9 * kSecondNs);
  EXPECT_FALSE(client.closed());
  Advance(2 * kSecondNs);
  EXPECT_TRUE(client.closed());
  EXPECT_TRUE(upstream.closed());
  EXPECT_TRUE(relay_->idle());
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kDrained);
}

TEST_F(RelayRequestTest, AMalformedPlanIsAnInternalError) {
  const HeaderField bad[] = {{"x", "a\r\nb: c"}};
  handler_.on_request = [&](RelayRequest& request) {
    request.Proxy({.targets = targets_, .add = bad});
  };
  FakeTransport& client = Connect();
  Send(client, kPost);
  EXPECT_TRUE(Taken(client).starts_with("HTTP/1.1 500 "));
  EXPECT_EQ(LastEnd().outcome, RelayOutcome::kInternal);
  handler_.on_request = [](RelayRequest& request) { request.Proxy({}); };
  Send(client, kPost);
  EXPECT_TRUE(Taken(client).starts_with("HTTP/1.1 503 "));
  handler_.on_request = [&](RelayRequest& request) { request.Respond({.headers = bad}); };
  Send(client, kPost);
  EXPECT_TRUE(Taken(client).starts_with("HTTP/1.1 500 "));
}

}  // namespace
}  // namespace weir::io
