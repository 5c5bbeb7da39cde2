#include "load/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace weir::load {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<Trace> ReadText(const std::string& text, const TraceLimits& limits = {}) {
  std::istringstream in(text);
  return Trace::Read(in, "t.jsonl", limits);
}

std::string Line(int timestamp, int input, int output, const std::string& ids) {
  return "{\"timestamp\": " + std::to_string(timestamp) +
         ", \"input_length\": " + std::to_string(input) +
         ", \"output_length\": " + std::to_string(output) + ", \"hash_ids\": [" + ids + "]}\n";
}

TEST(Trace, ReadsRecordsInOrderOfTime) {
  const auto trace =
      ReadText(Line(500, 600, 7, "1, 2") + "\n" + Line(100, 512, 3, "1") + Line(500, 1, 0, "9"));
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->entries().size(), 3u);
  EXPECT_EQ(trace->entries()[0].offset_ms, 0);
  EXPECT_EQ(trace->entries()[0].input_tokens, 512u);
  EXPECT_EQ(trace->entries()[1].offset_ms, 400);
  EXPECT_EQ(trace->entries()[1].output_tokens, 7u);
  EXPECT_EQ(trace->entries()[2].input_tokens, 1u);
  EXPECT_THAT(trace->ids(trace->entries()[1]), ::testing::ElementsAre(1, 2));
  EXPECT_THAT(trace->ids(trace->entries()[2]), ::testing::ElementsAre(9));
}

TEST(Trace, ReadsTheLastLineWithoutLineFeedAndCarriageReturns) {
  std::string text = Line(0, 1, 1, "5");
  text.back() = '\r';
  text += "\n" + Line(1, 1, 1, "6");
  text.pop_back();
  const auto trace = ReadText(text);
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(trace->entries().size(), 2u);
}

TEST(Trace, NamesFileLineMemberAndExpectation) {
  const struct {
    const char* line;
    const char* text;
  } kCases[] = {
      {"[1]", "t.jsonl:2: not a JSON object"},
      {"{\"timestamp\": 1", "not a JSON object"},
      {"{}", "timestamp: missing, expected milliseconds"},
      {"{\"timestamp\": -1}", "timestamp: -1, expected"},
      {"{\"timestamp\": \"1\"}", "timestamp: \"1\", expected"},
      {"{\"timestamp\": 1e13}", "timestamp"},
      {"{\"timestamp\": 1}", "input_length: missing"},
      {"{\"timestamp\": 1, \"input_length\": 0}", "input_length: 0, expected a whole number 1.."},
      {"{\"timestamp\": 1, \"input_length\": 1.5}", "input_length: 1.5"},
      {"{\"timestamp\": 1, \"input_length\": 99999999999}", "input_length: 99999999999"},
      {"{\"timestamp\": 1, \"input_length\": 1, \"output_length\": -2}", "output_length: -2"},
      {"{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 2}", "hash_ids: missing"},
      {"{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 2, \"hash_ids\": {}}",
       "hash_ids: {}, expected a list"},
      {"{\"timestamp\": 1, \"input_length\": 513, \"output_length\": 2, \"hash_ids\": [1]}",
       "hash_ids: 1 ids, expected 2 for 513 input tokens in blocks of 512"},
      {"{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 2, \"hash_ids\": [-1]}",
       "hash_ids: -1, expected whole numbers"},
  };
  for (const auto& bad : kCases) {
    const auto trace = ReadText(Line(0, 1, 1, "1") + bad.line + "\n");
    ASSERT_FALSE(trace.ok()) << bad.line;
    EXPECT_THAT(std::string(trace.status().message()), HasSubstr(bad.text));
    EXPECT_THAT(std::string(trace.status().message()), HasSubstr("t.jsonl:2: "));
  }
}

TEST(Trace, RefusesAnEmptyFileAndAnEndlessLine) {
  EXPECT_THAT(std::string(ReadText("\n\n").status().message()), HasSubstr("no request"));
  const auto at_limit = ReadText(std::string(kTraceLineBytesMax, ' ') + "\n" + Line(0, 1, 1, "1"));
  EXPECT_TRUE(at_limit.ok()) << at_limit.status();
  const auto endless = ReadText(Line(0, 1, 1, "1") + std::string(kTraceLineBytesMax + 1, ' '));
  EXPECT_EQ(endless.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(Trace, StopsAtItsLimits) {
  std::string text;
  for (int i = 0; i < 10; ++i) text += Line(100 + i * 10, 1, 1, "1");
  EXPECT_EQ(ReadText(text, {.records_max = 4})->entries().size(), 4u);
  EXPECT_EQ(ReadText(text, {.duration_ms_max = 50})->entries().size(), 6u);
  EXPECT_EQ(ReadText(Line(0, 40, 1, "1, 2, 3"), {.block_tokens = 16})->entries().size(), 1u);
}

TEST(Trace, WritesWhatItReads) {
  TraceRecord record{1234, 1025, 77, {3, 18446744073709551615ull, 5}};
  std::string line;
  AppendTraceLine(record, line);
  TraceRecord read;
  ASSERT_TRUE(ParseTraceLine(line, kTraceBlockTokens, &read).ok());
  EXPECT_EQ(read.timestamp_ms, record.timestamp_ms);
  EXPECT_EQ(read.input_tokens, record.input_tokens);
  EXPECT_EQ(read.output_tokens, record.output_tokens);
  EXPECT_EQ(read.hash_ids, record.hash_ids);
}

TEST(Trace, LeadingHitsEndAtTheFirstNewBlock) {
  // 1 2 3 | 1 9 3: the 3 of the second request follows a new block, so it is no hit.
  const auto trace = ReadText(Line(0, 1536, 1, "1, 2, 3") + Line(1, 1536, 1, "1, 9, 3"));
  EXPECT_DOUBLE_EQ(LeadingBlockHitRatio(*trace), 1.0 / 6);
}

}  // namespace
}  // namespace weir::load
