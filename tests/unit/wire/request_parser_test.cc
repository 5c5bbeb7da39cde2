#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "weir/request.h"

namespace weir {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Text(const Request& request, size_t prompt = 0) {
  std::string text;
  for (const PromptPart& part : request.prompts[prompt].parts) text += part.bytes;
  return text;
}
std::string Error(std::string_view path, std::string_view body) {
  const auto request = ParseOpenAi(path, body);
  return request.ok() ? "" : std::string(request.status().message());
}
constexpr std::string_view kChat = "/v1/chat/completions";
constexpr std::string_view kCompletions = "/v1/completions";

TEST(ParseOpenAi, ChatIsRoleThenTextOfEachMessage) {
  const Request request =
      ParseOpenAi(kChat, R"({"model":"m","stream":true,"stream_options":{"include_usage":true},
        "messages":[{"content":"Be\nbrief \u00e9\ud83d\ude00","role":"system"},
                    {"role":"user","content":[{"type":"text","text":"a\"b"},
                                              {"type":"image_url","image_url":{"url":"https://x/i"}},
                                              {"type":"text","text":"c"}]},
                    {"role":"assistant","content":null}],
        "max_tokens":5,"max_completion_tokens":7,"cache_salt":"s","temperature":0.5})")
          .value();
  EXPECT_EQ(request.api, Api::kChatCompletions);
  EXPECT_EQ(request.model, "m");
  EXPECT_EQ(request.cache_salt, "s");
  EXPECT_TRUE(request.stream);
  EXPECT_TRUE(request.include_usage);
  EXPECT_EQ(request.max_output_tokens, 7);
  ASSERT_EQ(request.prompts.size(), 1u);
  const auto parts = request.prompts[0].parts;
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].bytes, "systemBe\nbrief \xC3\xA9\xF0\x9F\x98\x80usera\"b");
  EXPECT_EQ(parts[1].kind, PromptPart::Kind::kImage);
  EXPECT_EQ(parts[1].bytes, "https://x/i");
  EXPECT_EQ(parts[2].bytes, "cassistant");
}

TEST(ParseOpenAi, TextIsAlignedAndPaddedWithZeroBytes) {
  const Request request =
      ParseOpenAi(kChat, R"({"messages":[{"role":"user","content":"Hello"}]})").value();
  const std::string_view text = request.prompts[0].parts[0].bytes;
  ASSERT_EQ(text, "userHello");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(text.data()) % 4, 0u);
  uint32_t tokens[3];
  std::memcpy(tokens, text.data(), sizeof(tokens));
  EXPECT_EQ(tokens[0], 1919251317u);  // golden X5
  EXPECT_EQ(tokens[1], 1819043144u);
  EXPECT_EQ(tokens[2], 111u);
}

TEST(ParseOpenAi, ToolsStandBeforeTheMessagesWhereverTheyAre) {
  const Request request =
      ParseOpenAi(kChat, R"({"messages":[{"role":"user","content":"hi"},{"role":"user","content":[
        {"type":"image_url","image_url":{"url":"u"}},{"type":"text","text":"x"}]}],
        "tools":[{"a": 1}] , "model":"m"})")
          .value();
  const auto parts = request.prompts[0].parts;
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].bytes, R"([{"a": 1}]userhiuser)");
  EXPECT_EQ(parts[2].bytes, "x");
}

TEST(ParseOpenAi, CompletionsTakeTextTextsAndTokenIds) {
  EXPECT_EQ(Text(ParseOpenAi(kCompletions, R"({"prompt":"Hello, world!"})").value()),
            "Hello, world!");
  const Request many = ParseOpenAi(kCompletions, R"({"prompt":["a","bcdef"]})").value();
  ASSERT_EQ(many.prompts.size(), 2u);
  EXPECT_EQ(Text(many, 1), "bcdef");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(many.prompts[1].parts[0].bytes.data()) % 4, 0u);
  const Request ids = ParseOpenAi(kCompletions, R"({"prompt":[1,2,4294967295]})").value();
  ASSERT_EQ(ids.prompts.size(), 1u);
  EXPECT_THAT(ids.prompts[0].tokens, ::testing::ElementsAre(1, 2, 4294967295u));
}

