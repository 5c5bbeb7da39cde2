#include "weir/io/http/server.h"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "weir/io/http/server_connection.h"
#include "weir/io/loop/stream.h"

namespace weir::io {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;

struct Seen {
  std::string method, target, body, agent;
};

struct Handler : HttpHandler {
  void OnRequest(const HttpRequest& request, ResponseWriter response) override {
    seen.push_back({std::string(request.head.method), std::string(request.head.target),
                    std::string(request.body), std::string(request.head.Find("user-agent"))});
    if (then) {
      then(std::move(response));
    } else {
      response.Send(200, {}, "ok");
    }
  }
  std::vector<Seen> seen;
  std::function<void(ResponseWriter)> then;
};

struct Observer : ResponseObserver {
  void OnClientGone() override {
    ++gone;
    if (then) then();
  }
  void OnWritable() override { ++writable; }
  int gone = 0;
  int writable = 0;
  std::function<void()> then;
};

class Server : public ::testing::Test {
 protected:
  Server() : loop_(EventLoop::Create(clock_).value()) {}

  void Open(HttpServerOptions options = {}) {
    options.address = SocketAddress::Parse("127.0.0.1:0").value();
    server_ = HttpServer::Open(*loop_, options, handler_).value();
  }
  // A new client of the server.
  FakeTransport& Connect() {
    if (server_ == nullptr) Open();
    clients_.emplace_back();
    server_->Adopt(clients_.back().NewStream(), SocketAddress());
    return clients_.back();
  }
  void Say(FakeTransport& client, std::string_view bytes) {
    client.Deliver(bytes);
    client.Notify(kReadable);
  }
  void Pass(int64_t ns) {
    clock_.Advance(ns);
    loop_->RunOnce(0);
  }

