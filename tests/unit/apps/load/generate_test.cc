#include "load/generate.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>

namespace weir::load {
namespace {

GeneratePlan SmallPlan() {
  GeneratePlan plan;
  plan.conversations.conversations = 20;
  plan.conversations.groups = 4;
  plan.conversations.system_tokens = Distribution::Fixed(1024);
  plan.conversations.turns = Distribution::Fixed(3);
  plan.conversations.input_tokens = Distribution::Fixed(300);
  plan.conversations.output_tokens = Distribution::Fixed(212);
  return plan;
}

std::string Generated(const GeneratePlan& plan) {
  std::string text;
  const absl::Status status =
      GenerateTrace(plan, [&](const TraceRecord& record) { AppendTraceLine(record, text); });
  EXPECT_TRUE(status.ok()) << status;
  return text;
}

TEST(Generate, WritesATraceThatTheReaderTakes) {
  const std::string text = Generated(SmallPlan());
  std::istringstream in(text);
  const auto trace = Trace::Read(in, "generated", {});
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->entries().size(), 60u);
  std::set<uint64_t> first_blocks;
  double last_ms = 0;
  for (const Trace::Entry& entry : trace->entries()) {
    first_blocks.insert(trace->ids(entry)[0]);
    EXPECT_GE(entry.offset_ms, last_ms);
    last_ms = entry.offset_ms;
  }
  EXPECT_EQ(first_blocks.size(), 4u);
}

TEST(Generate, TurnsExtendEachOther) {
  GeneratePlan plan = SmallPlan();
  plan.conversations.conversations = 1;
  std::vector<TraceRecord> records;
  ASSERT_TRUE(GenerateTrace(plan, [&](const TraceRecord& r) { records.push_back(r); }).ok());
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].input_tokens, 1324u);
  EXPECT_EQ(records[1].input_tokens, 1836u);
  EXPECT_EQ(records[2].input_tokens, 2348u);
  // 1024 system tokens, then 512 a turn: full blocks stay, the partial last one changes.
  EXPECT_EQ(records[0].hash_ids, (std::vector<uint64_t>{0, 1, 2}));
  EXPECT_EQ(records[1].hash_ids, (std::vector<uint64_t>{0, 1, 3, 4}));
  EXPECT_EQ(records[2].hash_ids, (std::vector<uint64_t>{0, 1, 3, 5, 6}));
  EXPECT_NEAR(records[1].timestamp_ms - records[0].timestamp_ms, 212 * 20, 1);
}

TEST(Generate, IsDeterministicAndBounded) {
  GeneratePlan plan = SmallPlan();
  EXPECT_EQ(Generated(plan), Generated(plan));
  const std::string before = Generated(plan);
  plan.conversations.seed = 9;
  EXPECT_NE(Generated(plan), before);
  plan.records_max = 7;
  const std::string text = Generated(plan);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 7);
}

TEST(Generate, RefusesARateOfZero) {
  GeneratePlan plan = SmallPlan();
  plan.conversations_per_s = 0;
  EXPECT_FALSE(GenerateTrace(plan, [](const TraceRecord&) {}).ok());
}

}  // namespace
}  // namespace weir::load
