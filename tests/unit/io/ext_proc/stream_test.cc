#include "weir/io/ext_proc/ext_proc_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stream_testing.h"
#include "testing/allocation_guard.h"

namespace weir::io {
namespace {

using ::testing::ElementsAre;
using testing::EncodeRequest;
using testing::Json;
using testing::Picker;
using testing::PipelineOf;
using testing::RecordingOutput;

constexpr char kOneEndpoint[] = R"([{"address": "10.0.0.1:8000"}])";

std::string Message(const char* json) { return EncodeRequest(Json::parse(json)); }

// A whole request and its response, message by message.
std::vector<std::string> WholeExchange() {
  return {Message(R"({"request_headers": {"headers": [[":path", "/v1/completions"]]}})"),
          Message(R"({"request_body": {"body": "{\"model\":\"m\",\"prompt\""}})"),
          Message(R"({"request_body": {"body": ":\"x\"}", "end_of_stream": true}})"),
          Message(R"({"response_headers": {"headers": [[":status", "200"]]}})"),
          Message(R"({"response_body": {"body": "data: {}\n\n"}})"),
          Message(R"({"response_body": {"body": "", "end_of_stream": true}})")};
}

TEST(ExtProcStream, EndsAtEachMessageBoundary) {
  const std::vector<std::string> messages = WholeExchange();
  for (const bool cancels : {true, false}) {
    for (size_t count = 0; count <= messages.size(); ++count) {
      SCOPED_TRACE(count);
      Picker picker(PipelineOf("scorers"), Json::parse(kOneEndpoint));
      RecordingOutput output;
      ExtProcStream stream(picker.core);
      stream.Begin(output);
      for (size_t i = 0; i < count; ++i) stream.OnMessage(messages[i]);
      EXPECT_EQ(picker.InFlight(), count >= 3 && count < 6 ? 1u : 0u);
      cancels ? stream.OnCancel(true) : stream.OnPeerDone();
      EXPECT_TRUE(stream.ended());
      EXPECT_EQ(output.finished, !cancels);
      EXPECT_EQ(picker.InFlight(), 0u);
      EXPECT_EQ(picker.held.held(), 0u);
      EXPECT_EQ(picker.metrics.running, 0);
      EXPECT_EQ(picker.metrics.ended.size(), count >= 3 ? 1u : 0u);
      if (count >= 3) {
        EXPECT_EQ(picker.metrics.ended[0]["complete"], count == 6);
      }
      EXPECT_THAT(picker.metrics.stream_codes, ElementsAre(cancels ? 1u : 0u));
      const uint64_t sent = output.messages;
      for (const std::string& message : messages) stream.OnMessage(message);
      EXPECT_EQ(output.messages, sent) << "what comes after the end is ignored";
    }
  }
}

