#include "ext_proc_load/script.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "ext_proc_load/message.h"

namespace weir::bench {
namespace {

// The JSON of a request, put together from its messages; `largest` is of one body.
std::string BodyOf(const Wire& wire, uint64_t unique, size_t* largest) {
  std::string bytes(wire.bytes.size(), '\0');
  wire.Copy(0, bytes.size(), unique, bytes.data());
  std::string body;
  std::string_view rest = bytes;
  bool ended = false;
  while (!rest.empty()) {
    EXPECT_FALSE(ended);
    size_t size = 0;
    for (size_t i = 1; i < kFrameHeadBytes; ++i) size = size << 8 | static_cast<uint8_t>(rest[i]);
    Question question;
    EXPECT_TRUE(ParseQuestion(rest.substr(kFrameHeadBytes, size), &question));
    std::string echo;
    AppendEchoHead(Phase::kRequest, question.inner.size(), echo);
    echo += question.inner;
    Answer answer;
    EXPECT_TRUE(ParseAnswer(echo, &answer));
    body += answer.body;
    *largest = std::max(*largest, answer.body.size());
    ended = question.end_of_stream;
    rest.remove_prefix(kFrameHeadBytes + size);
  }
  EXPECT_TRUE(ended);
  return body;
}

TEST(ScriptTest, BodiesAreJsonOfTheSizeAsked) {
  for (const size_t size : {400, 1024, 9000, 32'768, 32'769, 65'600, 225'280}) {
    const auto script = Script::Make({.body_bytes = size, .conversations = 3});
    ASSERT_TRUE(script.ok()) << script.status();
    for (const Conversation& conversation : script->conversations) {
      size_t largest = 0;
      const std::string body = BodyOf(conversation.wire, 0x0123456789abcdef, &largest);
      EXPECT_EQ(body.size(), size);
      EXPECT_LE(largest, kBodyChunkBytes);
      std::string alone(size, '\0');
      conversation.body.Copy(0, size, 0x0123456789abcdef, alone.data());
      EXPECT_EQ(body, alone);
      const nlohmann::json json = nlohmann::json::parse(body, nullptr, false);
      ASSERT_FALSE(json.is_discarded()) << size;
      EXPECT_TRUE(json["stream"]);
      EXPECT_NE(body.find("0123456789abcdef"), std::string::npos);
      EXPECT_EQ(json["messages"].back()["role"], "user");
    }
  }
}

TEST(ScriptTest, PromptsShareTheirBeginningUnlessDistinct) {
  const auto common = [](bool distinct) {
    const auto script =
        Script::Make({.body_bytes = 8000, .conversations = 1, .distinct = distinct});
    size_t largest = 0;
    const std::string a = BodyOf(script->conversations[0].wire, 1ull << 60, &largest);
    const std::string b = BodyOf(script->conversations[0].wire, 2ull << 60, &largest);
    return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin());
  };
  EXPECT_GT(common(false), 7000u);
  EXPECT_LT(common(true), 250u);
}

TEST(ScriptTest, ConversationsDifferBehindTheSystemPrompt) {
  const auto script = Script::Make({.body_bytes = 8000, .conversations = 2});
  const std::string& a = script->conversations[0].body.bytes;
  const std::string& b = script->conversations[1].body.bytes;
  const auto shared = std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin();
  EXPECT_GT(shared, 1900);
  EXPECT_LT(shared, 2500);
}

TEST(ScriptTest, DigitsSurviveAnyCut) {
  const auto script = Script::Make({.body_bytes = 1024});
  const Wire& wire = script->conversations[0].wire;
  std::string whole(wire.bytes.size(), '\0');
  wire.Copy(0, whole.size(), 0xfedcba9876543210, whole.data());
  for (size_t cut = wire.unique_offset - 2; cut < wire.unique_offset + kUniqueBytes + 2; ++cut) {
    std::string pieces(wire.bytes.size(), '\0');
    wire.Copy(0, cut, 0xfedcba9876543210, pieces.data());
    wire.Copy(cut, pieces.size() - cut, 0xfedcba9876543210, pieces.data() + cut);
    EXPECT_EQ(pieces, whole) << cut;
  }
}

TEST(ScriptTest, LastEventHasTheUsage) {
  const auto script = Script::Make({.events = 3});
  ASSERT_EQ(script->events.size(), 3u);
  EXPECT_EQ(script->events[1].bytes.find("usage"), std::string::npos);
  EXPECT_NE(script->events[2].bytes.find("\"completion_tokens\":3"), std::string::npos);
}

TEST(ScriptTest, ImpossiblePlansAreRefused) {
  const auto small = Script::Make({.body_bytes = 100});
  ASSERT_FALSE(small.ok());
  EXPECT_NE(small.status().message().find("--body-bytes: 100, expected at least"),
            absl::string_view::npos);
  EXPECT_FALSE(Script::Make({.body_bytes = kPromptBytesMax + 1}).ok());
  EXPECT_FALSE(Script::Make({.events = 0}).ok());
  EXPECT_FALSE(Script::Make({.events = kEventsMax + 1}).ok());
}

TEST(ScriptTest, ConversationsFitInMemory) {
  const auto script = Script::Make({.body_bytes = 8u << 20, .conversations = 1000});
  ASSERT_TRUE(script.ok());
  EXPECT_LE(script->conversations.size() * (16u << 20), kPromptsHeldBytesMax);
  EXPECT_GE(script->conversations.size(), 1u);
}

}  // namespace
}  // namespace weir::bench
