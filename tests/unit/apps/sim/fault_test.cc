#include "fault.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_call.h"

namespace weir::sim {
namespace {

using ::testing::HasSubstr;

constexpr char kStream[] = R"({"prompt":"a","max_tokens":10,"ignore_eos":true,"stream":true})";

TEST(Fault, ReadsNamesAndAmounts) {
  EXPECT_EQ(ParseFault("reset:512")->kind, FaultKind::kReset);
  EXPECT_EQ(ParseFault("reset:512")->amount, 512u);
  EXPECT_EQ(ParseFault("truncate")->amount, 1u);
  EXPECT_EQ(ParseFault("rate_limit")->amount, 429u);
  EXPECT_FALSE(ParseFault("explode").ok());
  EXPECT_FALSE(ParseFault("reset:").ok());
  EXPECT_FALSE(ParseFault("reset:-1").ok());
  EXPECT_FALSE(ParseFault("rate_limit:5").ok());
  EXPECT_THAT(std::string(ParseFault("x").status().message()),
              HasSubstr("expected one of rate_limit, "));
}

TEST(Fault, ErrorBodiesCarryTheTypeOfTheirStatus) {
  EXPECT_EQ(
      ErrorBody(404, "no \"m\"", "model"),
      R"({"error":{"message":"no \"m\"","type":"NotFoundError","param":"model","code":404}})");
  for (const auto& [status, type] :
       std::map<uint32_t, std::string>{{400, "BadRequestError"},
                                       {401, "AuthenticationError"},
                                       {403, "PermissionDeniedError"},
                                       {422, "UnprocessableEntityError"},
                                       {429, "RateLimitError"},
                                       {500, "InternalServerError"},
                                       {503, "InternalServerError"},
                                       {418, "APIConnectionError"}}) {
    EXPECT_EQ(ErrorType(status), type);
  }
}

TEST(Fault, HeadersAskForFailures) {
  const auto instance = MakeInstance(TestOptions());
  const auto status = [&](std::map<std::string, std::string> headers) {
    return Post(*instance, "/v1/completions", kStream, std::move(headers)).status;
  };
  EXPECT_EQ(status({{"X-Return-Error", "418"}}), 418);
  EXPECT_EQ(status({{"X-Return-Error", "many"}}), 400);
  EXPECT_EQ(status({{"X-Return-Error", "99"}}), 400);
  EXPECT_EQ(status({{"X-Sim-Fault", "server_error"}}), 503);
  EXPECT_EQ(status({{"X-Sim-Fault", "nothing"}}), 400);
  EXPECT_EQ(status({}), 200);
}

TEST(Fault, HangNeverAnswers) {
  const auto instance = MakeInstance(TestOptions());
  FakeCall call("POST", "/v1/completions", kStream, {{"X-Sim-Fault", "hang"}});
  instance->Handle(call, 0);
  instance->AdvanceTo(3'600'000'000'000);
  EXPECT_FALSE(call.started || call.ended || call.aborted);
  EXPECT_EQ(instance->open_requests(), 1u);
  instance->ClientGone(call);
  EXPECT_EQ(instance->open_requests(), 0u);
}

TEST(Fault, ResetClosesAfterThatManyBytes) {
  const auto instance = MakeInstance(TestOptions());
  for (const char* body : {kStream, R"({"prompt":"a","max_tokens":10,"ignore_eos":true})"}) {
    const FakeCall whole = Post(*instance, "/v1/completions", body);
    for (const size_t bytes : {size_t{0}, size_t{1}, size_t{300}}) {
      const FakeCall call = Post(*instance, "/v1/completions", body,
                                 {{"X-Sim-Fault", "reset:" + std::to_string(bytes)}});
      EXPECT_TRUE(call.aborted);
      EXPECT_EQ(call.answer.size(), bytes);
    }
    EXPECT_TRUE(whole.ended);
  }
  EXPECT_EQ(instance->open_requests(), 0u);
  EXPECT_EQ(instance->stats().used_blocks, 0u);
}

TEST(Fault, TruncateEndsAStreamWithoutItsLastFrame) {
  const auto instance = MakeInstance(TestOptions());
  const FakeCall call =
      Post(*instance, "/v1/completions", kStream, {{"X-Sim-Fault", "truncate:3"}});
  EXPECT_TRUE(call.ended);
  EXPECT_EQ(call.events().size(), 3u);
  EXPECT_EQ(call.answer.find("[DONE]"), std::string::npos);
  EXPECT_EQ(instance->open_requests(), 0u);
}