TEST(ParseOpenAi, EmbeddingsAndResponses) {
  EXPECT_EQ(Text(ParseOpenAi("/v1/embeddings", R"({"input":["ab"],"model":"e"})").value()), "ab");
  const Request response =
      ParseOpenAi("/v1/responses?x=1", R"({"input":"hi","max_output_tokens":0})").value();
  EXPECT_EQ(response.api, Api::kResponses);
  EXPECT_EQ(Text(response), "hi");
  EXPECT_EQ(response.max_output_tokens, 0);
  EXPECT_EQ(Text(ParseOpenAi("/v1/responses", R"({"input":[{"role":"user"}]})").value()),
            R"([{"role":"user"}])");
}

TEST(ParseOpenAi, LimitsThatAreNoWholeNumbersAreAbsent) {
  for (const char* limit : {"-1", "1.5", "\"7\"", "null", "99999999999999999999", "[]"}) {
    const std::string body = std::string(R"({"prompt":"a","max_tokens":)") + limit + "}";
    EXPECT_EQ(ParseOpenAi(kCompletions, body).value().max_output_tokens, std::nullopt) << limit;
  }
  EXPECT_EQ(ParseOpenAi(kCompletions, R"({"prompt":"a","max_tokens":9223372036854775807})")
                .value()
                .max_output_tokens,
            INT64_MAX);
}

TEST(ParseOpenAi, OtherPathsAreNotRead) {
  const Request request = ParseOpenAi("/v1/models", "no json").value();
  EXPECT_EQ(request.api, Api::kOther);
  EXPECT_TRUE(request.prompts.empty());
  EXPECT_EQ(ApiOfPath("/v1/chat/completions/"), Api::kChatCompletions);
  EXPECT_EQ(ApiOfPath("/x/mycompletions"), Api::kOther);
}

TEST(ParseOpenAi, ATextIsReadWhetherItsTypeStandsBeforeOrBehindIt) {
  const std::string tail(300, 'x');  // longer than what a string is unescaped in at a time
  const auto text = [](std::string_view content) {
    const auto request = ParseOpenAi(kChat, absl::StrCat(R"({"messages":[{"role":"u","content":[)",
                                                         std::string(content), "]}]}"));
    return request.ok() ? std::string(request->prompts[0].parts[0].bytes)
                        : std::string(request.status().message());
  };
  const std::string expected = absl::StrCat("u\n\"", tail, "c");
  for (const char* type : {"text", "input_text", "output_text"}) {
    EXPECT_EQ(text(absl::StrCat(R"({"type":")", type, R"(","text":"\n\")", tail,
                                R"("},{"text":"c","type":")", type, R"("})")),
              expected);
  }
  EXPECT_EQ(text(R"({"type":"text","text":1})"), "messages[].content[].text: expected a string");
  EXPECT_EQ(text(R"({"text":null,"type":"text"})"), "messages[].content[].text: expected a string");
  EXPECT_EQ(text(R"({"type":"text","text":"a","text":"b"})"),
            "messages[].content[].text: occurs twice");
  EXPECT_THAT(text(R"({"type":"text","text":"\q"})"),
              StartsWith("error unmarshaling request bodyMap: "));
}