  ManualClock clock_{kSecondNs};
  Handler handler_;
  std::unique_ptr<EventLoop> loop_;
  std::deque<FakeTransport> clients_;
  std::unique_ptr<HttpServer> server_;
};

constexpr std::string_view kGet = "GET /a?b HTTP/1.1\r\nHost: h\r\nUser-Agent: t\r\n\r\n";
constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

TEST_F(Server, AnswersAndKeepsTheConnection) {
  FakeTransport& client = Connect();
  for (int i = 0; i < 3; ++i) {
    client.written().clear();
    Say(client, kGet);
    EXPECT_EQ(client.written(), kOk);
  }
  EXPECT_FALSE(client.closed());
  ASSERT_EQ(handler_.seen.size(), 3u);
  EXPECT_EQ(handler_.seen[2].target, "/a?b");
  EXPECT_EQ(handler_.seen[2].agent, "t");
  EXPECT_EQ(server_->stats().requests, 3u);
  EXPECT_EQ(client.write_calls(), 3u) << "head and body go out together";
  EXPECT_EQ(loop_->buffers().in_use_bytes(), 0u) << "an idle connection holds no buffer";
}

TEST_F(Server, ReadsRequestsSplitAnywhere) {
  const std::string request =
      "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
      "POST /y HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n" +
      std::string(kGet);
  for (size_t cut = 1; cut < request.size(); ++cut) {
    handler_.seen.clear();
    FakeTransport& client = Connect();
    Say(client, std::string_view(request).substr(0, cut));
    Say(client, std::string_view(request).substr(cut));
    ASSERT_EQ(handler_.seen.size(), 3u) << cut;
    EXPECT_EQ(handler_.seen[0].body, "hello");
    EXPECT_EQ(handler_.seen[1].body, "abcdefg");
    EXPECT_EQ(handler_.seen[1].target, "/y");
    EXPECT_EQ(handler_.seen[2].method, "GET");
  }
  handler_.seen.clear();
  FakeTransport& client = Connect();
  for (const char byte : request) Say(client, {&byte, 1});
  EXPECT_EQ(handler_.seen.size(), 3u);
  EXPECT_EQ(handler_.seen[1].body, "abcdefg");
}

TEST_F(Server, PipelinedRequestsWaitForTheAnswerBefore) {
  ResponseWriter waiting;
  handler_.then = [&](ResponseWriter response) { waiting = std::move(response); };
  FakeTransport& client = Connect();
  Say(client, std::string(kGet) + std::string(kGet));
  Say(client, kGet);
  EXPECT_EQ(handler_.seen.size(), 1u);
  waiting.Send(200, {}, "1");
  EXPECT_EQ(handler_.seen.size(), 2u);
  waiting.Send(200, {}, "2");
  EXPECT_EQ(handler_.seen.size(), 3u);
  waiting.Send(200, {}, "3");
  EXPECT_EQ(client.written(),
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n3");
}

TEST_F(Server, AFloodOfPipelinedRequestsIsSpreadOverTurns) {
  FakeTransport& client = Connect();
  std::string flood;
  for (uint32_t i = 0; i < 3 * kRequestsPerTurnMax; ++i) flood += kGet;
  Say(client, flood);
  EXPECT_EQ(handler_.seen.size(), kRequestsPerTurnMax);
  Pass(kTickNs);
  EXPECT_EQ(handler_.seen.size(), 2 * kRequestsPerTurnMax);
  Pass(kTickNs);
  Pass(kTickNs);
  EXPECT_EQ(handler_.seen.size(), 3 * kRequestsPerTurnMax);
  Pass(76 * kSecondNs);
  EXPECT_TRUE(client.closed()) << "the idle time-out runs again";
}

TEST_F(Server, BodiesGrowAndAreGivenBack) {
  FakeTransport& client = Connect();
  const std::string body(1'000'000, 'x');
  Say(client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
  for (size_t at = 0; at < body.size(); at += 10'000) Say(client, body.substr(at, 10'000));
  ASSERT_EQ(handler_.seen.size(), 1u);
  EXPECT_EQ(handler_.seen[0].body, body);
  EXPECT_EQ(loop_->buffers().in_use_bytes(), 0u);
}

TEST_F(Server, SaysContinueToWhomWaitsForIt) {
  FakeTransport& client = Connect();
  Say(client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.written(), "HTTP/1.1 100 Continue\r\n\r\n");
  client.written().clear();
  Say(client, "hi");
  EXPECT_EQ(client.written(), kOk);
}

TEST_F(Server, HeadRequestsAndBodilessStatusesHaveNoBody) {
  FakeTransport& client = Connect();
  Say(client, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(client.written(), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
  client.written().clear();
  handler_.then = [](ResponseWriter response) { response.Send(204, {}, "no"); };
  Say(client, kGet);
  EXPECT_EQ(client.written(), "HTTP/1.1 204 No Content\r\n\r\n");
}

TEST_F(Server, ClosesAfterOldOrUnwillingClients) {
  for (const char* request :
       {"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"}) {
    FakeTransport& client = Connect();
    Say(client, request);
    EXPECT_EQ(client.written(),
              "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    EXPECT_TRUE(client.write_shut());
    client.DeliverEof();
    client.Notify(kReadable | kPeerClosed);
    EXPECT_TRUE(client.closed());
  }
  loop_->RunOnce(0);
  EXPECT_EQ(server_->connection_count(), 0u);
}

// ---- Limits and bad input ----

TEST_F(Server, RefusesBadHeadsWithTheirStatus) {
  struct Case {
    std::string request;
    const char* status;
  };
  HttpServerOptions options;
  options.head_bytes_max = 2000;
  options.body_bytes_max = 10;
  Open(options);
  const std::vector<Case> cases = {
      {"nonsense\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(3000, 'x'), "431"},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n", "413"},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n",
       "413"},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
  };
  for (const Case& one : cases) {
    FakeTransport& client = Connect();
    Say(client, one.request);
    EXPECT_EQ(client.written().substr(0, 12), std::string("HTTP/1.1 ") + one.status) << one.request;
    EXPECT_NE(client.written().find("onnection: close"), std::string::npos);
    EXPECT_TRUE(client.write_shut());
    Say(client, "more of it");
    EXPECT_FALSE(client.closed()) << "what is on its way is dropped first";
    Pass(3 * kSecondNs);
    EXPECT_TRUE(client.closed());
  }
  EXPECT_TRUE(handler_.seen.empty());
  EXPECT_EQ(server_->stats().requests_refused, cases.size());
  EXPECT_EQ(server_->connection_count(), 0u);
  EXPECT_EQ(loop_->buffers().in_use_bytes(), 0u);
}

TEST_F(Server, AClientThatNeverStopsSendingAfterARefusalIsCutOff) {
  FakeTransport& client = Connect();
  Say(client, "nonsense\r\n\r\n");
  const std::string piece(60'000, 'x');
  for (uint64_t sent = 0; sent <= kLingerBytesMax; sent += piece.size()) Say(client, piece);
  EXPECT_TRUE(client.closed());
}

TEST_F(Server, BoundsAllArrivingBodiesTogether) {
  HttpServerOptions options;
  options.input_bytes_max = 300'000;
  Open(options);
  const std::string start =
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n" + std::string(150'000, 'x');
  FakeTransport& first = Connect();
  Say(first, start);
  EXPECT_EQ(first.written(), "");
  FakeTransport& second = Connect();
  Say(second, start);
  EXPECT_EQ(second.written().substr(0, 12), "HTTP/1.1 503");
  Say(first, std::string(50'000, 'x'));
  EXPECT_EQ(first.written(), kOk);
  FakeTransport& third = Connect();
  Say(third, start);
  Say(third, std::string(50'000, 'x'));
  EXPECT_EQ(third.written(), kOk) << "the room is free again";
}

TEST_F(Server, RefusesConnectionsOverItsLimit) {
  HttpServerOptions options;
  options.connections_max = 1;
  Open(options);
  FakeTransport& first = Connect();
  FakeTransport& second = Connect();
  EXPECT_TRUE(second.closed());
  EXPECT_EQ(server_->stats().connections_refused, 1u);
  Say(first, kGet);
  EXPECT_EQ(first.written(), kOk);
}

TEST_F(Server, TimesOutSlowHeadsBodiesAndIdleConnections) {
  FakeTransport& silent = Connect();
  FakeTransport& slow_head = Connect();
  FakeTransport& slow_body = Connect();
  FakeTransport& idle = Connect();
  Say(slow_head, "GET / HT");
  Say(slow_body, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n1");
  Say(idle, kGet);
  for (int second = 0; second < 9; ++second) {
    Pass(kSecondNs);
    Say(slow_head, "P");  // trickling does not help
    Say(slow_body, "2");
  }
  EXPECT_FALSE(silent.closed());
  Pass(kSecondNs);
  EXPECT_TRUE(silent.closed());
  EXPECT_EQ(silent.written(), "");
  EXPECT_EQ(slow_head.written().substr(0, 12), "HTTP/1.1 408");
  EXPECT_NE(slow_body.written().find("200 OK"), std::string::npos);
  Pass(64 * kSecondNs);
  EXPECT_FALSE(idle.closed());
  Pass(2 * kSecondNs);
  EXPECT_TRUE(idle.closed());
  EXPECT_EQ(server_->stats().timeouts, 4u) << "slow_body became idle too";
}

TEST_F(Server, TimesOutABodyAndASecondHeadFromTheirFirstByte) {
  FakeTransport& body = Connect();
  Say(body, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n1");
  FakeTransport& second_head = Connect();
  Say(second_head, kGet);
  second_head.written().clear();
  Pass(50 * kSecondNs);
  Say(second_head, "GET ");
  Pass(9 * kSecondNs);
  EXPECT_EQ(second_head.written(), "");
  EXPECT_EQ(body.written(), "");
  Pass(2 * kSecondNs);
  EXPECT_EQ(second_head.written().substr(0, 12), "HTTP/1.1 408");
  EXPECT_EQ(body.written().substr(0, 12), "HTTP/1.1 408");
}

TEST_F(Server, TheClientsEndBeforeACompleteRequestJustCloses) {
  for (const char* request :
       {"", "GET /", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n1"}) {
    FakeTransport& client = Connect();
    client.Deliver(request);
    client.DeliverEof();
    client.Notify(kReadable | kPeerClosed);
    EXPECT_TRUE(client.closed());
    EXPECT_EQ(client.written(), "");
  }
  EXPECT_TRUE(handler_.seen.empty());
  EXPECT_EQ(server_->connection_count(), 0u);
}

// ---- Streaming ----

TEST_F(Server, StreamsChunks) {
  ResponseWriter stream;
  handler_.then = [&](ResponseWriter response) { stream = std::move(response); };
  FakeTransport& client = Connect();
  Say(client, kGet);
  const HeaderField type[] = {{"Content-Type", "text/event-stream"}};
  stream.Begin(200, type, "data: 0\n\n");
  EXPECT_EQ(client.written(),
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
            "\r\n9\r\ndata: 0\n\n\r\n");
  EXPECT_EQ(client.write_calls(), 1u);
  client.written().clear();
  EXPECT_TRUE(stream.Write("hello world, hello"));
  EXPECT_TRUE(stream.Write(""));
  EXPECT_EQ(client.written(), "12\r\nhello world, hello\r\n");
  EXPECT_EQ(loop_->buffers().in_use_bytes(), 0u) << "a stream that waits holds no buffer";
  client.written().clear();
  stream.End();
  EXPECT_EQ(client.written(), "0\r\n\r\n");
  EXPECT_FALSE(stream);
  handler_.then = nullptr;
  client.written().clear();
  Say(client, kGet);
  EXPECT_EQ(client.written(), kOk);
}

TEST_F(Server, StreamsUntilCloseToOldClients) {
  ResponseWriter stream;
  handler_.then = [&](ResponseWriter response) { stream = std::move(response); };
  FakeTransport& client = Connect();
  Say(client, "GET / HTTP/1.0\r\n\r\n");
  stream.Begin(200, {});
  stream.Write("abc");
  stream.End();
  EXPECT_EQ(client.written(), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc");
  EXPECT_TRUE(client.write_shut());
}

TEST_F(Server, TellsOfBackPressureAndOfItsEnd) {
  HttpServerOptions options;
  options.unsent_high_water_bytes = 100;
  Open(options);
  ResponseWriter stream;
  Observer observer;
  handler_.then = [&](ResponseWriter response) {
    stream = std::move(response);
    stream.Observe(&observer);
  };
  FakeTransport& client = Connect();
  Say(client, kGet);
  stream.Begin(200, {});
  client.written().clear();
  client.AllowWrite(10);
  client.LimitWrite(3);
  EXPECT_TRUE(stream.Write(std::string(50, 'a')));
  EXPECT_FALSE(stream.Write(std::string(100, 'b')));
  EXPECT_GT(stream.unsent_bytes(), 100u);
  client.AllowWrite(20);
  client.Notify(kWritable);
  EXPECT_EQ(observer.writable, 0);
  client.AllowWrite(10'000);
  client.Notify(kWritable);
  EXPECT_EQ(observer.writable, 1);
  EXPECT_EQ(stream.unsent_bytes(), 0u);
  EXPECT_EQ(client.written(),
            "32\r\n" + std::string(50, 'a') + "\r\n64\r\n" + std::string(100, 'b') + "\r\n");
  client.Notify(kWritable);
  EXPECT_EQ(observer.writable, 1);
  stream.End();
}

TEST_F(Server, AClientThatTakesNothingIsGivenUp) {
  ResponseWriter stream;
  Observer observer;
  handler_.then = [&](ResponseWriter response) {
    stream = std::move(response);
    stream.Observe(&observer);
  };
  FakeTransport& client = Connect();
  Say(client, kGet);
  client.AllowWrite(0);
  stream.Begin(200, {});
  Pass(20 * kSecondNs);
  client.AllowWrite(5);
  client.Notify(kWritable);  // progress starts the time-out again
  Pass(20 * kSecondNs);
  EXPECT_EQ(observer.gone, 0);
  Pass(11 * kSecondNs);
  EXPECT_EQ(observer.gone, 1);
  EXPECT_TRUE(client.aborted());
  EXPECT_TRUE(stream.client_gone());
  EXPECT_TRUE(stream.Write("into the void"));
  stream.End();
  loop_->RunOnce(0);
  EXPECT_EQ(server_->connection_count(), 0u);
}

TEST_F(Server, UnsentBytesAreBounded) {
  HttpServerOptions options;
  options.unsent_bytes_max = 1000;
  Open(options);
  ResponseWriter stream;
  Observer observer;
  handler_.then = [&](ResponseWriter response) {
    stream = std::move(response);
    stream.Observe(&observer);
  };
  FakeTransport& client = Connect();
  Say(client, kGet);
  stream.Begin(200, {});
  client.AllowWrite(0);
  stream.Write(std::string(900, 'x'));
  EXPECT_FALSE(stream.client_gone());
  stream.Write(std::string(200, 'x'));
  EXPECT_EQ(observer.gone, 0) << "never from within the writer's call";
  EXPECT_TRUE(stream.client_gone());
  Pass(kTickNs);
  EXPECT_EQ(observer.gone, 1);
  EXPECT_TRUE(client.closed());
}

TEST_F(Server, TellsWhenTheClientLeaves) {
  for (const Ready event : {kReadable | kPeerClosed, kBroken}) {
    ResponseWriter stream;
    Observer observer;
    observer.then = [&] { stream = ResponseWriter(); };
    handler_.then = [&](ResponseWriter response) {
      stream = std::move(response);
      stream.Observe(&observer);
    };
    FakeTransport& client = Connect();
    Say(client, kGet);
    stream.Begin(200, {});
    client.DeliverEof();
    client.Notify(event);
    EXPECT_EQ(observer.gone, 1);
    EXPECT_TRUE(client.closed());
    loop_->RunOnce(0);
  }
  EXPECT_EQ(server_->stats().clients_gone, 2u);
  EXPECT_EQ(server_->connection_count(), 0u);
}

TEST_F(Server, TellsWhenAWriteFails) {
  ResponseWriter stream;
  Observer observer;
  handler_.then = [&](ResponseWriter response) {
    stream = std::move(response);
    stream.Observe(&observer);
  };
  FakeTransport& client = Connect();
  Say(client, kGet);
  client.FailWrites(EPIPE);
  stream.Begin(200, {});
  EXPECT_EQ(observer.gone, 0);
  Pass(kTickNs);
  EXPECT_EQ(observer.gone, 1);
  stream = ResponseWriter();
  loop_->RunOnce(0);
  EXPECT_EQ(server_->connection_count(), 0u);
}

TEST_F(Server, AFailedWriteOfAFinishedResponseEndsTheConnection) {
  FakeTransport& client = Connect();
  client.FailWrites(ECONNRESET);
  Say(client, kGet);
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(server_->connection_count(), 0u);
  EXPECT_EQ(server_->stats().clients_gone, 1u);
}

// ---- The writer's corners ----

TEST_F(Server, AnUnansweredRequestGetsA500) {
  handler_.then = [](ResponseWriter) {};
  FakeTransport& client = Connect();
  Say(client, kGet);
  EXPECT_EQ(client.written().substr(0, 12), "HTTP/1.1 500");
  EXPECT_FALSE(client.closed());
}

TEST_F(Server, AnUnfinishedStreamIsCutVisibly) {
  handler_.then = [](ResponseWriter response) { response.Begin(200, {}, "x"); };
  FakeTransport& client = Connect();
  Say(client, kGet);
  EXPECT_EQ(client.written().find("0\r\n\r\n"), std::string::npos);
  EXPECT_TRUE(client.write_shut());
}

TEST_F(Server, HeadersThatWouldBreakTheHeadBecomeA500) {
  const HeaderField bad[] = {{"X", "a\r\nSet-Cookie: b"}};
  const std::string long_value(kResponseHeadBytesMax, 'x');
  const HeaderField large[] = {{"X", long_value}};
  for (const std::span<const HeaderField> headers :
       {std::span<const HeaderField>(bad), std::span<const HeaderField>(large)}) {
    for (const bool streaming : {false, true}) {
      handler_.then = [&](ResponseWriter response) {
        if (!streaming) return response.Send(200, headers, "x");
        response.Begin(200, headers);
        response.Write("dropped");
        response.End();
      };
      FakeTransport& client = Connect();
      Say(client, kGet);
      EXPECT_EQ(client.written().substr(0, 12), "HTTP/1.1 500");
      EXPECT_EQ(client.written().find("Set-Cookie"), std::string::npos);
      EXPECT_EQ(client.written().find("dropped"), std::string::npos);
    }
  }
}

TEST_F(Server, FaultsResetAndCut) {
  handler_.then = [](ResponseWriter response) { response.Reset(); };
  FakeTransport& reset = Connect();
  Say(reset, kGet);
  EXPECT_TRUE(reset.aborted());
  EXPECT_EQ(reset.written(), "");
  handler_.then = [](ResponseWriter response) {
    response.CutAfter(40);
    response.Send(200, {}, std::string(100, 'x'));
  };
  FakeTransport& cut = Connect();
  Say(cut, kGet);
  EXPECT_EQ(cut.written().size(), 40u);
  EXPECT_TRUE(cut.closed());
  EXPECT_FALSE(cut.aborted());
  ResponseWriter stream;
  handler_.then = [&](ResponseWriter response) {
    stream = std::move(response);
    stream.Begin(200, {});
    stream.CutAfter(4);
  };
  FakeTransport& cut_stream = Connect();
  Say(cut_stream, kGet);
  cut_stream.written().clear();
  cut_stream.AllowWrite(2);
  stream.Write("abc");
  stream.Write("def");
  EXPECT_FALSE(cut_stream.closed());
  cut_stream.AllowWrite(100);
  cut_stream.Notify(kWritable);
  EXPECT_EQ(cut_stream.written(), "3\r\na");
  EXPECT_TRUE(cut_stream.closed());
  stream.End();
  loop_->RunOnce(0);
  EXPECT_EQ(server_->connection_count(), 0u);
}

TEST_F(Server, SendsErrorsInOpenAisForm) {
  handler_.then = [](ResponseWriter response) {
    response.SendError({.status = 404, .message = "no such model"});
  };
  FakeTransport& client = Connect();
  Say(client, kGet);
  EXPECT_EQ(client.written().substr(0, 12), "HTTP/1.1 404");
  EXPECT_NE(client.written().find("no such model"), std::string::npos);
}

TEST_F(Server, DrainClosesIdleOnesAndLetsOthersFinish) {
  ResponseWriter stream;
  FakeTransport& idle = Connect();
  Say(idle, kGet);
  handler_.then = [&](ResponseWriter response) { stream = std::move(response); };
  FakeTransport& busy = Connect();
  Say(busy, kGet);
  server_->Drain();
  EXPECT_TRUE(idle.closed());
  EXPECT_FALSE(server_->drained());
  stream.Send(200, {}, "ok");
  EXPECT_NE(busy.written().find("Connection: close"), std::string::npos);
  busy.DeliverEof();
  busy.Notify(kReadable | kPeerClosed);
  EXPECT_TRUE(server_->drained());
}

TEST_F(Server, WritersMayOutliveTheServer) {
  ResponseWriter kept, dropped;
  Observer keeper, dropper;
  dropper.then = [&] { dropped = ResponseWriter(); };
  handler_.then = [&](ResponseWriter response) {
    const bool first = !kept;
    (first ? kept : dropped) = std::move(response);
    (first ? kept : dropped).Observe(first ? &keeper : &dropper);
  };
  FakeTransport& one = Connect();
  FakeTransport& two = Connect();
  FakeTransport& idle = Connect();
  Say(one, kGet);
  Say(two, kGet);
  server_.reset();
  EXPECT_EQ(keeper.gone, 1);
  EXPECT_EQ(dropper.gone, 1);
  EXPECT_TRUE(one.closed() && two.closed() && idle.closed());
  EXPECT_TRUE(kept.client_gone());
  kept.Begin(200, {});
  kept.Write("x");
  kept.End();
  loop_->RunOnce(0);
}

TEST(ServerConnection, IsSmallEnoughForTenThousandStreams) {
  EXPECT_LE(sizeof(ServerConnection), 512u);
}

}  // namespace
}  // namespace weir::io
