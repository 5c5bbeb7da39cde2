#include "load/answer.h"

#include <gtest/gtest.h>

#include "load/source.h"

namespace weir::load {
namespace {

constexpr char kStream[] =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
    ": ping\r\n\r\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\r\n\r\n"
    "data:{\"choices\":[{\"delta\":{\"content\" : \" \\\"you\\\"\"}}]}\n\n"
    "data: {\"choices\":[{\"delta\":{\"content\":null},\"finish_reason\":\"stop\"}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9}}\n\n"
    "data: [DONE]\n\n";

TEST(Answer, CountsEventsWithTextHoweverTheBytesAreSplit) {
  for (size_t step = 1; step <= sizeof(kStream); ++step) {
    AnswerScanner scanner;
    scanner.Start(/*streaming=*/true, /*keep_text=*/true);
    uint32_t events = 0;
    const std::string_view stream(kStream);
    for (size_t at = 0; at < stream.size(); at += step)
      events += scanner.Feed(stream.substr(at, step));
    scanner.End();
    EXPECT_EQ(events, 2u) << step;
    EXPECT_TRUE(scanner.done_seen());
    EXPECT_FALSE(scanner.error_seen());
    EXPECT_EQ(scanner.text(), "Hello \\\"you\\\"");
  }
}

TEST(Answer, ReadsCompletionsReasoningAndToolCalls) {
  EXPECT_EQ(FindAnswerText(R"({"choices":[{"text":" word"}]})"), " word");
  EXPECT_EQ(FindAnswerText(R"({"delta":{"content":null,"reasoning_content":"hm"}})"), "hm");
  EXPECT_EQ(FindAnswerText(R"({"delta":{"content":"","reasoning_content":"hm"}})"), "hm");
  EXPECT_EQ(FindAnswerText(R"({"delta":{"x":"\"content\":\"no\""}})"), "");
  EXPECT_EQ(FindAnswerText(R"({"content":"unfinished)"), "");
  EXPECT_EQ(FindAnswerText(R"({"content":)"), "");
  AnswerScanner scanner;
  scanner.Start(true, false);
  EXPECT_EQ(scanner.Feed("data: {\"delta\":{\"tool_calls\":[{}]}}\n"), 1u);
}

TEST(Answer, SeesAnErrorInTheStream) {
  AnswerScanner scanner;
  scanner.Start(true, true);
  EXPECT_EQ(scanner.Feed("data: {\"error\":{\"message\":\"out of memory\"}}\n\n"), 0u);
  EXPECT_TRUE(scanner.error_seen());
  scanner.Start(true, true);
  scanner.Feed("data: {\"error\":null,\"choices\":[]}\n\n");
  EXPECT_FALSE(scanner.error_seen());
}

TEST(Answer, ReadsAWholeObject) {
  AnswerScanner scanner;
  scanner.Start(/*streaming=*/false, true);
  scanner.Feed("{\"choices\":[{\"message\":{\"role\":\"assistant\",\"con");
  scanner.Feed("tent\":\"Hi\\nyou\"}}]}");
  scanner.End();
  EXPECT_TRUE(scanner.done_seen());
  EXPECT_EQ(scanner.text(), "Hi\\nyou");
}

TEST(Answer, TakesOutRawControlBytes) {
  AnswerScanner scanner;
  scanner.Start(true, true);
  scanner.Feed("data: {\"content\":\"a\tb\"}\n");
  EXPECT_EQ(scanner.text(), "a b");
}

TEST(Answer, DropsALineWithoutEnd) {
  AnswerScanner scanner;
  scanner.Start(true, true);
  const std::string chunk(1 << 16, 'x');
  for (int i = 0; i < 32; ++i) scanner.Feed(chunk);
  EXPECT_TRUE(scanner.too_long());
}

TEST(Answer, KeepsABoundedText) {
  AnswerScanner scanner;
  scanner.Start(true, true);
  const std::string event = "data: {\"content\":\"" + std::string(1000, 'a') + "\"}\n";
  for (size_t i = 0; i < kAnswerBytesMax / 1000 + 100; ++i) scanner.Feed(event);
  EXPECT_LE(scanner.text().size(), kAnswerBytesMax);
  EXPECT_GT(scanner.text().size(), kAnswerBytesMax - 1000);
}

}  // namespace
}  // namespace weir::load
