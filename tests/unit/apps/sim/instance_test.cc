#include "instance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "fake_call.h"
#include "weir/sim/tokens.h"

namespace weir::sim {
namespace {

using ::testing::HasSubstr;

TEST(Instance, AnswersTheGoldenCalls) {
  std::ifstream file(std::string(WEIR_SOURCE_DIR) + "/tests/golden/sim/api.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  for (const auto& item : golden["calls"]) {
    SimOptions options = TestOptions();
    options.served_names = {"m", "alias"};
    options.loras = {{"tuned", "/adapters/tuned", "m"}};
    options.embedding_dimensions = 4;
    options.enable_metrics = true;
    if (item.value("engine", "vllm") == "sglang") options.personality = Personality::kSglang;
    const auto instance = MakeInstance(options);
    const std::string body = item["body"].is_string() ? item["body"].get<std::string>()
                             : item["body"].is_null() ? ""
                                                      : item["body"].dump();
    std::map<std::string, std::string> headers;
    if (item.contains("headers")) headers = item["headers"].get<decltype(headers)>();
    const FakeCall call = Ask(*instance, FakeCall(item["method"], item["path"], body, headers));
    EXPECT_EQ(call.status, item["status"]) << item["name"] << "\n" << call.answer;
    EXPECT_TRUE(call.ended) << item["name"];
    if (item.contains("json")) {
      EXPECT_EQ(call.json(), item["json"]) << item["name"] << "\n" << call.answer;
    }
    if (item.contains("text")) {
      EXPECT_EQ(call.answer, item["text"]) << item["name"];
    }
  }
}

constexpr char kChat[] =
    R"({"model":"m","messages":[{"role":"user","content":"tell me about water"}],"max_tokens":8,)"
    R"("ignore_eos":true)";

TEST(Instance, StreamsOneTokenPerEventAndEndsWithUsage) {
  const auto instance = MakeInstance(TestOptions());
  const FakeCall whole = Post(*instance, "/v1/chat/completions", std::string(kChat) + "}");
  const FakeCall call =
      Post(*instance, "/v1/chat/completions",
           std::string(kChat) + R"(,"stream":true,"stream_options":{"include_usage":true}})");
  EXPECT_EQ(call.content_type, "text/event-stream; charset=utf-8");
  const auto events = call.events();
  ASSERT_EQ(events.size(), 1u + 8 + 1 + 1 + 1);
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
  std::string text;
  for (size_t i = 1; i <= 8; ++i) text += events[i]["choices"][0]["delta"]["content"];
  EXPECT_EQ(text, whole.json()["choices"][0]["message"]["content"]);
  EXPECT_EQ(Tokenize(text).size(), 8u);
  EXPECT_EQ(events[9]["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(events[10]["choices"].size(), 0u);
  EXPECT_EQ(events[10]["usage"]["completion_tokens"], 8);
  EXPECT_EQ(events[10]["usage"]["prompt_tokens_details"]["cached_tokens"], 16);
  EXPECT_EQ(events[11], "[DONE]");
}

TEST(Instance, TokensComeWhenTheEngineSaysSo) {
  const auto instance = MakeInstance(TestOptions());
  FakeCall call("POST", "/v1/chat/completions", std::string(kChat) + R"(,"stream":true})");
  instance->Handle(call, 0);
  EXPECT_FALSE(call.started);
  instance->AdvanceTo(6'000'000);
  EXPECT_FALSE(call.started) << "a step of an 8B on H100 takes 6.2 ms";
  instance->AdvanceTo(6'500'000);
  EXPECT_EQ(call.events().size(), 2u);
  instance->AdvanceTo(13'000'000);
  EXPECT_EQ(call.events().size(), 3u);
}

TEST(Instance, TheNextTurnHitsTheAnswer) {
  const auto instance = MakeInstance(TestOptions());
  std::string question;
  for (int i = 0; i < 100; ++i) question += "word" + std::to_string(i) + " ";
  nlohmann::json body = {{"model", "m"},
                         {"max_tokens", 64},
                         {"ignore_eos", true},
                         {"messages", {{{"role", "user"}, {"content", question}}}}};
  const nlohmann::json first = Post(*instance, "/v1/chat/completions", body.dump()).json();
  body["messages"].push_back(first["choices"][0]["message"]);
  body["messages"].push_back({{"role", "user"}, {"content", "go on"}});
  const nlohmann::json second = Post(*instance, "/v1/chat/completions", body.dump()).json();
  const int prompt = first["usage"]["prompt_tokens"];
  const int cached = second["usage"]["prompt_tokens_details"]["cached_tokens"];
  EXPECT_EQ(cached, (prompt + 63) / 16 * 16);
}

TEST(Instance, EqualPromptsGetEqualAnswersEverywhere) {
  SimOptions other = TestOptions();
  const auto a = MakeInstance(TestOptions());
  const auto b = MakeInstance(TestOptions());
  other.seed = 1;
  const auto c = MakeInstance(other);
  const auto text = [](Instance& instance, const char* more = "}") {
    return Post(instance, "/v1/chat/completions", std::string(kChat) + more)
        .json()["choices"][0]["message"]["content"];
  };
  Post(*a, "/v1/completions", R"({"prompt":"something else before"})");
  EXPECT_EQ(text(*a), text(*b));
  EXPECT_NE(text(*a), text(*c));
  EXPECT_NE(text(*a), text(*a, R"(,"seed":7})"));
}

TEST(Instance, ManyPromptsAndChoicesShareOneAnswer) {
  const auto instance = MakeInstance(TestOptions());
  const FakeCall call = Post(*instance, "/v1/completions",
                             R"({"prompt":["one two","three",[5,6,7]],"n":2,"max_tokens":4,)"
                             R"("ignore_eos":true,"return_token_ids":true})");
  const nlohmann::json json = call.json();
  ASSERT_EQ(json["choices"].size(), 6u);
  EXPECT_EQ(json["choices"][5]["index"], 5);
  EXPECT_EQ(json["usage"]["prompt_tokens"], 2 + 1 + 3);
  EXPECT_EQ(json["usage"]["completion_tokens"], 24);
  EXPECT_NE(json["choices"][0]["text"], json["choices"][1]["text"]);
  EXPECT_EQ(json["choices"][0]["token_ids"].get<std::vector<uint32_t>>(),
            Tokenize(json["choices"][0]["text"].get<std::string>()));
  const FakeCall stream = Post(*instance, "/v1/completions",
                               R"({"prompt":["one","two"],"max_tokens":2,"ignore_eos":true,)"
                               R"("stream":true})");
  EXPECT_EQ(stream.events().size(), 2u * 2 + 2 + 1);
}

TEST(Instance, ALeavingClientFreesItsBlocksWithinOneStep) {
  const auto instance = MakeInstance(TestOptions());
  FakeCall call("POST", "/v1/chat/completions",
                R"({"messages":[{"role":"user","content":"x"}],"max_tokens":1000,)"
                R"("ignore_eos":true,"stream":true})");
  instance->Handle(call, 0);
  instance->AdvanceTo(20'000'000);
  EXPECT_GT(instance->stats().used_blocks, 0u);
  instance->ClientGone(call);
  const size_t events = call.events().size();
  instance->AdvanceTo(instance->NextEventTime());
  EXPECT_EQ(instance->stats().used_blocks, 0u);
  RunToEnd(*instance);
  EXPECT_EQ(call.events().size(), events);
  EXPECT_EQ(instance->open_requests(), 0u);
  EXPECT_THAT(Get(*instance, "/metrics").answer,
              HasSubstr("vllm:request_success_total{engine=\"0\",model_name=\"m\","
                        "finished_reason=\"abort\"} 1\n"));
}

TEST(Instance, AFullQueueIsATrue429EvenForStreams) {
  SimOptions options = TestOptions();
  options.waiting_requests_max = 2;
  const auto instance = MakeInstance(options);
  // One prompt too many: those that were queued are withdrawn.
  const FakeCall call =
      Post(*instance, "/v1/completions", R"({"prompt":["a","b","c"],"stream":true})");
  EXPECT_EQ(call.status, 429);
  EXPECT_THAT(call.answer, HasSubstr("Failed to enqueue request, "));
  EXPECT_EQ(call.json()["error"]["type"], "RateLimitError");
  EXPECT_EQ(instance->open_requests(), 0u);
  EXPECT_EQ(Post(*instance, "/v1/completions", R"({"prompt":["a","b"]})").status, 200);
}

TEST(Instance, EchoRepeatsTheLastMessage) {
  SimOptions options = TestOptions();
  options.mode = "echo";
  const auto instance = MakeInstance(options);
  const std::string body =
      R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},)"
      R"({"role":"user","content":[{"type":"text","text":"Hello, world!"}]}])";
  const FakeCall call = Post(*instance, "/v1/chat/completions", body + "}");
  EXPECT_EQ(call.json()["choices"][0]["message"]["content"], "Hello, world!");
  EXPECT_EQ(call.json()["choices"][0]["finish_reason"], "stop");
  const FakeCall cut = Post(*instance, "/v1/chat/completions", body + R"(,"max_tokens":2})");
  EXPECT_EQ(cut.json()["choices"][0]["message"]["content"], "Hello,");
  EXPECT_EQ(cut.json()["choices"][0]["finish_reason"], "length");
}

TEST(Instance, TraceLinesShareBlocksByHashId) {
  const auto instance = MakeInstance(TestOptions());
  const auto cached = [&](const char* body) {
    return Post(*instance, "/v1/completions", body)
        .json()["usage"]["prompt_tokens_details"]["cached_tokens"]
        .get<int>();
  };
  EXPECT_EQ(cached(R"({"hash_ids":[0,1,2],"input_length":1300,"max_tokens":1})"), 0);
  EXPECT_EQ(cached(R"({"hash_ids":[0,1,9],"input_length":1500,"max_tokens":1})"), 1024);
}

TEST(Instance, ReadsOtherApis) {
  const auto instance = MakeInstance(TestOptions());
  const FakeCall responses =
      Post(*instance, "/v1/responses",
           R"({"model":"m","input":"hello","max_output_tokens":3,"stream":true})");
  EXPECT_THAT(responses.answer, HasSubstr("event: response.created\n"));
  EXPECT_THAT(responses.answer, HasSubstr("\"type\":\"response.output_text.delta\""));
  EXPECT_THAT(responses.answer, HasSubstr("\"input_tokens\":"));
  const FakeCall messages =
      Post(*instance, "/v1/messages",
           R"({"model":"m","max_tokens":3,"ignore_eos":true,"stream":true,"system":"be brief",)"
           R"("messages":[{"role":"user","content":"hi"}]})");
  EXPECT_THAT(messages.answer, HasSubstr("event: message_start\n"));
  EXPECT_THAT(messages.answer, HasSubstr("\"stop_reason\":\"max_tokens\""));
  EXPECT_THAT(messages.answer, HasSubstr("event: message_stop\n"));
  const nlohmann::json ids =
      Post(*instance, "/inference/v1/generate",
           R"({"token_ids":[1,2,3],"sampling_params":{"max_tokens":3,"ignore_eos":true}})")
          .json();
  EXPECT_EQ(ids["choices"][0]["token_ids"].size(), 3u);
  EXPECT_EQ(ids["choices"][0]["finish_reason"], "length");
}

TEST(Instance, SglangGeneratesFromTextAndIds) {
  SimOptions options = TestOptions();
  options.personality = Personality::kSglang;
  const auto instance = MakeInstance(options);
  const std::string sampling = R"("sampling_params":{"max_new_tokens":4,"ignore_eos":true}})";
  const nlohmann::json text =
      Post(*instance, "/generate", R"({"text":"a b c d",)" + sampling).json();
  EXPECT_EQ(text["output_ids"].size(), 4u);
  EXPECT_EQ(text["meta_info"]["prompt_tokens"], 4);
  EXPECT_EQ(text["meta_info"]["finish_reason"]["type"], "length");
  nlohmann::json again = nlohmann::json::parse(R"({"stream":true,)" + sampling);
  again["input_ids"] = Tokenize("a b c d");
  const auto events = Post(*instance, "/generate", again.dump()).events();
  ASSERT_EQ(events.size(), 4u + 1 + 1);
  EXPECT_EQ(events[4]["text"], text["text"]);
  EXPECT_EQ(events[4]["meta_info"]["cached_tokens"], 3);
  EXPECT_EQ(events[3]["meta_info"]["finish_reason"], nullptr);
  EXPECT_EQ(Post(*instance, "/generate", R"({"text":"a","input_ids":[1]})").status, 400);
  EXPECT_EQ(Get(*instance, "/metrics").status, 404);
  EXPECT_EQ(Get(*instance, "/version").status, 404);
}

TEST(Instance, AdaptersAreModelsAndShareNoBlocks) {
  const auto instance = MakeInstance(TestOptions());
  const std::string prompt = R"("prompt":"a b c d e f g h i j k l m n o p q r s t u v w x y z"})";
  EXPECT_EQ(Post(*instance, "/v1/completions", R"({"model":"tuned",)" + prompt).status, 404);
  EXPECT_EQ(
      Post(*instance, "/v1/load_lora_adapter", R"({"lora_name":"tuned","lora_path":"/x"})").status,
      200);
  Post(*instance, "/v1/completions", R"({"model":"m",)" + prompt);
  const nlohmann::json json =
      Post(*instance, "/v1/completions", R"({"model":"tuned",)" + prompt).json();
  EXPECT_EQ(json["model"], "tuned");
  EXPECT_EQ(json["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_THAT(Get(*instance, "/metrics").answer, HasSubstr("vllm:lora_requests_info{max_lora"));
  EXPECT_EQ(Post(*instance, "/v1/load_lora_adapter", "[]").status, 400);
  EXPECT_EQ(Post(*instance, "/v1/unload_lora_adapter", R"({"lora_name":"tuned"})").status, 200);
  EXPECT_EQ(Post(*instance, "/v1/unload_lora_adapter", R"({"lora_name":"nobody"})").status, 200);
  EXPECT_EQ(Post(*instance, "/v1/completions", R"({"model":"tuned",)" + prompt).status, 404);
}

TEST(Instance, IdentityHeadersNameThePod) {
  SimOptions options = TestOptions();
  options.pod_name = "pod-0";
  options.pod_namespace = "space";
  options.request_id_headers = true;
  const auto instance = MakeInstance(options);
  const FakeCall call =
      Post(*instance, "/v1/completions", R"({"prompt":"a"})", {{"X-Request-Id", "r1"}});
  EXPECT_EQ(call.sent_headers.at("x-inference-pod"), "pod-0");
  EXPECT_EQ(call.sent_headers.at("x-inference-port"), "8000");
  EXPECT_EQ(call.sent_headers.at("x-inference-namespace"), "space");
  EXPECT_EQ(call.sent_headers.at("X-Request-Id"), "r1");
}

TEST(Instance, ResetNeedsFreeBlocksAndAbortEndsRequests) {
  const auto instance = MakeInstance(TestOptions());
  FakeCall one("POST", "/v1/completions",
               R"({"prompt":"a","max_tokens":500,"ignore_eos":true,"request_id":"one"})");
  FakeCall two("POST", "/v1/completions", R"({"prompt":"b","max_tokens":5,"ignore_eos":true})");
  instance->Handle(one, 0);
  instance->Handle(two, 0);
  instance->AdvanceTo(10'000'000);
  FakeCall reset("POST", "/reset_prefix_cache");
  instance->Handle(reset, 0);
  EXPECT_EQ(reset.status, 503);
  EXPECT_EQ(Post(*instance, "/abort_requests", R"({"request_ids":["one"]})").status, 200);
  EXPECT_EQ(one.json()["choices"][0]["finish_reason"], "abort");
  EXPECT_EQ(two.json()["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(Post(*instance, "/reset_prefix_cache", "").status, 200);
}

TEST(Instance, DrainRefusesGenerationOnly) {
  const auto instance = MakeInstance(TestOptions());
  instance->Drain();
  EXPECT_EQ(Post(*instance, "/v1/completions", R"({"prompt":"a"})").status, 503);
  EXPECT_EQ(Get(*instance, "/health").status, 200);
  EXPECT_EQ(Get(*instance, "/health/ready").status, 503);
}

TEST(Instance, ReadyAfterTheStartupTime) {
  SimOptions options = TestOptions();
  options.startup_ns = 5'000'000'000;
  const auto instance = MakeInstance(options);
  EXPECT_EQ(Get(*instance, "/health/ready").status, 503);
  instance->AdvanceTo(5'000'000'000);
  EXPECT_EQ(Get(*instance, "/health/ready").status, 200);
}

TEST(Instance, SleepDropsTheCacheOnlyInDevelopmentMode) {
  for (const bool allowed : {false, true}) {
    SimOptions options = TestOptions();
    options.sleep_mode = true;
    options.sleep_mode_allowed = allowed;
    const auto instance = MakeInstance(options);
    EXPECT_EQ(Post(*instance, "/sleep", "").status, 200);
    EXPECT_EQ(Get(*instance, "/is_sleeping").json()["is_sleeping"], allowed);
    EXPECT_EQ(Post(*instance, "/wake_up", "").status, 200);
    EXPECT_EQ(Get(*instance, "/is_sleeping").json()["is_sleeping"], false);
  }
}

}  // namespace
}  // namespace weir::sim
