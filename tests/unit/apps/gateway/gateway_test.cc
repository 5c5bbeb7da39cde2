#include "gateway.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <deque>
#include <filesystem>
#include <future>
#include <nlohmann/json.hpp>

#include "testing/http_exchange.h"
#include "weir/io/decision_log/reader.h"
#include "weir/io/decision_log/replayer.h"

namespace weir::gateway {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int64_t kTurnNs = 5'000'000;
constexpr int kTurnsMax = 4000;  // 20 s: a test that waits longer has failed

// A model server on the test's loop. It answers at once, or keeps the requests it gets.
class FakeServer final : private io::HttpHandler {
 public:
  explicit FakeServer(io::EventLoop& loop) {
    server_ = io::HttpServer::Open(
                  loop, {.address = io::SocketAddress::Parse("127.0.0.1:0").value()}, *this)
                  .value();
  }
  std::string address() const { return server_->address().ToString(); }

  bool keeps = false;  // requests wait in `kept` instead of being answered
  std::deque<io::ResponseWriter> kept;
  std::vector<std::string> hosts;  // of the requests that came
  std::vector<std::string> bodies;
  uint16_t status = 200;
  std::string answer = R"({"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}})";

 private:
  void OnRequest(const io::HttpRequest& request, io::ResponseWriter response) override {
    if (request.head.path() == "/metrics") return response.Send(200, {}, "");
    hosts.emplace_back(request.head.Find("host"));
    bodies.emplace_back(request.body);
    if (keeps) {
      kept.push_back(std::move(response));
      return;
    }
    const io::HeaderField headers[] = {{"content-type", "application/json"}};
    response.Send(status, headers, answer);
  }
  std::unique_ptr<io::HttpServer> server_;
};

// A port where nobody listens.
std::string ClosedAddress() {
  const auto loop = io::EventLoop::Create().value();
  return FakeServer(*loop).address();
}

std::string Post(const std::string& body, const std::string& path = "/v1/completions") {
  return "POST " + path + " HTTP/1.1\r\nHost: client\r\nConnection: close\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}
const std::string kPrompt = R"({"model":"m","prompt":"Hello"})";
std::string Get(const std::string& path) {
  return "GET " + path + " HTTP/1.1\r\nHost: client\r\nConnection: close\r\n\r\n";
}

class GatewayTest : public ::testing::Test {
 protected:
  void Start(const std::vector<std::string>& endpoints, GatewayOptions options = {}) {
    options.listen = "127.0.0.1:0";
    if (options.threads == 0) options.threads = 2;
    options.fleet.endpoint_urls = endpoints;
    options.router.seed = 1;
    auto started = Gateway::Start(
        *loop_, options, [this](LogLevel, const std::string& text) { log_ += text + "\n"; });
    ASSERT_TRUE(started.ok()) << started.status();
    gateway_ = *std::move(started);
  }
  // Turns the loop until `done`; the servers and the admin pages live on it.
  template <class Done>
  void RunUntil(const Done& done) {
    for (int turn = 0; turn < kTurnsMax && !done(); ++turn) loop_->RunOnce(kTurnNs);
    EXPECT_TRUE(done());
  }
  std::future<std::string> Send(const std::string& request) {
    return std::async(std::launch::async, ::weir::Exchange,
                      io::SocketAddress::Parse(gateway_->address()).value(), request);
  }
  static bool Ready(const std::future<std::string>& answer) {
    return answer.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }
  std::string Ask(const std::string& request) {
    std::future<std::string> answer = Send(request);
    RunUntil([&] { return Ready(answer); });
    return answer.get();
  }
  // The value of a line of /metrics; -1 if there is none.
  double Metric(const std::string& name) {
    const std::string page = Ask(Get("/metrics"));
    const size_t line = page.find("\n" + name + " ");
    return line == std::string::npos ? -1 : std::stod(page.substr(line + name.size() + 2));
  }

  std::unique_ptr<io::EventLoop> loop_ = io::EventLoop::Create().value();
  std::string log_;
  FakeServer one_{*loop_}, two_{*loop_};
  std::unique_ptr<Gateway> gateway_;
};

TEST_F(GatewayTest, CountsWhatItServes) {
  Start({"http://" + one_.address()});
  const std::string answer = Ask(Post(kPrompt));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer, HasSubstr("x-weir-endpoint: default/" + one_.address()));
  EXPECT_EQ(Metric("weir_gateway_tokens_total{kind=\"prompt\"}"), 5);
  EXPECT_EQ(Metric("weir_gateway_tokens_total{kind=\"output\"}"), 2);
  EXPECT_EQ(Metric("weir_flights"), 0);
  EXPECT_EQ(Metric("weir_flights_refused_total"), 0);
  EXPECT_EQ(Metric("weir_endpoint_lists_unusable_total"), 0);
  EXPECT_THAT(Ask(Get("/debug/decisions")), HasSubstr("\"model\":\"m\""));
}

