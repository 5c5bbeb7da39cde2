#include "generate_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "weir/sim/tokens.h"

namespace weir::sim {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(Api api, std::string_view body) {
  const auto request = ParseGenerateRequest(api, body);
  return request.ok() ? "" : std::string(request.status().message());
}

TEST(GenerateRequest, ReadsWhatClientsSend) {
  const auto request = ParseGenerateRequest(
      Api::kChat,
      R"({"model":"m","messages":[{"role":"user","content":"hi"}],"max_completion_tokens":5,)"
      R"("n":2,"stream":true,"stream_options":{"include_usage":true},"priority":-3,"seed":9,)"
      R"("cache_salt":"s","temperature":0.5,"unknown":{"x":[1]},"stop":null})");
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->model, "m");
  EXPECT_EQ(request->tokens_max, 5u);
  EXPECT_EQ(request->choices, 2u);
  EXPECT_TRUE(request->stream && request->include_usage);
  EXPECT_EQ(request->priority, -3);
  EXPECT_EQ(request->seed, 9);
  EXPECT_EQ(request->cache_salt, "s");
  EXPECT_EQ(request->prompts[0].text, "<|user|>\nhi\n<|assistant|>\n");
  EXPECT_EQ(request->prompts[0].tokens, Tokenize("<|user|>\nhi\n<|assistant|>\n"));
}

TEST(GenerateRequest, TurnsExtendTheTextOfEarlierOnes) {
  const std::string first = *RenderChat(R"({"messages":[{"role":"user","content":"a"}]})");
  const std::string second = *RenderChat(
      R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b."},)"
      R"({"role":"user","content":"c"}]})");
  EXPECT_EQ(second.substr(0, first.size() + 2), first + "b.");
}

TEST(GenerateRequest, ToolsAndImagesChangeThePrompt) {
  const std::string plain = *RenderChat(R"({"messages":[{"role":"user","content":"a"}]})");
  const std::string tools = *RenderChat(R"({"tools":[{"type":"function","function":{"name":"f"}}],)"
                                        R"("messages":[{"role":"user","content":"a"}]})");
  EXPECT_NE(plain, tools);
  const auto image = [](const char* url) {
    return *RenderChat(std::string(R"({"messages":[{"role":"user","content":[{"type":"image_url",)"
                                   R"("image_url":{"url":")") +
                       url + R"("}}]}]})");
  };
  EXPECT_NE(image("a"), image("b"));
  EXPECT_EQ(image("a"), image("a"));
}

TEST(GenerateRequest, RefusesWhatItCannotRead) {
  const auto completion = [](std::string_view fields) {
    return ErrorOf(Api::kCompletions, "{\"prompt\":\"a\"," + std::string(fields) + "}");
  };
  EXPECT_EQ(ErrorOf(Api::kChat, "{"), "the body is not valid JSON");
  EXPECT_EQ(ErrorOf(Api::kChat, ""), "the body is not valid JSON");
  EXPECT_EQ(ErrorOf(Api::kChat, "[1]"), "the body is not a JSON object");
  EXPECT_EQ(ErrorOf(Api::kChat, "{}"), "messages: field required");
  EXPECT_THAT(ErrorOf(Api::kChat, R"({"messages":[]})"), HasSubstr("at least one message"));
  EXPECT_THAT(ErrorOf(Api::kChat, R"({"messages":[1]})"), HasSubstr("\"role\""));
  EXPECT_THAT(ErrorOf(Api::kChat, R"({"messages":[{"role":"user","content":5}]})"),
              HasSubstr("content: expected"));
  EXPECT_EQ(ErrorOf(Api::kCompletions, "{}"), "prompt: field required");
  EXPECT_EQ(ErrorOf(Api::kCompletions, R"({"prompt":""})"), "prompt: must not be empty");
  EXPECT_THAT(ErrorOf(Api::kCompletions, R"({"prompt":[]})"), HasSubstr("not empty"));
  EXPECT_THAT(ErrorOf(Api::kCompletions, R"({"prompt":[-1]})"), HasSubstr("token ids"));
  EXPECT_THAT(ErrorOf(Api::kCompletions, R"({"prompt":[4294967296]})"), HasSubstr("token ids"));
  EXPECT_THAT(ErrorOf(Api::kCompletions, R"({"prompt":[[[1]]]})"), HasSubstr("prompt:"));
  EXPECT_THAT(completion(R"("max_tokens":0)"), HasSubstr("max_tokens: expected an integer"));
  EXPECT_THAT(completion(R"("max_tokens":-5)"), HasSubstr("max_tokens: expected an integer"));
  EXPECT_THAT(completion(R"("max_tokens":1e30)"), HasSubstr("max_tokens: expected an integer"));
  EXPECT_THAT(completion(R"("max_tokens":18446744073709551615)"), HasSubstr("max_tokens"));
  EXPECT_THAT(completion(R"("n":0)"), HasSubstr("n: expected an integer"));
  EXPECT_THAT(completion(R"("n":1025)"), HasSubstr("more than 1024 choices"));
  EXPECT_THAT(completion(R"("stream":"yes")"), HasSubstr("stream: expected true or false"));
  EXPECT_THAT(completion(R"("ignore_eos":true)"), HasSubstr("needs a limit"));
  EXPECT_THAT(completion(R"("min_tokens":5,"max_tokens":4)"), HasSubstr("min_tokens"));
  EXPECT_THAT(completion(R"("model":7)"), HasSubstr("model: expected a string"));
  EXPECT_THAT(completion(R"("priority":1.5)"), HasSubstr("priority: expected an integer"));
  EXPECT_THAT(completion(R"("hash_ids":[])"), HasSubstr("hash_ids"));
  EXPECT_THAT(completion(R"("hash_ids":[-1])"), HasSubstr("hash_ids"));
  EXPECT_THAT(completion(R"("hash_ids":[1],"input_length":0)"), HasSubstr("input_length"));
  EXPECT_THAT(ErrorOf(Api::kSglang, R"({"sampling_params":[],"text":"a"})"),
              HasSubstr("sampling_params: expected an object"));
  EXPECT_THAT(ErrorOf(Api::kSglang, R"({"text":"a","extra_key":1})"), HasSubstr("extra_key"));
  EXPECT_EQ(completion(R"("n":1024)"), "");
}

TEST(GenerateRequest, DeepNestingIsRefused) {
  const std::string deep(1'500'000, '['), end(deep.size(), ']');
  EXPECT_EQ(ErrorOf(Api::kChat, deep), "the body is nested too deeply");
  EXPECT_EQ(ErrorOf(Api::kCompletions, R"({"prompt":)" + deep + end + "}"),
            "the body is nested too deeply");
  for (const char* front :
       {R"({"messages":[{"role":"user","content":[{"x":)",
        R"({"messages":[{"role":"user","tool_calls":[{"x":)", R"({"tools":[{"messages":[{"x":)"}) {
    EXPECT_EQ(ErrorOf(Api::kChat, front + deep + end + "}]}]}"), "the body is nested too deeply");
  }
  EXPECT_EQ(ErrorOf(Api::kChat, R"({"messages":[{"role":"user","content":[{"x":)" +
                                    std::string(500, '[') + std::string(500, ']') + "}]}]}"),
            "");
}

}  // namespace
}  // namespace weir::sim
