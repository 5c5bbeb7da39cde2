#include "weir/io/http/client.h"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "weir/io/http/server.h"
#include "weir/io/loop/stream.h"
#include "weir/io/loop/tls.h"

namespace weir::io {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kTestDeadlineNs = 20 * kSecondNs;

// A call with everything that came of it.
struct Call : HttpCallHandler {
  void OnHead(const ResponseHead& head) override {
    status = head.status;
    type = head.Find("content-type");
    if (on_head) on_head();
  }
  void OnBody(std::string_view bytes) override {
    body += bytes;
    if (on_body) on_body();
  }
  void OnEnd(HttpEnd how) override {
    ++ends;
    end = how;
    if (on_end) on_end();
  }
  HttpCall call;
  int status = 0;
  std::string type, body;
  int ends = 0;
  HttpEnd end = HttpEnd::kComplete;
  std::function<void()> on_head, on_body, on_end;
};

// A server whose every connection answers what a script says, whatever is asked.
class RawServer : public AcceptHandler {
 public:
  struct Answer {
    std::string bytes;
    bool close = false;
    bool reset = false;
  };
  explicit RawServer(EventLoop& loop) : loop_(&loop) {
    listener_ =
        Listener::Open(loop, {.address = SocketAddress::Parse("127.0.0.1:0").value()}, *this)
            .value();
  }
  ~RawServer() {
    for (auto& connection : connections_) connection->Close();
  }
  const SocketAddress& address() const { return listener_->address(); }
  // Answers are given in order, one per readable event; the last one is repeated.
  std::deque<Answer> answers;
  std::string received;
  int accepted = 0;
  void CloseAll() {
    for (auto& connection : connections_) connection->Close();
  }

 private:
  struct Connection : EventHandler {
    Connection(RawServer& server, UniqueFd fd)
        : server(&server), stream(Stream::Plain(std::move(fd))) {}
    void OnReady(Ready ready) override {
      if ((ready & kReadable) == 0 || !stream.open()) return;
      std::vector<char> piece(1 << 20);
      const IoResult result = stream.TryRead(piece);
      if (!result.ok()) return Close();
      server->received.append(piece.data(), result.bytes);
      if (server->answers.empty()) return;
      const Answer answer = server->answers.front();
      if (server->answers.size() > 1) server->answers.pop_front();
      (void)stream.TryWrite(answer.bytes);
      if (answer.reset) stream.Abort();
      if (answer.close) Close();
    }
    void Close() { server->loop_->Close(stream, *this); }
    RawServer* server;
    Stream stream;
  };
  void OnAccept(UniqueFd socket, const SocketAddress&) override {
    ++accepted;
    connections_.push_back(std::make_unique<Connection>(*this, std::move(socket)));
    EXPECT_EQ(loop_->Watch(connections_.back()->stream, *connections_.back()), Code::kOk);
  }
  EventLoop* loop_;
  std::unique_ptr<Listener> listener_;
  std::vector<std::unique_ptr<Connection>> connections_;
};

struct Handler : HttpHandler {
  void OnRequest(const HttpRequest& request, ResponseWriter response) override {
    ++requests;
    if (then) return then(request, std::move(response));
    const HeaderField type[] = {{"Content-Type", "text/plain"}};
    response.Send(200, type, std::string(request.head.target) + "|" + std::string(request.body));
  }
  int requests = 0;
  std::function<void(const HttpRequest&, ResponseWriter)> then;
};

class Client : public ::testing::Test {
 protected:
  Client() : loop_(EventLoop::Create(clock_).value()) {}

  template <typename Done>
  bool Until(Done done) {
    const int64_t deadline_ns = SystemClock().now_ns() + kTestDeadlineNs;
    while (!done()) {
      if (SystemClock().now_ns() > deadline_ns) return false;
      loop_->RunOnce(5 * kTickNs);
      clock_.Advance(kTickNs);  // for what is put off to the next tick
    }
    return true;
  }
  bool Finish(Call& call) {
    return Until([&] { return call.ends != 0; });
  }
  void Serve(HttpServerOptions options = {}) {
    options.address = SocketAddress::Parse("127.0.0.1:0").value();
    server_ = HttpServer::Open(*loop_, options, handler_).value();
  }
  HttpClientOptions ToServer() { return {.address = server_->address()}; }