TEST(ParseOpenAi, BadBodiesHaveClearErrors) {
  const auto chat = [](std::string_view body) { return Error(kChat, body); };
  EXPECT_THAT(chat(""), StartsWith("error unmarshaling request bodyMap: "));
  EXPECT_THAT(chat("{"), StartsWith("error unmarshaling request bodyMap: "));
  EXPECT_THAT(chat("[1]"), HasSubstr("no JSON object"));
  EXPECT_THAT(chat(R"({"messages":[{"role":"user","content":"x"}]} x)"),
              StartsWith("error unmarshaling request bodyMap: "));
  EXPECT_THAT(chat(R"({"messages":[{"role":"user","content":"x"}])"),
              StartsWith("error unmarshaling request bodyMap: "));
  EXPECT_THAT(chat("{\"model\":\"\xff\",\"messages\":[]}"),
              StartsWith("error unmarshaling request bodyMap: "));
  EXPECT_THAT(chat(R"({"model":"\ud800","messages":[{"role":"u"}]})"),
              StartsWith("error unmarshaling request bodyMap: "));
  EXPECT_EQ(chat(R"({"model":"a","model":"b"})"), "model: occurs twice");
  EXPECT_EQ(chat(R"({"model":"a","mod\u0065l":"b"})"), "model: occurs twice");
  EXPECT_EQ(chat(R"({"messages":{}})"), "messages: expected a list");
  EXPECT_EQ(chat(R"({"messages":["x"]})"), "messages: expected a list of objects");
  EXPECT_EQ(chat(R"({"messages":[{"role":1}]})"), "messages[].role: expected a string");
  EXPECT_EQ(chat(R"({"messages":[{"role":"u","content":3}]})"),
            "messages[].content: expected a string or a list");
  EXPECT_EQ(chat(R"({"messages":[]})"),
            "invalid chat completions request: must have valid messages field");
  EXPECT_EQ(Error(kCompletions, R"({"prompt":""})"),
            "invalid completions request: must have prompt field");
  EXPECT_THAT(Error(kCompletions, R"({"prompt":["a",1]})"), HasSubstr("all strings or all token"));
  EXPECT_THAT(Error(kCompletions, R"({"prompt":[4294967296]})"), HasSubstr("all strings or all"));
  EXPECT_THAT(Error(kCompletions, R"({"prompt":[[1]]})"), HasSubstr("all strings or all token"));
}

TEST(ParseOpenAi, WrongTypesOfModelAndStreamCountAsAbsent) {
  const Request request =
      ParseOpenAi(kCompletions, R"({"prompt":"x","model":7,"stream":"true"})").value();
  EXPECT_EQ(request.model, "");
  EXPECT_FALSE(request.stream);
}

TEST(ParseOpenAi, WhatIsNotReadMustBeJson) {
  for (const char* bad : {"tru",      "nul",
                          "1.2.3",    "-",
                          "\"\\q\"",  "\"\\u12g4\"",
                          "[1 2]",    "{\"a\" 1}",
                          "{\"a\":}", "[,]",
                          "[1,]",     "{\"a\":1,}",
                          "{1:2}",    "\"a",
                          "01",       "1.",
                          ".5",       "1e",
                          "+1",       "-a",
                          "\"\\\"",   "{\"a\":[{\"b\":bad}]}"}) {
    const std::string in_body = std::string(R"({"prompt":"x","other":)") + bad + "}";
    EXPECT_THAT(Error(kCompletions, in_body), StartsWith("error unmarshaling request bodyMap: "))
        << in_body;
    const std::string in_message =
        std::string(R"({"messages":[{"role":"u","content":"x","other":)") + bad + "}]}";
    EXPECT_THAT(Error(kChat, in_message), StartsWith("error unmarshaling request bodyMap: "))
        << in_message;
  }
  // Fine: what Python reads and what numbers may be.
  for (const char* good :
       {"true", "null", "1e5", "-0.5", "0", "-0", "1E+2", "1e999", "123456789012345678901234567890",
        R"("\ud800")", R"("\"\\\/\b\f\n\r\t\u00e9")", "[]", "{}", R"([{"a":[1,"x",null]}])"}) {
    EXPECT_EQ(Error(kCompletions, std::string(R"({"prompt":"x","other":)") + good + "}"), "")
        << good;
  }
}

TEST(ParseOpenAi, NothingOccursTwice) {
  EXPECT_EQ(Error(kChat, R"({"messages":[{"role":"u","content":"a","content":"b"}]})"),
            "messages[].content: occurs twice");
  EXPECT_EQ(Error(kChat, R"({"messages":[{"role":"u","role":"v"}]})"),
            "messages[].role: occurs twice");
}

TEST(ParseOpenAi, ContentMayStandBeforeItsRole) {
  const Request request = ParseOpenAi(kChat, R"({"messages":[
      {"content":[{"text":"a","type":"text"},{"image_url":"u","type":"image_url"}],"role":"r1"},
      {"content":"b"},{"x":[1,{}],"content":"c","role":"r2"}],"stream":true})")
                              .value();
  const auto parts = request.prompts[0].parts;
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].bytes, "r1a");
  EXPECT_EQ(parts[1].bytes, "u");
  EXPECT_EQ(parts[2].bytes, "br2c");
  EXPECT_TRUE(request.stream);
}

