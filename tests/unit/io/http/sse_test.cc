#include "weir/io/http/sse.h"

#include <gtest/gtest.h>

#include <string>

namespace weir::io {
namespace {

struct Scan {
  uint64_t events = 0;
  bool done = false;
  Usage usage;
};

Scan Run(std::string_view text, size_t step) {
  SseScanner events;
  UsageScanner usage;
  uint64_t returned = 0;
  while (!text.empty()) {
    const std::string_view piece = text.substr(0, step);
    text.remove_prefix(piece.size());
    returned += events.Feed(piece);
    usage.Feed(piece);
  }
  EXPECT_EQ(returned, events.data_events());
  return {events.data_events(), events.done_seen(), usage.usage()};
}

// Every split gives the same answer as one piece.
Scan RunAllSplits(std::string_view text) {
  const Scan whole = Run(text, text.size() + 1);
  for (size_t step = 1; step < std::min<size_t>(text.size(), 40); ++step) {
    const Scan split = Run(text, step);
    EXPECT_EQ(split.events, whole.events) << step;
    EXPECT_EQ(split.done, whole.done) << step;
    EXPECT_EQ(split.usage, whole.usage) << step;
  }
  return whole;
}

TEST(SseScannerTest, CountsDataEvents) {
  const Scan scan = RunAllSplits(
      ": ping\n\ndata: {\"a\":1}\n\nevent: x\ndata:two\ndata: lines\n\nid: 4\n\ndata\n\n"
      "datum: no\n\ndata: [DONE]\n\ndata: cut off");
  EXPECT_EQ(scan.events, 3u);
  EXPECT_TRUE(scan.done);
}

TEST(SseScannerTest, AcceptsAllLineEnds) {
  EXPECT_EQ(RunAllSplits("data: a\r\n\r\ndata: b\r\n\r\n").events, 2u);
  EXPECT_EQ(RunAllSplits("data: a\r\rdata: b\r\r").events, 2u);
  EXPECT_EQ(RunAllSplits("data: a\n\r\ndata: b\r\n\n").events, 2u);
  EXPECT_FALSE(RunAllSplits("data: [DONE").done);
}

TEST(SseScannerTest, LongLinesNeedNoMemory) {
  SseScanner scanner;
  scanner.Feed("data: ");
  const std::string block(1 << 16, 'x');
  for (int i = 0; i < 64; ++i) EXPECT_EQ(scanner.Feed(block), 0u);
  EXPECT_EQ(scanner.Feed("\n\n"), 1u);
  EXPECT_LE(sizeof(SseScanner), 32u);
}

TEST(UsageScannerTest, ReadsChatStream) {
  const Scan scan = RunAllSplits(
      "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\n"
      "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":812,\"total_tokens\":909,"
      "\"completion_tokens\":97,\"prompt_tokens_details\":{\"audio\":null,\"cached_tokens\":640}}}"
      "\n\n"
      "data: [DONE]\n\n");
  EXPECT_EQ(scan.usage, (Usage{812, 97, 640}));
}

TEST(UsageScannerTest, ReadsJsonBodiesAndResponsesApi) {
  EXPECT_EQ(
      RunAllSplits("{\"usage\" : { \"prompt_tokens\" : 3 , \"completion_tokens\" : 4 } }").usage,
      (Usage{3, 4, std::nullopt}));
  EXPECT_EQ(RunAllSplits("{\"response\":{\"usage\":{\"input_tokens\":5,\"input_tokens_details\":"
                         "{\"cached_tokens\":2},\"output_tokens\":6,\"output_tokens_details\":"
                         "{\"reasoning_tokens\":1}}}}")
                .usage,
            (Usage{5, 6, 2}));
  EXPECT_EQ(RunAllSplits("{\"usage\":{\"prompt_tokens\":\"7\"}}").usage.prompt_tokens, 7u);
}

TEST(UsageScannerTest, LastCompleteObjectWins) {
  EXPECT_EQ(RunAllSplits("{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n"
                         "{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n"
                         "{\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":9")
                .usage,
            (Usage{1, 2, std::nullopt}));
}

TEST(UsageScannerTest, IgnoresTextThatLooksLikeUsage) {
  EXPECT_EQ(RunAllSplits("{\"content\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":9}\"}").usage,
            Usage{});
  EXPECT_EQ(RunAllSplits("{\"kind\":\"usage\",\"prompt_tokens\":9}").usage, Usage{});
  EXPECT_EQ(RunAllSplits("{\"usage\":[{\"prompt_tokens\":9}]}").usage, Usage{});
  EXPECT_EQ(RunAllSplits("\"\"usage\"\":\"usage\"").usage, Usage{});
}

TEST(UsageScannerTest, OddValuesReadAsNotReported) {
  EXPECT_EQ(RunAllSplits("{\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":1.5}}").usage,
            Usage{});
  EXPECT_EQ(RunAllSplits("{\"usage\":{\"prompt_tokens\":null,\"completion_tokens\":true}}").usage,
            Usage{});
  EXPECT_EQ(RunAllSplits("{\"usage\":{\"x\":{\"prompt_tokens\":4},\"cached_tokens\":3}}").usage,
            Usage{});
  EXPECT_EQ(
      RunAllSplits("{\"usage\":{\"a_name_longer_than_all_we_know\":1,\"prompt_tokens\":2}}").usage,
      (Usage{2, std::nullopt, std::nullopt}));
  // Deeper than anything a server sends: given up, then found again later.
  EXPECT_EQ(RunAllSplits("{\"usage\":{\"a\":" + std::string(100, '[') +
                         " \"usage\":{\"prompt_tokens\":5}")
                .usage.prompt_tokens,
            5u);
  const Scan huge = RunAllSplits("{\"usage\":{\"prompt_tokens\":99999999999999999999999999}}");
  EXPECT_EQ(huge.usage.prompt_tokens, 1ull << 53);
}

TEST(UsageScannerTest, MemoryIsConstant) { EXPECT_LE(sizeof(UsageScanner), 160u); }

}  // namespace
}  // namespace weir::io