  ManualClock clock_{kSecondNs};
  Handler handler_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(Client, CallsAndKeepsTheConnection) {
  Serve();
  HttpClient client(*loop_, ToServer());
  for (int i = 0; i < 3; ++i) {
    Call call;
    client.Start(call.call, {.target = "/t"}, call);
    EXPECT_TRUE(call.call.active());
    ASSERT_TRUE(Finish(call));
    EXPECT_EQ(call.end, HttpEnd::kComplete);
    EXPECT_EQ(call.status, 200);
    EXPECT_EQ(call.type, "text/plain");
    EXPECT_EQ(call.body, "/t|");
    EXPECT_EQ(call.call.on_kept_connection(), i != 0);
    EXPECT_EQ(client.idle_count(), 1u);
    const HttpTimes& times = call.call.times();
    EXPECT_EQ(times.connected_ns == 0, i != 0);
    EXPECT_LE(times.start_ns, times.written_ns);
    EXPECT_LE(times.written_ns, times.first_byte_ns);
    EXPECT_LE(times.first_byte_ns, times.end_ns);
    EXPECT_EQ(call.call.error_text(), "");
  }
  EXPECT_EQ(client.connections_opened(), 1u);
  EXPECT_EQ(loop_->buffers().in_use_bytes(), 0u);
}

TEST_F(Client, SendsLargeBodiesAndReadsLargeAnswers) {
  Serve();
  HttpClient client(*loop_, ToServer());
  std::string body(5'000'000, '\0');
  for (size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>('a' + i % 23);
  Call call;
  client.Start(call.call, {.method = "POST", .target = "/", .body = body}, call);
  ASSERT_TRUE(Finish(call));
  EXPECT_EQ(call.body, "/|" + body);
}

TEST_F(Client, ReadsStreamsAsTheyCome) {
  Serve();
  ResponseWriter stream;
  handler_.then = [&](const HttpRequest&, ResponseWriter response) {
    stream = std::move(response);
    stream.Begin(200, {}, "one");
  };
  HttpClient client(*loop_, ToServer());
  Call call;
  client.Start(call.call, {}, call);
  ASSERT_TRUE(Until([&] { return call.body == "one"; }));
  stream.Write("two");
  ASSERT_TRUE(Until([&] { return call.body == "onetwo"; }));
  EXPECT_EQ(call.ends, 0);
  stream.End();
  ASSERT_TRUE(Finish(call));
  EXPECT_EQ(client.idle_count(), 1u);
}

TEST_F(Client, ManyStreamsAtATimeAndTheirConnectionsAreReused) {
  constexpr int kCalls = 300;
  Serve();
  std::vector<ResponseWriter> streams;
  handler_.then = [&](const HttpRequest&, ResponseWriter response) {
    streams.push_back(std::move(response));
    streams.back().Begin(200, {});
  };
  HttpClientOptions options = ToServer();
  options.idle_connections_max = 100;
  HttpClient client(*loop_, options);
  std::deque<Call> calls(kCalls);
  for (Call& call : calls) client.Start(call.call, {}, call);
  ASSERT_TRUE(Until([&] { return streams.size() == kCalls; }));
  for (ResponseWriter& stream : streams) stream.Write("event");
  for (ResponseWriter& stream : streams) stream.End();
  for (Call& call : calls) {
    ASSERT_TRUE(Finish(call));
    EXPECT_EQ(call.body, "event");
  }
  EXPECT_EQ(client.idle_count(), 100u) << "the limit holds";
  EXPECT_EQ(client.connections_opened(), static_cast<uint64_t>(kCalls));
}

TEST_F(Client, TlsBothWays) {
  const auto server_tls = TlsContext::Server({}).value();
  const auto client_tls = TlsContext::Client({.verify = false}).value();
  HttpServerOptions server_options;
  server_options.tls_or_null = server_tls.get();
  Serve(server_options);
  HttpClientOptions options = ToServer();
  options.tls_or_null = client_tls.get();
  HttpClient client(*loop_, options);
  const std::string body(1'000'000, 'b');
  for (int i = 0; i < 2; ++i) {
    Call call;
    client.Start(call.call, {.method = "POST", .target = "/s", .body = body}, call);
    ASSERT_TRUE(Finish(call));
    EXPECT_EQ(call.end, HttpEnd::kComplete) << call.call.error_text();
    EXPECT_EQ(call.body, "/s|" + body);
    EXPECT_EQ(call.call.on_kept_connection(), i == 1);
  }
  const auto strict_tls = TlsContext::Client({}).value();
  options.tls_or_null = strict_tls.get();
  HttpClient strict(*loop_, options);
  Call refused;
  strict.Start(refused.call, {}, refused);
  ASSERT_TRUE(Finish(refused));
  EXPECT_EQ(refused.end, HttpEnd::kConnectFailed);
  EXPECT_NE(refused.call.error_text().find("certificate"), std::string::npos);
}

TEST_F(Client, ACallbackMayCancelRestartOrDestroy) {
  Serve();
  HttpClient client(*loop_, ToServer());
  Call call;
  int starts = 1;
  call.on_end = [&] {
    EXPECT_FALSE(call.call.active());
    if (++starts <= 3) client.Start(call.call, {.target = "/again"}, call);
  };
  client.Start(call.call, {}, call);
  ASSERT_TRUE(Until([&] { return call.ends == 3; }));
  EXPECT_EQ(client.connections_opened(), 1u);
  for (const bool in_body : {false, true}) {
    auto doomed = std::make_unique<Call>();
    (in_body ? doomed->on_body : doomed->on_head) = [&] { doomed.reset(); };
    client.Start(doomed->call, {}, *doomed);
    ASSERT_TRUE(Until([&] { return doomed == nullptr; }));
  }
  Call cancelled;
  client.Start(cancelled.call, {}, cancelled);
  cancelled.call.Cancel();
  EXPECT_FALSE(cancelled.call.active());
  loop_->RunOnce(0);
  EXPECT_EQ(cancelled.ends, 0);
}

TEST_F(Client, CancellingReachesTheServer) {
  Serve();
  struct Observer : ResponseObserver {
    void OnClientGone() override { gone = true; }
    bool gone = false;
  } observer;
  ResponseWriter stream;
  handler_.then = [&](const HttpRequest&, ResponseWriter response) {
    stream = std::move(response);
    stream.Observe(&observer);
    stream.Begin(200, {}, "x");
  };
  HttpClient client(*loop_, ToServer());
  Call call;
  client.Start(call.call, {}, call);
  ASSERT_TRUE(Until([&] { return call.body == "x"; }));
  call.call.Cancel();
  EXPECT_TRUE(Until([&] { return observer.gone; }));
}

// ---- Failures ----

TEST_F(Client, ReportsWhoRefuses) {
  Serve();
  const HttpClientOptions options = ToServer();
  server_.reset();
  HttpClient client(*loop_, options);
  Call call;
  client.Start(call.call, {}, call);
  EXPECT_EQ(call.ends, 0);
  ASSERT_TRUE(Finish(call));
  EXPECT_EQ(call.end, HttpEnd::kConnectFailed);
  EXPECT_EQ(call.call.error_text(), "Connection refused");
}

TEST_F(Client, RefusesRequestsThatWouldBreakTheHead) {
  Serve();
  HttpClient client(*loop_, ToServer());
  const HeaderField bad[] = {{"X", "a\r\nY: b"}};
  const std::string long_target(kRequestHeadBytesMax, 'x');
  for (const HttpClientRequest& request :
       {HttpClientRequest{.headers = bad}, HttpClientRequest{.target = long_target}}) {
    Call call;
    client.Start(call.call, request, call);
    EXPECT_EQ(call.ends, 0);
    ASSERT_TRUE(Finish(call));
    EXPECT_EQ(call.end, HttpEnd::kBadRequest);
  }
  EXPECT_EQ(handler_.requests, 0);
}

TEST_F(Client, ReadsAnswersOfEveryFramingAndRefusesBadOnes) {
  struct Case {
    std::string answer;
    bool close;
    HttpEnd end;
    std::string body;
  };
  std::string endless = "HTTP/1.1 200 OK\r\n";
  while (endless.size() < 70'000) endless += "X-Header: value\r\n";
  std::string informational;
  for (uint32_t i = 0; i <= kInformationalHeadsMax; ++i) {
    informational += "HTTP/1.1 103 Early Hints\r\n\r\n";
  }
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const std::vector<Case> cases = {
      {ok + "Content-Length: 3\r\n\r\nabc", false, HttpEnd::kComplete, "abc"},
      {ok + "\r\nuntil close", true, HttpEnd::kComplete, "until close"},
      {ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", false, HttpEnd::kComplete,
       "ab"},
      {"HTTP/1.1 204 No Content\r\n\r\n", false, HttpEnd::kComplete, ""},
      {"HTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Length: 1\r\n\r\nx", false,
       HttpEnd::kComplete, "x"},
      {informational, false, HttpEnd::kBadResponse, ""},
      {"HTTP/1.1 101 Switching Protocols\r\n\r\n", false, HttpEnd::kBadResponse, ""},
      {ok + "Content-Length: 9\r\n\r\nlie", true, HttpEnd::kClosed, "lie"},
      {ok + "Transfer-Encoding: chunked\r\n\r\n9\r\nlie", true, HttpEnd::kClosed, "lie"},
      {ok + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", false, HttpEnd::kBadResponse, ""},
      {ok + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", false, HttpEnd::kBadResponse, ""},
      {"SSH-2.0-OpenSSH\r\n", false, HttpEnd::kBadResponse, ""},
      {endless, false, HttpEnd::kTooLarge, ""},
      {ok + "Content-Length: 101\r\n\r\n" + std::string(101, 'x'), false, HttpEnd::kTooLarge, ""},
      {"", true, HttpEnd::kClosed, ""},
      {"HTTP/1.1 20", true, HttpEnd::kClosed, ""},
  };
  for (const Case& one : cases) {
    RawServer server(*loop_);
    server.answers = {{one.answer, one.close}};
    HttpClient client(*loop_, {.address = server.address()});
    Call call;
    client.Start(call.call, {.response_bytes_max = 100}, call);
    ASSERT_TRUE(Finish(call)) << one.answer.substr(0, 60);
    EXPECT_EQ(call.end, one.end) << one.answer.substr(0, 60) << ": " << call.call.error_text();
    EXPECT_EQ(call.body, one.body);
    EXPECT_EQ(call.call.error_text().empty(), one.end == HttpEnd::kComplete);
    const bool kept = one.end == HttpEnd::kComplete && !one.close;
    EXPECT_EQ(client.idle_count(), kept ? 1u : 0u) << one.answer.substr(0, 60);
  }
}

TEST_F(Client, AHeadThatArrivesByteByByteIsRead) {
  RawServer server(*loop_);
  const std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  server.answers = {{""}};
  HttpClient client(*loop_, {.address = server.address()});
  struct Feeder : AcceptHandler {
    void OnAccept(UniqueFd socket, const SocketAddress&) override { fd = std::move(socket); }
    UniqueFd fd;
  } feeder;
  auto listener =
      Listener::Open(*loop_, {.address = SocketAddress::Parse("127.0.0.1:0").value()}, feeder)
          .value();
  HttpClient slow(*loop_, {.address = listener->address()});
  Call call;
  slow.Start(call.call, {}, call);
  ASSERT_TRUE(Until([&] { return static_cast<bool>(feeder.fd); }));
  for (const char byte : answer) {
    ASSERT_EQ(::send(feeder.fd.get(), &byte, 1, MSG_NOSIGNAL), 1);
    loop_->RunOnce(5 * kTickNs);
  }
  ASSERT_TRUE(Finish(call));
  EXPECT_EQ(call.body, "ok");
}

TEST_F(Client, BytesBehindAResponseSpoilTheConnection) {
  RawServer server(*loop_);
  server.answers = {{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\nevil"}};
  HttpClient client(*loop_, {.address = server.address()});
  Call call;
  client.Start(call.call, {}, call);
  ASSERT_TRUE(Finish(call));
  EXPECT_EQ(call.body, "x");
  EXPECT_EQ(client.idle_count(), 0u);
}

TEST_F(Client, AnEarlyAnswerEndsTheCallBeforeItsBodyIsSent) {
  RawServer server(*loop_);
  server.answers = {{"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"}, {""}};
  HttpClient client(*loop_, {.address = server.address()});
  const std::string body(20'000'000, 'x');
  Call call;
  client.Start(call.call, {.method = "POST", .body = body}, call);
  ASSERT_TRUE(Finish(call));
  EXPECT_EQ(call.end, HttpEnd::kComplete);
  EXPECT_EQ(call.status, 413);
  EXPECT_EQ(client.idle_count(), 0u);
}

TEST_F(Client, RepeatsACallWhoseKeptConnectionHadDied) {
  const std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  for (const bool reset : {false, true}) {
    RawServer server(*loop_);
    server.answers = {{ok}, {"", !reset, reset}, {ok}};
    HttpClient client(*loop_, {.address = server.address()});
    Call first, second;
    client.Start(first.call, {}, first);
    ASSERT_TRUE(Finish(first));
    client.Start(second.call, {.method = "POST", .body = "body"}, second);
    ASSERT_TRUE(Finish(second));
    EXPECT_EQ(second.end, HttpEnd::kComplete) << second.call.error_text();
    EXPECT_EQ(second.body, "ok");
    EXPECT_TRUE(second.call.retried());
    EXPECT_EQ(server.accepted, 2);
  }
}

TEST_F(Client, RepeatsOnlyOnceAndNeverAfterAByte) {
  const std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  for (const std::string& second_answer : {std::string(), std::string("HTTP/1.1 2")}) {
    RawServer server(*loop_);
    server.answers = {{ok}, {second_answer, true}};
    HttpClient client(*loop_, {.address = server.address()});
    Call first, second;
    client.Start(first.call, {}, first);
    ASSERT_TRUE(Finish(first));
    client.Start(second.call, {}, second);
    ASSERT_TRUE(Finish(second));
    EXPECT_EQ(second.end, HttpEnd::kClosed);
    EXPECT_EQ(second.call.retried(), second_answer.empty());
  }
}

TEST_F(Client, NoticesWhenAnIdleConnectionEnds) {
  RawServer server(*loop_);
  server.answers = {{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}};
  HttpClient client(*loop_, {.address = server.address()});
  Call call;
  client.Start(call.call, {}, call);
  ASSERT_TRUE(Finish(call));
  EXPECT_EQ(client.idle_count(), 1u);
  server.CloseAll();
  EXPECT_TRUE(Until([&] { return client.idle_count() == 0; }));
}

TEST_F(Client, IdleConnectionsAreClosedInTime) {
  Serve();
  HttpClient client(*loop_, ToServer());
  Call call;
  client.Start(call.call, {}, call);
  ASSERT_TRUE(Finish(call));
  clock_.Advance(54 * kSecondNs);
  loop_->RunOnce(0);
  EXPECT_EQ(client.idle_count(), 1u);
  clock_.Advance(2 * kSecondNs);
  loop_->RunOnce(0);
  EXPECT_EQ(client.idle_count(), 0u);
}

// ---- Time-outs ----

TEST_F(Client, TimesOutWithoutAFirstByte) {
  RawServer server(*loop_);
  HttpClient client(*loop_, {.address = server.address()});
  Call call;
  client.Start(call.call, {.first_byte_timeout_ns = 8 * kSecondNs}, call);
  ASSERT_TRUE(Until([&] { return !server.received.empty(); }));
  clock_.Advance(7 * kSecondNs);
  loop_->RunOnce(0);
  EXPECT_EQ(call.ends, 0);
  clock_.Advance(2 * kSecondNs);
  loop_->RunOnce(0);
  EXPECT_EQ(call.ends, 1);
  EXPECT_EQ(call.end, HttpEnd::kTimedOut);
  EXPECT_EQ(call.call.error_text(), "no answer in time");
}

TEST_F(Client, TimesOutAltogetherAlsoWhileBytesCome) {
  Serve();
  ResponseWriter stream;
  handler_.then = [&](const HttpRequest&, ResponseWriter response) {
    stream = std::move(response);
    stream.Begin(200, {}, "x");
  };
  HttpClient client(*loop_, ToServer());
  Call call;
  client.Start(call.call, {.first_byte_timeout_ns = kSecondNs, .total_timeout_ns = 10 * kSecondNs},
               call);
  ASSERT_TRUE(Until([&] { return call.body == "x"; }));
  clock_.Advance(9 * kSecondNs);
  loop_->RunOnce(0);
  EXPECT_EQ(call.ends, 0) << "the first byte was there in time";
  clock_.Advance(2 * kSecondNs);
  loop_->RunOnce(0);
  EXPECT_EQ(call.end, HttpEnd::kTimedOut);
  EXPECT_EQ(call.call.error_text(), "the answer took too long");
}

TEST_F(Client, TimesOutAConnectionThatIsNotAccepted) {
  // A plain listener that speaks no TLS: the handshake hangs, and counts as connecting.
  RawServer server(*loop_);
  const auto tls = TlsContext::Client({.verify = false}).value();
  HttpClient client(*loop_, {.address = server.address(), .tls_or_null = tls.get()});
  Call call;
  client.Start(call.call, {}, call);
  ASSERT_TRUE(Until([&] { return !server.received.empty(); }));
  clock_.Advance(6 * kSecondNs);
  loop_->RunOnce(0);
  EXPECT_EQ(call.end, HttpEnd::kConnectFailed);
  EXPECT_EQ(call.call.error_text(), "Connection timed out");
}

TEST(HttpEndName, NamesAll) {
  EXPECT_EQ(HttpEndName(HttpEnd::kComplete), "complete");
  EXPECT_EQ(HttpEndName(HttpEnd::kBadRequest), "bad_request");
  EXPECT_EQ(HttpEndName(static_cast<HttpEnd>(99)), "unknown");
}

}  // namespace
}  // namespace weir::io