// A message whose content comes first is walked twice. Its other members must not take room twice
// in what the JSON parser has for strings.
TEST(ParseOpenAi, LongKeysBesideAContentThatComesFirst) {
  for (const size_t bytes : {size_t{1000}, size_t{1} << 16, size_t{1} << 22}) {
    for (const char* escape : {"", "\\n"}) {
      const std::string key = absl::StrCat(escape, std::string(bytes, 'k'));
      for (const std::string& member :
           {absl::StrCat("\"", key, "\":0"), absl::StrCat("\"x\":{\"", key, "\":0}")}) {
        const std::string message = absl::StrCat(R"({"content":"c",)", member, R"(,"role":"r"})");
        for (const auto& [path, field] :
             {std::pair(kChat, "messages"),
              std::pair(std::string_view("/v1/conversations"), "items")}) {
          const auto request =
              ParseOpenAi(path, absl::StrCat(R"({"model":"m",")", field, "\":[", message, "]}"));
          ASSERT_TRUE(request.ok()) << request.status().message();
          EXPECT_EQ(request->prompts[0].parts[0].bytes, "rc");
        }
      }
    }
  }
}

TEST(ParseOpenAi, KeysWithEscapesAreTheirNames) {
  EXPECT_EQ(ParseOpenAi(kCompletions, R"({"pr\u006fmpt":"x","\u006dodel":"m"})").value().model,
            "m");
  for (const char* key : {R"(a\q)", R"(\u12)", R"(\u12g4)"}) {
    EXPECT_THAT(Error(kCompletions, absl::StrCat(R"({"prompt":"x",")", key, R"(":1})")),
                HasSubstr("bad escape"));
    EXPECT_THAT(Error(kCompletions, absl::StrCat(R"({"prompt":"x","y":{")", key, R"(":1}})")),
                HasSubstr("bad escape"));
  }
}

TEST(ParseOpenAi, DeepAndWideBodiesEndInErrors) {
  std::string deep = R"({"x":)" + std::string(5000, '[') + std::string(5000, ']') + "}";
  EXPECT_NE(Error(kChat, deep), "");
  std::string wide = R"({"prompt":["a")";
  for (uint32_t i = 0; i < kPromptsMax; ++i) wide += R"(,"a")";
  EXPECT_THAT(Error(kCompletions, wide + "]}"), HasSubstr("more than 2048 prompts"));
}

TEST(ParseOpenAi, PartsAndBytesHaveLimits) {
  const auto chat = [](uint32_t parts) {
    std::string body = R"({"model":"m","messages":[{"role":"user","content":[)";
    for (uint32_t i = 0; i < parts; ++i) body += R"({"type":"image_url","image_url":{"url":"a"}},)";
    body.back() = ']';
    return body + "}]}";
  };
  EXPECT_TRUE(ParseOpenAi("/v1/chat/completions", chat(100)).ok());
  EXPECT_EQ(ParseOpenAi("/v1/chat/completions", chat(kPromptPartsMax + 1)).status().code(),
            absl::StatusCode::kOutOfRange);
  const std::string large(kRequestBodyBytesMax + 1, ' ');
  EXPECT_EQ(ParseOpenAi("/v1/completions", large).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(RequestParser, KeepsNothingFromTheLastRequest) {
  RequestParser parser;
  Request request;
  ASSERT_TRUE(parser
                  .Parse(kChat, R"({"model":"m","stream":true,"max_tokens":3,
      "messages":[{"role":"user","content":"x"}]})",
                         &request)
                  .ok());
  ASSERT_TRUE(parser.Parse(kCompletions, R"({"prompt":"y"})", &request).ok());
  EXPECT_EQ(request.model, "");
  EXPECT_FALSE(request.stream);
  EXPECT_EQ(request.max_output_tokens, std::nullopt);
  EXPECT_EQ(Text(request), "y");
}

}  // namespace
}  // namespace weir
