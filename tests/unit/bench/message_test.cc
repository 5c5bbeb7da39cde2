#include "ext_proc_load/message.h"

#include <gtest/gtest.h>

#include <string>

namespace weir::bench {
namespace {

std::string Unframed(const std::string& framed) { return framed.substr(kFrameHeadBytes); }

std::string EchoOf(Phase phase, std::string_view inner) {
  std::string answer;
  AppendEchoHead(phase, inner.size(), answer);
  return answer.append(inner);
}

TEST(MessageTest, HeadersAreWrittenAsEnvoyDoes) {
  const Header headers[] = {{"a", "b"}};
  std::string out;
  AppendHeaders(Phase::kRequest, headers, true, out);
  // ProcessingRequest{request_headers{headers{headers{key raw_value}} end_of_stream}
  //                   protocol_config{4 4}}
  EXPECT_EQ(out, std::string("\0\0\0\0\x14"
                             "\x12\x0c\x0a\x08\x0a\x06\x0a\x01"
                             "a\x1a\x01"
                             "b\x18\x01"
                             "\x5a\x04\x08\x04\x10\x04",
                             25));
}

TEST(MessageTest, FrameLengthIsTheMessages) {
  std::string out;
  AppendBody(Phase::kRequest, std::string(300, 'x'), true, out);
  ASSERT_GT(out.size(), kFrameHeadBytes);
  const size_t size = static_cast<uint8_t>(out[3]) << 8 | static_cast<uint8_t>(out[4]);
  EXPECT_EQ(size, out.size() - kFrameHeadBytes);
}

TEST(MessageTest, QuestionsAreReadBack) {
  std::string out;
  AppendBody(Phase::kResponse, "text", true, out);
  Question question;
  const std::string message = Unframed(out);
  ASSERT_TRUE(ParseQuestion(message, &question));
  EXPECT_EQ(question.field, 5u);
  EXPECT_TRUE(question.end_of_stream);
  const std::string echo = EchoOf(Phase::kResponse, question.inner);
  Answer answer;
  ASSERT_TRUE(ParseAnswer(echo, &answer));
  EXPECT_EQ(answer.kind, Answer::Kind::kResponseBody);
  EXPECT_EQ(answer.body, "text");
  EXPECT_TRUE(answer.end_of_stream);
}

TEST(MessageTest, EchoHeadsFitBodiesOfEverySize) {
  for (const size_t size : {0, 1, 120, 124, 127, 128, 16'000, 16'380, 16'383, 16'384, 62'000}) {
    std::string out;
    AppendBody(Phase::kRequest, std::string(size, 'x'), false, out);
    Question question;
    const std::string message = Unframed(out);
    ASSERT_TRUE(ParseQuestion(message, &question)) << size;
    const std::string echo = EchoOf(Phase::kRequest, question.inner);
    Answer answer;
    ASSERT_TRUE(ParseAnswer(echo, &answer)) << size;
    EXPECT_EQ(answer.kind, Answer::Kind::kRequestBody);
    EXPECT_EQ(answer.body.size(), size);
    EXPECT_FALSE(answer.end_of_stream);
  }
}

TEST(MessageTest, HeaderAnswerNamesTheDestination) {
  std::string message;
  AppendHeadersAnswer(Phase::kRequest, "10.0.0.1:80", false, message);
  Answer answer;
  ASSERT_TRUE(ParseAnswer(message, &answer));
  EXPECT_EQ(answer.kind, Answer::Kind::kRequestHeaders);
  EXPECT_EQ(answer.destination, "10.0.0.1:80");
  EXPECT_FALSE(answer.skips_response_body);
}

TEST(MessageTest, ModeOverrideWithoutResponseBodyIsSeen) {
  std::string message;
  AppendHeadersAnswer(Phase::kRequest, "10.0.0.1:80", true, message);
  Answer answer;
  ASSERT_TRUE(ParseAnswer(message, &answer));
  EXPECT_TRUE(answer.skips_response_body);
  EXPECT_FALSE(answer.skips_response_headers);
}

TEST(MessageTest, ImmediateResponsesShowTheirStatus) {
  // immediate_response{status{code: 429}}
  Answer answer;
  ASSERT_TRUE(ParseAnswer("\x3a\x05\x0a\x03\x08\xad\x03", &answer));
  EXPECT_EQ(answer.kind, Answer::Kind::kImmediate);
  EXPECT_EQ(answer.immediate_status, 429u);
}

TEST(MessageTest, CutMessagesAreRefused) {
  std::string message;
  AppendHeadersAnswer(Phase::kRequest, "10.0.0.1:80", false, message);
  Answer answer;
  for (size_t size = 1; size < message.size(); ++size) {
    EXPECT_FALSE(ParseAnswer(std::string_view(message).substr(0, size), &answer)) << size;
  }
  Question question;
  EXPECT_FALSE(ParseQuestion("\x22\x05\x0a", &question));
  EXPECT_FALSE(ParseQuestion("\x22\x02\x0a\x05", &question));
  EXPECT_FALSE(ParseQuestion("\x27", &question));  // no such wire type
}

}  // namespace
}  // namespace weir::bench