TEST_F(GatewayTest, APrefixDoesNotStayWithAServerThatFailed) {
  Start({"http://" + one_.address(), "http://" + two_.address()});
  // The raw scores of prefix-cache-scorer, the pipeline's third, for the latest decision.
  const auto prefix_scores = [&](uint16_t status, char letter) {
    one_.status = two_.status = status;
    const std::string prompt = R"({"model":"m","prompt":")" + std::string(4000, letter) + R"("})";
    for (int round = 0; round < 2; ++round) Ask(Post(prompt));
    const std::string page = Ask(Get("/debug/decisions"));
    const auto decisions = nlohmann::json::parse(page.substr(page.find("\r\n\r\n") + 4));
    double sum = 0;
    for (const auto& row : decisions.at(0)["profiles"][0]["endpoints"]) {
      sum += row["raw"].at(2).get<double>();
    }
    return sum;
  };
  EXPECT_GT(prefix_scores(200, 'a'), 0);
  EXPECT_GT(prefix_scores(404, 'b'), 0);
  EXPECT_EQ(prefix_scores(503, 'c'), 0);
}

TEST_F(GatewayTest, AnAddressInUseIsAnError) {
  Start({"http://" + one_.address()});
  GatewayOptions options{.listen = gateway_->address()};
  options.fleet.endpoint_urls = {"http://" + two_.address()};
  const auto second = Gateway::Start(*loop_, options, [](LogLevel, const std::string&) {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(gateway_->address()));
}

TEST_F(GatewayTest, RecordsWhatItDecides) {
  const std::string path = ::testing::TempDir() + "/gateway_decisions.log";
  Start({"http://" + one_.address(), "http://" + two_.address()}, {.record = {.path = path}});
  for (int i = 0; i < 3; ++i) EXPECT_THAT(Ask(Post(kPrompt)), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(Metric("weir_record_active"), 1);
  EXPECT_EQ(Metric("weir_record_dropped_total{reason=\"ring_full\"}"), 0);
  gateway_.reset();
  auto reader = io::DecisionLogReader::Open(path).value();
  EXPECT_EQ(reader->header().pipeline_text, DefaultGatewayPipeline());
  auto replayer = io::DecisionReplayer::Create(reader->header(), {}).value();
  std::vector<io::LoggedEnd> ends;
  while (const io::LogRecord* record = reader->Next().value()) {
    if (const auto* end = std::get_if<io::LoggedEnd>(record)) ends.push_back(*end);
    if (const auto* replayed = replayer->Apply(*record).value()) {
      EXPECT_EQ(replayed->logged->request.model, "m");
      EXPECT_TRUE(replayed->same_scores);
    }
  }
  EXPECT_TRUE(reader->closed());
  EXPECT_EQ(replayer->decisions(), 3u);
  ASSERT_EQ(ends.size(), 3u);
  EXPECT_EQ(ends[0].end, End::kCompleted);
  EXPECT_EQ(ends[0].usage.prompt_tokens, 5);
  EXPECT_EQ(ends[0].usage.output_tokens, 2);
  std::filesystem::remove(path);
}

TEST_F(GatewayTest, RefusesWithAReasonAndAMetric) {
  Start({});
  EXPECT_THAT(Ask(Post(kPrompt)), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(Ask(Post("{\"prompt\":7}")), StartsWith("HTTP/1.1 400 "));
  EXPECT_EQ(Metric("weir_gateway_requests_refused_total{reason=\"no_endpoint\"}"), 1);
  EXPECT_EQ(Metric("weir_gateway_requests_refused_total{reason=\"bad_body\"}"), 1);
  EXPECT_THAT(Ask(Get("/readyz")), StartsWith("HTTP/1.1 503 "));
}

TEST_F(GatewayTest, AnEndpointThatIsDownCostsNoRequest) {
  const std::string closed = ClosedAddress();
  Start({"http://" + closed, "http://" + one_.address(), "http://" + two_.address()});
  for (int i = 0; i < 12; ++i) {
    const std::string answer = Ask(Post(R"({"model":"m","prompt":")" + std::to_string(i) + "\"}"));
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
    EXPECT_THAT(answer, Not(HasSubstr("x-weir-endpoint: default/" + closed)));
  }
  EXPECT_GE(Metric("weir_gateway_retries_total"), 1);
  const RouterStats stats = gateway_->router().stats();
  EXPECT_GE(stats.flights_begun, 13u) << "one for each attempt";
  EXPECT_EQ(stats.flights_begun, stats.flights_ended);
  for (const EndpointId id : gateway_->router().pool().snapshot()->ids()) {
    EXPECT_EQ(gateway_->router().pool().in_flight(id), 0u);
  }
}

TEST_F(GatewayTest, EndsRequestsInFlightWhenItGoes) {
  one_.keeps = true;
  Start({"http://" + one_.address()});
  const Router router = gateway_->router();
  const std::future<std::string> first = Send(Post(kPrompt)), second = Send(Post(kPrompt));
  RunUntil([&] { return one_.kept.size() == 2; });
  EXPECT_EQ(router.stats().flights_begun, 2u);
  EXPECT_EQ(router.stats().flights_ended, 0u);
  gateway_.reset();
  EXPECT_EQ(router.stats().flights_ended, 2u);
  RunUntil([&] { return Ready(first) && Ready(second); });
}

TEST_F(GatewayTest, AnEndpointRemovedMidRequestStillAnswers) {
  one_.keeps = true;
  Start({"http://" + one_.address()});
  std::future<std::string> answer = Send(Post(kPrompt));
  RunUntil([&] { return one_.kept.size() == 1; });
  EndpointPool& pool = gateway_->router().pool();
  const EndpointId before = pool.snapshot()->ids()[0];
  ASSERT_TRUE(pool.Replace({}).ok());
  EXPECT_NE(pool.Upsert({.name = "new", .address = two_.address()})->slot, before.slot)
      << "a request still counts on it";
  one_.kept.front().Send(200, {}, "late");
  RunUntil([&] { return Ready(answer); });
  EXPECT_THAT(answer.get(), HasSubstr("late"));
  EXPECT_EQ(gateway_->router().stats().flights_ended, 1u);
}

// A retry speaks to the server that was chosen when the request came, by the name it had then.
TEST_F(GatewayTest, AFallbackKeepsItsNameWhileItsRouteChanges) {
  const std::string old_name = "first-name-of-the-second-server.test";
  const std::string new_name = "another-and-much-longer-name-of-the-second-server.test";
  FakeServer three(*loop_);
  one_.keeps = true;
  Start({}, {.threads = 1});
  EndpointPool& pool = gateway_->router().pool();
  const auto put = [&](const std::string& name, const FakeServer& server, const std::string& host,
                       uint32_t waiting) {
    ASSERT_TRUE(pool.Upsert({.name = name,
                             .address = server.address(),
                             .labels = {{std::string(io::kHostLabel), host}},
                             .metrics = {.waiting_requests = waiting}})
                    .ok());
  };
  put("a", one_, "a.test", 0);
  put("b", two_, old_name, 50);
  std::future<std::string> first = Send(Post(kPrompt));
  RunUntil([&] { return one_.kept.size() == 1; });
  put("a", one_, "a.test", 50);
  put("b", three, new_name, 0);
  EXPECT_THAT(Ask(Post(kPrompt)), StartsWith("HTTP/1.1 200 "));
  ASSERT_EQ(three.hosts, std::vector<std::string>{new_name});
  one_.kept.front().Reset();
  RunUntil([&] { return Ready(first); });
  EXPECT_THAT(first.get(), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(two_.hosts, std::vector<std::string>{old_name});
}

TEST_F(GatewayTest, RewritesTheModelThereAndBack) {
  Start({"http://" + one_.address()});
  ASSERT_TRUE(gateway_->router()
                  .resources()
                  .Replace({.rewrites = {{.name = "r",
                                          .rules = {{.models = {"m"},
                                                     .targets = {{.model = "m-on-the-server"}}}}}}})
                  .ok());
  one_.answer = R"({"model":"m-on-the-server","usage":{"prompt_tokens":5,"completion_tokens":2}})";
  const std::string answer = Ask(Post(kPrompt));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(one_.bodies,
            std::vector<std::string>{R"({"model":"m-on-the-server","prompt":"Hello"})"});
  EXPECT_THAT(answer, HasSubstr(R"({"model":"m","usage")"));
  EXPECT_EQ(Metric("weir_gateway_tokens_total{kind=\"output\"}"), 2);
}

TEST_F(GatewayTest, ServesEveryApiOfTheDefaultParsers) {
  Start({"http://" + one_.address()});
  one_.answer = R"({"usage":{"input_tokens":11,"output_tokens":3,"cache_read_input_tokens":4}})";
  EXPECT_THAT(
      Ask(Post(R"({"model":"m","messages":[{"role":"user","content":"hi"}]})", "/v1/messages")),
      StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(Metric("weir_gateway_tokens_total{kind=\"prompt\"}"), 11);
  EXPECT_EQ(Metric("weir_gateway_tokens_total{kind=\"cached\"}"), 4);
  EXPECT_THAT(Ask(Post(R"({"model":"m","token_ids":[1,2,3]})", "/inference/v1/generate")),
              StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Ask(Post("anything", "/tokenize")), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Ask(Get("/v1/models")), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Ask(Post(R"({"prompt":"for the only model"})")), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(one_.bodies.size(), 5u);
}

TEST_F(GatewayTest, SaysWhatIsWrongInTheWordsOfTheParser) {
  Start({"http://" + one_.address()});
  EXPECT_THAT(Ask(Post(R"({"model":7,"prompt":"x"})")),
              HasSubstr("model not found in request body"));
  EXPECT_THAT(Ask(Post("no json")), HasSubstr("error unmarshaling request bodyMap: "));
  EXPECT_THAT(Ask(Post("", "/v1/messages")), HasSubstr("error unmarshaling request body: "));
  const std::string wants_cached =
      "POST /v1/completions HTTP/1.1\r\nHost: client\r\nConnection: "
      "close\r\nPrefer: if-available\r\nContent-Length: " +
      std::to_string(kPrompt.size()) + "\r\n\r\n" + kPrompt;
  const std::string answer = Ask(wants_cached);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 412 "));
  EXPECT_THAT(answer, HasSubstr("no decode worker has the requested KV cache"));
  EXPECT_EQ(Metric("weir_gateway_requests_refused_total{reason=\"not_cached\"}"), 1);
  EXPECT_TRUE(one_.bodies.empty());
}

TEST_F(GatewayTest, DrainEndsWhatIsIdleAtOnce) {
  Start({"http://" + one_.address()});
  EXPECT_THAT(Ask(Post(kPrompt)), StartsWith("HTTP/1.1 200 "));
  gateway_->Drain();
  RunUntil([&] { return gateway_->drained(); });
}

}  // namespace
}  // namespace weir::gateway