TEST(ExtProcStream, EachRequestIsProcessedOnceHoweverItEnds) {
  Json hint = Json::parse(R"({"request_headers": {}})");
  hint["metadata"]["envoy.lb.subset_hint"]["x-gateway-destination-endpoint-subset"] =
      std::string((256u << 10) + 1, 'x');
  Json large = Json::parse(R"({"request_headers": {"headers": [["k"]]}})");
  large["request_headers"]["headers"][0].push_back(std::string(kHeaderBytesMax, 'x'));
  const std::string headers = Message(R"({"request_headers": {}})");
  const std::string body = Message(R"({"request_body": {"body": [20000, "x"]}})");
  const struct {
    const char* what;
    std::vector<std::string> messages;
    int64_t processed;
  } kCases[] = {{"routed", WholeExchange(), 1},
                {"a body that is promised too large",
                 {Message(R"({"request_headers": {"headers": [["content-length", "99999999"]]}})")},
                 1},
                {"headers too large", {EncodeRequest(large)}, 1},
                {"a hint too large", {EncodeRequest(hint)}, 1},
                {"no memory", {headers, body}, 1},
                {"no JSON",
                 {headers, Message(R"({"request_body": {"body": "x", "end_of_stream": true}})")},
                 1},
                {"headers twice", {headers, headers}, 1},
                {"not whole", {headers}, 0},
                {"no request", {Message(R"({"response_headers": {}})")}, 0},
                {"a body without headers", {body}, 0}};
  for (const auto& one : kCases) {
    SCOPED_TRACE(one.what);
    Picker picker(PipelineOf("scorers"), Json::parse(kOneEndpoint), {}, 20'000);
    RecordingOutput output;
    ExtProcStream stream(picker.core);
    stream.Begin(output);
    for (const std::string& message : one.messages) stream.OnMessage(message);
    stream.OnCancel(true);
    EXPECT_EQ(picker.metrics.processed, one.processed);
  }
}

TEST(ExtProcStream, EndsWhenDestroyed) {
  Picker picker(PipelineOf("scorers"), Json::parse(kOneEndpoint));
  RecordingOutput output;
  {
    ExtProcStream stream(picker.core);
    stream.Begin(output);
    for (size_t i = 0; i < 4; ++i) stream.OnMessage(WholeExchange()[i]);
    EXPECT_EQ(picker.InFlight(), 1u);
  }
  EXPECT_EQ(picker.InFlight(), 0u);
}

TEST(ExtProcStream, IsReusable) {
  Picker picker(PipelineOf("scorers"), Json::parse(kOneEndpoint));
  ExtProcStream stream(picker.core);
  for (int i = 0; i < 3; ++i) {
    RecordingOutput output;
    stream.Begin(output);
    for (const std::string& message : WholeExchange()) stream.OnMessage(message);
    EXPECT_EQ(output.TakeAnswers().size(), 5u);
    stream.OnPeerDone();
    EXPECT_EQ(output.code, Code::kOk);
    // A refused one in between leaves nothing behind.
    RecordingOutput refused;
    stream.Begin(refused);
    stream.OnMessage(Message(
        R"({"request_headers": {"headers": [["x-llm-d-model-name-rewrite", "n"]]},
            "metadata": {"envoy.lb.subset_hint":
                         {"x-gateway-destination-endpoint-subset": []}}})"));
    stream.OnMessage("\xFF");
    EXPECT_EQ(refused.code, Code::kInvalidArgument);
    EXPECT_EQ(refused.text, "malformed ProcessingRequest");
  }
  EXPECT_EQ(picker.metrics.errors.size(), 3u);
}

TEST(ExtProcStream, KeepsALargeBodyUntilItIsSent) {
  Picker picker(PipelineOf("passthrough"), Json::parse(kOneEndpoint));
  RecordingOutput output;
  ExtProcStream stream(picker.core);
  stream.Begin(output);
  stream.OnMessage(Message(R"({"request_headers": {}})"));
  stream.OnMessage(Message(R"({"request_body": {"body": [200000, "x"], "end_of_stream": true}})"));
  EXPECT_TRUE(output.kept_a_body);
  EXPECT_EQ(output.TakeAnswers().size(), 5u);
  EXPECT_GE(picker.held.held(), 200'000u);
  stream.OnCancel(true);
  EXPECT_GE(picker.held.held(), 200'000u) << "the transport may still read it";
  EXPECT_EQ(picker.InFlight(), 0u);
  stream.OnSent();
  EXPECT_EQ(picker.held.held(), 0u);
  EXPECT_EQ(picker.core.buffers.in_use_bytes(), 0u);
}

TEST(ExtProcStream, ADecisionWithoutFallbacksIsNotKept) {
  Picker picker(PipelineOf("scorers"), Json::parse(kOneEndpoint));
  RecordingOutput output;
  ExtProcStream stream(picker.core);
  stream.Begin(output);
  stream.OnMessage(Message(R"({"request_headers": {"end_of_stream": true}})"));
  EXPECT_EQ(picker.core.router.RecentDecisions().size(), 1u);
  EXPECT_EQ(picker.InFlight(), 1u);
  stream.OnCancel(true);
  EXPECT_EQ(picker.core.router.RecentDecisions().size(), 1u);
}

TEST(ExtProcStream, ADecisionIsRecordedWhateverBecomesOfTheResponse) {
  const char kTwoEndpoints[] = R"([{"address": "10.0.0.1:8000"}, {"address": "10.0.0.2:8000"}])";
  Picker picker(PipelineOf("fallbacks"), Json::parse(kTwoEndpoints));
  RecordingOutput output;
  ExtProcStream stream(picker.core);
  const auto route = [&] {
    stream.Begin(output);
    stream.OnMessage(Message(R"({"request_headers": {"end_of_stream": true}})"));
  };
  route();
  stream.OnCancel(true);
  EXPECT_EQ(picker.core.router.RecentDecisions().size(), 1u);
  route();
  stream.OnPeerDone();
  EXPECT_EQ(picker.core.router.RecentDecisions().size(), 2u);
  route();
  stream.OnMessage(Message(R"({"response_headers": {}})"));
  stream.OnPeerDone();
  EXPECT_EQ(picker.core.router.RecentDecisions().size(), 3u);
}

TEST(ExtProcStream, CopiesASmallBody) {
  Picker picker(PipelineOf("passthrough"), Json::parse(kOneEndpoint));
  RecordingOutput output;
  ExtProcStream stream(picker.core);
  stream.Begin(output);
  stream.OnMessage(Message(R"({"request_headers": {}})"));
  stream.OnMessage(Message(R"({"request_body": {"body": [4096, "x"], "end_of_stream": true}})"));
  EXPECT_FALSE(output.kept_a_body);
  EXPECT_EQ(picker.held.held(), 0u);
}

TEST(ExtProcStream, RefusesBodiesAboveTheLimitOfTheProcess) {
  constexpr uint64_t kHeaders = 2 * kPooledBufferBytesMin;
  Picker picker(PipelineOf("passthrough"), Json::parse(kOneEndpoint), {}, (256 << 10) + kHeaders);
  const auto begin = [&](ExtProcStream& stream, RecordingOutput& output) {
    stream.Begin(output);
    stream.OnMessage(Message(R"({"request_headers": {}})"));
    stream.OnMessage(Message(R"({"request_body": {"body": [100000, "x"]}})"));
  };
  RecordingOutput first, second, third;
  ExtProcStream a(picker.core), b(picker.core), c(picker.core);
  begin(a, first);
  begin(b, second);
  begin(c, third);
  EXPECT_FALSE(a.ended());
  EXPECT_FALSE(b.ended());
  EXPECT_TRUE(c.ended());
  const Json answer = third.TakeAnswers().at(0)["immediate_response"];
  EXPECT_EQ(answer["status"], 429);
  EXPECT_EQ(answer["set"][0][1], "rejected-saturated");
  a.OnCancel(true);
  begin(c, third);
  EXPECT_FALSE(c.ended()) << "there is room again";
  b.OnCancel(true);
  c.OnCancel(true);
  EXPECT_EQ(picker.held.held(), 0u);
}

TEST(ExtProcStream, DoesNotTrustAContentLength) {
  Picker picker(PipelineOf("passthrough"), Json::parse(kOneEndpoint));
  for (const char* value : {"67108864", "18446744073709551615", "-1", "1e9", ""}) {
    RecordingOutput output;
    ExtProcStream stream(picker.core);
    stream.Begin(output);
    Json headers = Json::parse(R"({"request_headers": {"headers": [["content-length"]]}})");
    headers["request_headers"]["headers"][0].push_back(value);
    stream.OnMessage(EncodeRequest(headers));
    stream.OnMessage(Message(R"({"request_body": {"body": "x"}})"));
    EXPECT_EQ(picker.held.held(), stream.ended() ? 0 : 2 * kPooledBufferBytesMin)
        << "headers and one byte";
    stream.OnMessage(Message(R"({"request_body": {"body": "y", "end_of_stream": true}})"));
    stream.OnPeerDone();
    EXPECT_TRUE(output.finished);
  }
}

TEST(ExtProcStream, MakesRoomForABodyAsItComes) {
  Picker picker(PipelineOf("passthrough"), Json::parse(kOneEndpoint));
  RecordingOutput output;
  ExtProcStream stream(picker.core);
  stream.Begin(output);
  stream.OnMessage(Message(R"({"request_headers": {"headers": [["content-length", "300000"]]}})"));
  const auto room_after = [&](const char* message) {
    stream.OnMessage(Message(message));
    return picker.held.held() - kPooledBufferBytesMin;
  };
  EXPECT_EQ(room_after(R"({"request_body": {"body": [16000, "x"]}})"), 128u << 10);
  EXPECT_EQ(room_after(R"({"request_body": {"body": [16000, "x"]}})"), 128u << 10);
  EXPECT_EQ(room_after(R"({"request_body": {"body": [100000, "x"]}})"), 512u << 10)
      << "more than it promised is not made room for";
  stream.OnCancel(true);
  EXPECT_EQ(picker.held.held(), 0u);
}

TEST(ExtProcStream, CountsHeadersAndHintsAmongWhatTheProcessHolds) {
  Json headers = Json::parse(
      R"({"request_headers": {"headers": [["k"]]}, "metadata": {"envoy.lb.subset_hint": {}}})");
  headers["request_headers"]["headers"][0].push_back(std::string(20'000, 'x'));
  Json& hint = headers["metadata"]["envoy.lb.subset_hint"];
  hint["x-gateway-destination-endpoint-subset"] = Json::array({std::string(10'000, 'h')});
  const std::string message = EncodeRequest(headers);
  for (const uint64_t held_bytes_max : {20'000u, 40'000u, 45'000u}) {
    SCOPED_TRACE(held_bytes_max);
    Picker picker(PipelineOf("passthrough"), Json::parse(kOneEndpoint), {}, held_bytes_max);
    RecordingOutput output;
    ExtProcStream stream(picker.core);
    stream.Begin(output);
    stream.OnMessage(message);
    EXPECT_EQ(stream.ended(), held_bytes_max < 45'000);
    if (stream.ended()) {
      EXPECT_EQ(output.TakeAnswers().at(0)["immediate_response"]["status"], 429);
    } else {
      EXPECT_EQ(picker.held.held(), (32u << 10) + 10'004);
    }
    stream.OnCancel(true);
    EXPECT_EQ(picker.held.held(), 0u);
  }
}

TEST(ExtProcStream, ARequestWhoseNewBodyDoesNotFitIsNotBegun) {
  Picker picker(PipelineOf("scorers"), Json::parse(kOneEndpoint), {}, 2 * kPooledBufferBytesMin);
  RecordingOutput output;
  ExtProcStream stream(picker.core);
  stream.Begin(output);
  Json headers =
      Json::parse(R"({"request_headers": {"headers": [["x-llm-d-model-name-rewrite"]]}})");
  headers["request_headers"]["headers"][0].push_back(std::string(200, 'n'));
  stream.OnMessage(EncodeRequest(headers));
  const Json body = {{"model", "m"}, {"prompt", std::string(900, 'p')}};
  stream.OnMessage(
      EncodeRequest({{"request_body", {{"body", body.dump()}, {"end_of_stream", true}}}}));
  EXPECT_EQ(output.TakeAnswers().at(0)["immediate_response"]["status"], 429);
  EXPECT_EQ(picker.router.stats().flights_begun, 0u);
  EXPECT_EQ(picker.metrics.running, 0);
  EXPECT_TRUE(picker.metrics.ended.empty());
  EXPECT_EQ(picker.held.held(), 0u);
}

TEST(ExtProcStream, RefusesASubsetHintWithoutEnd) {
  Picker picker(PipelineOf("passthrough"), Json::parse(kOneEndpoint));
  for (const size_t count : {size_t{kEndpointsMax}, size_t{kEndpointsMax} + 1}) {
    Json headers = Json::parse(R"({"request_headers": {}})");
    Json& hint =
        headers["metadata"]["envoy.lb.subset_hint"]["x-gateway-destination-endpoint-subset"];
    for (size_t i = 0; i < count; ++i) hint.push_back("10.0.0.1");
    RecordingOutput output;
    ExtProcStream stream(picker.core);
    stream.Begin(output);
    stream.OnMessage(EncodeRequest(headers));
    EXPECT_EQ(stream.ended(), count > kEndpointsMax);
    stream.OnCancel(true);
  }
}

TEST(ExtProcStream, RefusesHeadersWithoutEnd) {
  Picker picker(PipelineOf("passthrough"), Json::parse(kOneEndpoint));
  for (const size_t size : {size_t{kHeaderBytesMax} - 100, size_t{kHeaderBytesMax}}) {
    RecordingOutput output;
    ExtProcStream stream(picker.core);
    stream.Begin(output);
    Json headers = Json::parse(R"({"request_headers": {"headers": [["k"]]}})");
    headers["request_headers"]["headers"][0].push_back(std::string(size, 'x'));
    stream.OnMessage(EncodeRequest(headers));
    EXPECT_EQ(stream.ended(), size == kHeaderBytesMax);
    stream.OnCancel(true);
  }
}

TEST(ExtProcStream, HoldsResponsesUpToTheLimit) {
  ExtProcOptions options;
  options.buffer_responses = true;
  options.response_body_bytes_max = 10;
  Picker picker(PipelineOf("passthrough"), Json::parse(kOneEndpoint), options);
  RecordingOutput output;
  ExtProcStream stream(picker.core);
  stream.Begin(output);
  stream.OnMessage(Message(R"({"response_headers": {}})"));
  stream.OnMessage(Message(R"({"response_body": {"body": "0123456789"}})"));
  EXPECT_FALSE(stream.ended());
  stream.OnMessage(Message(R"({"response_body": {"body": "0"}})"));
  EXPECT_EQ(output.code, Code::kResourceExhausted);
}

TEST(ExtProcStream, CountsHeldResponsesAmongWhatTheProcessHolds) {
  ExtProcOptions options;
  options.buffer_responses = true;
  Picker picker(PipelineOf("passthrough"), Json::parse(kOneEndpoint), options, 10);
  RecordingOutput first, second;
  ExtProcStream a(picker.core), b(picker.core);
  a.Begin(first);
  b.Begin(second);
  for (ExtProcStream* stream : {&a, &b}) {
    stream->OnMessage(Message(R"({"response_headers": {}})"));
    stream->OnMessage(Message(R"({"response_body": {"body": "012345"}})"));
  }
  EXPECT_FALSE(a.ended());
  EXPECT_EQ(second.code, Code::kResourceExhausted);
  EXPECT_EQ(picker.held.held(), 6u);
  a.OnMessage(Message(R"({"response_body": {"body": "", "end_of_stream": true}})"));
  EXPECT_EQ(picker.held.held(), 0u);
}

TEST(ExtProcStream, KeepsAHeldResponseUntilItIsSent) {
  ExtProcOptions options;
  options.buffer_responses = true;
  for (const bool with_trailers : {false, true}) {
    Picker picker(PipelineOf("passthrough"), Json::parse(kOneEndpoint), options);
    RecordingOutput output;
    ExtProcStream stream(picker.core);
    stream.Begin(output);
    stream.OnMessage(Message(R"({"response_headers": {}})"));
    for (int i = 0; i < 9; ++i) {
      stream.OnMessage(Message(R"({"response_body": {"body": [1048576, "x"]}})"));
    }
    stream.OnSent();
    EXPECT_EQ(picker.held.held(), 9u << 20) << "nothing of it was sent yet";
    output.TakeAnswers();
    stream.OnMessage(with_trailers
                         ? Message(R"({"response_trailers": {}})")
                         : Message(R"({"response_body": {"body": "", "end_of_stream": true}})"));
    EXPECT_TRUE(output.kept_a_body) << "what is copied counts against the transport's limit";
    size_t bytes = 0;
    for (const Json& answer : output.TakeAnswers()) {
      if (!answer.contains("response_body")) continue;
      bytes += answer["response_body"]["streamed"].get<std::string>().size();
    }
    EXPECT_EQ(bytes, 9u << 20);
    stream.OnPeerDone();
    EXPECT_EQ(picker.held.held(), 9u << 20) << "the transport may still read it";
    stream.OnSent();
    EXPECT_EQ(picker.held.held(), 0u);
  }
}

TEST(ExtProcStream, KeepsNoEndlessModelName) {
  for (const size_t size : {size_t{kNameBytesMax}, size_t{kNameBytesMax} + 1}) {
    Picker picker(PipelineOf("scorers"), Json::parse(kOneEndpoint));
    const std::string name(size, 'n');
    RecordingOutput output;
    ExtProcStream stream(picker.core);
    stream.Begin(output);
    stream.OnMessage(
        Message(R"({"request_headers": {"headers": [["x-llm-d-model-name-rewrite", "t"]]}})"));
    const Json body = {{"model", name}, {"prompt", "x"}};
    stream.OnMessage(
        EncodeRequest({{"request_body", {{"body", body.dump()}, {"end_of_stream", true}}}}));
    stream.OnMessage(Message(R"({"response_headers": {}})"));
    output.TakeAnswers();
    stream.OnMessage(
        Message(R"({"response_body": {"body": "{\"model\":\"t\"}", "end_of_stream": true}})"));
    const std::string passed = output.TakeAnswers().at(0)["response_body"]["streamed"];
    EXPECT_EQ(passed,
              size == kNameBytesMax ? R"({"model":")" + name + R"("})" : R"({"model":"t"})");
  }
}

// Whether the same prompt is drawn to the server that answered it so before.
bool KeepsThePrefixAfter(const std::vector<const char*>& response) {
  ExtProcOptions options;
  options.emit_scores = true;
  const char kTwoEndpoints[] = R"([{"address": "10.0.0.1:8000"}, {"address": "10.0.0.2:8000"}])";
  Picker picker(PipelineOf("scorers"), Json::parse(kTwoEndpoints), options);
  const Json body = {{"model", "m"}, {"prompt", std::string(4000, 'p')}};
  Json scores;
  for (int round = 0; round < 2; ++round) {
    RecordingOutput output;
    ExtProcStream stream(picker.core);
    stream.Begin(output);
    stream.OnMessage(Message(R"({"request_headers": {}})"));
    stream.OnMessage(
        EncodeRequest({{"request_body", {{"body", body.dump()}, {"end_of_stream", true}}}}));
    scores = output.TakeAnswers().at(
        0)["dynamic_metadata"]["envoy.lb"]["x-gateway-destination-endpoint-scores"];
    for (const char* message : response) stream.OnMessage(Message(message));
    stream.OnPeerDone();
    stream.OnSent();
  }
  return scores.at("10.0.0.1:8000") != scores.at("10.0.0.2:8000");
}

TEST(ExtProcStream, APrefixDoesNotStayWithAServerThatFailed) {
  const char kBody[] = R"({"response_body": {"body": "x", "end_of_stream": true}})";
  const char kPiece[] = R"({"response_body": {"body": "x"}})";
  const char kGrpc[] = R"({"response_headers": {"headers": [[":status", "200"]]}})";
  const auto http = [](const char* status) {
    return std::string(R"({"response_headers": {"headers": [[":status", ")") + status + R"("]]}})";
  };
  const auto trailers_only = [](const char* status) {
    return std::string(R"({"response_headers": {"end_of_stream": true, "headers": )") +
           R"([[":status", "200"], ["grpc-status", ")" + status + R"("]]}})";
  };
  EXPECT_TRUE(KeepsThePrefixAfter({http("200").c_str(), kBody}));
  EXPECT_TRUE(KeepsThePrefixAfter({http("499").c_str(), kBody}));
  EXPECT_FALSE(KeepsThePrefixAfter({http("500").c_str(), kBody}));
  EXPECT_FALSE(KeepsThePrefixAfter({http("503").c_str(), kPiece, kBody}));
  EXPECT_TRUE(KeepsThePrefixAfter({trailers_only("0").c_str()}));
  EXPECT_TRUE(KeepsThePrefixAfter({trailers_only("3").c_str()})) << "the client's mistake";
  EXPECT_FALSE(KeepsThePrefixAfter({trailers_only("14").c_str()}));
  EXPECT_FALSE(KeepsThePrefixAfter(
      {kGrpc, R"({"response_trailers": {"headers": [["grpc-status", "13"]]}})"}));
}

TEST(ExtProcStream, MeasuresInTheInjectedTime) {
  Picker picker(PipelineOf("scorers"), Json::parse(kOneEndpoint));
  RecordingOutput output;
  ExtProcStream stream(picker.core);
  stream.Begin(output);
  for (const std::string& message : WholeExchange()) {
    stream.OnMessage(message);
    picker.clock.Advance(1000);
  }
  const Json& record = picker.metrics.ended.at(0);
  EXPECT_EQ(record["duration_ns"], 5000);
  EXPECT_EQ(record["first_byte_ns"], 4000);
  EXPECT_EQ(record["response_bytes"], 10);
}

// Counts, but keeps nothing.
class NullOutput final : public ExtProcOutput {
 public:
  void Send(std::string_view head, std::string_view body, bool) override {
    bytes += head.size() + body.size();
  }
  void Finish(Code, std::string_view) override {}
  uint64_t bytes = 0;
};

TEST(ExtProcStream, AllocatesNothingInSteadyState) {
  ManualClock clock{1};
  RouterOptions options;
  options.clock = &clock;
  options.decisions_kept = 0;
  const Router router = *Router::FromText(PipelineOf("scorers"), "test.yaml", options);
  for (int i = 0; i < 8; ++i) {
    const std::string address = "10.0.0." + std::to_string(i) + ":8000";
    ASSERT_TRUE(router.pool().Upsert({.name = address, .address = address}).ok());
  }
  HeldBytes held;
  ExtProcMetrics metrics;
  ExtProcCore core(router, {}, held, metrics, clock, 1);
  ExtProcStream stream(core);
  const std::vector<std::string> messages = WholeExchange();
  NullOutput output;
  const auto exchange = [&] {
    stream.Begin(output);
    for (const std::string& message : messages) stream.OnMessage(message);
    stream.OnPeerDone();
    stream.OnSent();
  };
  for (int i = 0; i < 100; ++i) exchange();
  const uint64_t before = weir::testing::AllocationCount();
  for (int i = 0; i < 100; ++i) exchange();
  EXPECT_EQ(weir::testing::AllocationCount() - before, 0u);
}

}  // namespace
}  // namespace weir::io