TEST(Fault, ARateFailsThatShareWithTheListedTypes) {
  SimOptions options = TestOptions();
  options.failure_ratio_percent = 30;
  options.failure_types = {"rate_limit", "model_not_found"};
  const auto instance = MakeInstance(options);
  std::map<int, int> statuses;
  for (int i = 0; i < 1000; ++i) {
    ++statuses[Post(*instance, "/v1/completions", R"({"prompt":"a","max_tokens":1})").status];
  }
  EXPECT_EQ(statuses.size(), 3u);
  EXPECT_NEAR(statuses[429], 150, 40);
  EXPECT_NEAR(statuses[404], 150, 40);
}

TEST(Fault, AdminChangesEverythingOrNothing) {
  const auto instance = MakeInstance(TestOptions());
  const auto set = [&](const char* body) { return Post(*instance, "/admin/config", body).status; };
  EXPECT_EQ(set(R"({"failure-injection-rate":100,"failure-types":["rate_limit"]})"), 200);
  EXPECT_EQ(Post(*instance, "/v1/completions", kStream).status, 429);
  EXPECT_EQ(set(R"({"failure-injection-rate":0,"max-num-seqs":4})"), 400);
  EXPECT_EQ(Post(*instance, "/v1/completions", kStream).status, 429);
  EXPECT_EQ(set(R"({"failure-injection-rate":101})"), 400);
  EXPECT_EQ(set(R"({"failure-types":["boom"]})"), 400);
  EXPECT_EQ(set(R"({"slow":0})"), 400);
  EXPECT_EQ(set(R"({"inter-token-latency":"5ms"})"), 400) << "the engine model has its own";
  EXPECT_EQ(set("[]"), 400);
  EXPECT_EQ(set(R"({"failure-injection-rate":0})"), 200);
  EXPECT_EQ(Post(*instance, "/v1/completions", kStream).status, 200);
  EXPECT_EQ(Get(*instance, "/admin/config").json()["failure-types"][0], "rate_limit");
}

TEST(Fault, SlowStretchesSteps) {
  const auto instance = MakeInstance(TestOptions());
  Post(*instance, "/admin/config", R"({"slow":10})");
  FakeCall call("POST", "/v1/completions", kStream);
  instance->Handle(call, 0);
  EXPECT_EQ(instance->NextEventTime(), 0);
  instance->AdvanceTo(0);
  EXPECT_NEAR(static_cast<double>(instance->NextEventTime()), 64.3e6, 1e6);
}

TEST(Fault, StaleMetricsFreezeThePage) {
  const auto instance = MakeInstance(TestOptions());
  Post(*instance, "/admin/config", R"({"stale-metrics":true})");
  const std::string before = Get(*instance, "/metrics").answer;
  Post(*instance, "/v1/completions", kStream);
  EXPECT_TRUE(Get(*instance, "/metrics").answer == before);
  Post(*instance, "/admin/config", R"({"stale-metrics":false})");
  EXPECT_FALSE(Get(*instance, "/metrics").answer == before);
}

TEST(Fault, RestartBreaksConnectionsAndEmptiesTheCache) {
  const auto instance = MakeInstance(TestOptions());
  FakeCall call("POST", "/v1/completions", kStream);
  FakeCall hanging("POST", "/v1/completions", kStream, {{"X-Sim-Fault", "hang"}});
  instance->Handle(call, 0);
  instance->Handle(hanging, 0);
  instance->AdvanceTo(20'000'000);
  Post(*instance, "/admin/config", R"({"restart":true})");
  EXPECT_TRUE(call.aborted);
  EXPECT_TRUE(hanging.aborted);
  RunToEnd(*instance);
  EXPECT_EQ(instance->open_requests(), 0u);
  EXPECT_EQ(Post(*instance, "/v1/completions", kStream).status, 200);
}

TEST(Fault, OutOfMemoryEndsTheProcess) {
  const auto instance = MakeInstance(TestOptions());
  EXPECT_FALSE(instance->exit_requested());
  Post(*instance, "/admin/config", R"({"oom":true})");
  EXPECT_TRUE(instance->exit_requested());
}

}  // namespace
}  // namespace weir::sim
