#include "load/source.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

namespace weir::load {
namespace {

std::string Rendered(const Source& source, const Item& item) {
  std::string out = "{";
  source.Render(item, out);
  return out + "}";
}

size_t WordCount(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), ' '));
}

ConversationPlan SmallPlan() {
  ConversationPlan plan;
  plan.conversations = 6;
  plan.groups = 3;
  plan.system_tokens = Distribution::Fixed(50);
  plan.turns = Distribution::Fixed(3);
  plan.input_tokens = Distribution::Fixed(10);
  plan.output_tokens = Distribution::Fixed(5);
  return plan;
}

TEST(Conversations, AppendTheServersAnswers) {
  ConversationPlan plan = SmallPlan();
  plan.conversations = 1;
  const auto source = CreateConversationSource(plan, {});
  Item item;
  int64_t ready_ns = 0;
  ASSERT_EQ(source->Next(0, &item, &ready_ns), Offer::kItem);
  EXPECT_EQ(item.turn, 0u);
  EXPECT_EQ(item.prompt_tokens, 60u);
  EXPECT_EQ(item.output_tokens, 5u);
  EXPECT_EQ(source->Next(0, &item, &ready_ns), Offer::kBlocked);
  const auto first = nlohmann::json::parse(Rendered(*source, item));
  ASSERT_EQ(first["messages"].size(), 2u);
  EXPECT_EQ(first["messages"][0]["role"], "system");
  EXPECT_EQ(WordCount(first["messages"][0]["content"]), 50u);
  EXPECT_EQ(WordCount(first["messages"][1]["content"]), 10u);

  source->Finish(item, "fine \\\"thanks\\\"", 5);
  ASSERT_EQ(source->Next(5, &item, &ready_ns), Offer::kItem);
  EXPECT_EQ(item.turn, 1u);
  EXPECT_EQ(item.prompt_tokens, 75u);
  const auto second = nlohmann::json::parse(Rendered(*source, item));
  ASSERT_EQ(second["messages"].size(), 4u);
  EXPECT_EQ(second["messages"][1], first["messages"][1]);
  EXPECT_EQ(second["messages"][2]["role"], "assistant");
  EXPECT_EQ(second["messages"][2]["content"], "fine \"thanks\"");

  // A failed turn goes on with made-up words, so that every policy sends as many requests.
  source->Finish(item, "", 6);
  ASSERT_EQ(source->Next(6, &item, &ready_ns), Offer::kItem);
  const auto third = nlohmann::json::parse(Rendered(*source, item));
  EXPECT_EQ(WordCount(third["messages"][4]["content"]), 5u);
  source->Finish(item, "x", 7);
  EXPECT_EQ(source->Next(7, &item, &ready_ns), Offer::kEnd);
}

TEST(Conversations, CompletionsGetOneGrowingPrompt) {
  ConversationPlan plan = SmallPlan();
  plan.api = Api::kCompletions;
  plan.conversations = 1;
  plan.answer_history = false;
  const auto source = CreateConversationSource(plan, {});
  Item item;
  int64_t ready_ns = 0;
  ASSERT_EQ(source->Next(0, &item, &ready_ns), Offer::kItem);
  const std::string first = nlohmann::json::parse(Rendered(*source, item))["prompt"];
  EXPECT_EQ(WordCount(first), 60u);
  source->Finish(item, "ignored", 1);
  ASSERT_EQ(source->Next(1, &item, &ready_ns), Offer::kItem);
  const std::string second = nlohmann::json::parse(Rendered(*source, item))["prompt"];
  EXPECT_EQ(second.substr(0, first.size()), first);
  EXPECT_EQ(WordCount(second), 75u);
  EXPECT_EQ(second.find("ignored"), std::string::npos);
}

TEST(Conversations, ShareTheSystemPromptWithinAGroupOnly) {
  const ConversationPlan plan = SmallPlan();
  const auto source = CreateConversationSource(plan, {});
  std::map<std::string, std::set<uint32_t>> groups_by_prompt;
  Item item;
  int64_t ready_ns = 0;
  for (uint32_t i = 0; i < plan.conversations; ++i) {
    ASSERT_EQ(source->Next(0, &item, &ready_ns), Offer::kItem);
    const auto body = nlohmann::json::parse(Rendered(*source, item));
    groups_by_prompt[body["messages"][0]["content"]].insert(GroupOf(plan, item.conversation));
  }
  EXPECT_EQ(groups_by_prompt.size(), 3u);
  for (const auto& [prompt, groups] : groups_by_prompt) EXPECT_EQ(groups.size(), 1u);
}

TEST(Conversations, SpreadGroupsEvenlyInChangingOrder) {
  ConversationPlan plan = SmallPlan();
  plan.groups = 8;
  std::map<uint32_t, int> counts;
  std::set<std::vector<uint32_t>> orders;
  for (uint64_t round = 0; round < 10; ++round) {
    std::vector<uint32_t> order;
    for (uint64_t i = 0; i < 8; ++i) {
      order.push_back(GroupOf(plan, round * 8 + i));
      ++counts[order.back()];
    }
    orders.insert(order);
  }
  for (const auto& [group, count] : counts) EXPECT_EQ(count, 10) << group;
  EXPECT_GE(orders.size(), 9u);
}

TEST(Conversations, EqualSeedsGiveEqualRequestsAndShardsShareThem) {
  const ConversationPlan plan = SmallPlan();
  const auto all = CreateConversationSource(plan, {});
  std::map<uint64_t, std::string> expected;
  Item item;
  int64_t ready_ns = 0;
  for (int i = 0; i < 6; ++i) {
    ASSERT_EQ(all->Next(0, &item, &ready_ns), Offer::kItem);
    expected[item.conversation] = Rendered(*all, item);
  }
  size_t found = 0;
  for (uint32_t shard = 0; shard < 4; ++shard) {
    const auto part = CreateConversationSource(plan, {shard, 4});
    while (part->Next(0, &item, &ready_ns) == Offer::kItem) {
      EXPECT_EQ(item.conversation % 4, shard);
      EXPECT_EQ(Rendered(*part, item), expected[item.conversation]);
      ++found;
    }
  }
  EXPECT_EQ(found, 6u);
  ConversationPlan other = plan;
  other.seed = 2;
  const auto reseeded = CreateConversationSource(other, {});
  ASSERT_EQ(reseeded->Next(0, &item, &ready_ns), Offer::kItem);
  EXPECT_NE(Rendered(*reseeded, item), expected[item.conversation]);
}

TEST(Conversations, KeepToTheActiveLimitAndThinkBetweenTurns) {
  ConversationPlan plan = SmallPlan();
  plan.active_max = 2;
  plan.think_ms = Distribution::Fixed(10);
  const auto source = CreateConversationSource(plan, {});
  Item first, second, next;
  int64_t ready_ns = 0;
  ASSERT_EQ(source->Next(0, &first, &ready_ns), Offer::kItem);
  ASSERT_EQ(source->Next(0, &second, &ready_ns), Offer::kItem);
  EXPECT_EQ(source->Next(0, &next, &ready_ns), Offer::kBlocked);
  source->Finish(second, "a", 1'000'000);
  ASSERT_EQ(source->Next(1'000'000, &next, &ready_ns), Offer::kLater);
  EXPECT_EQ(ready_ns, 11'000'000);
  ASSERT_EQ(source->Next(11'000'000, &next, &ready_ns), Offer::kItem);
  EXPECT_EQ(next.conversation, second.conversation);
  EXPECT_EQ(next.turn, 1u);
}

TEST(Conversations, DoNotReturnInAFixedOrder) {
  // With a fixed order a round robin over 4 servers would always hit the same one.
  ConversationPlan plan = SmallPlan();
  plan.conversations = 40;
  const auto source = CreateConversationSource(plan, {});
  Item item;
  int64_t ready_ns = 0;
  std::vector<Item> items(40);
  for (Item& each : items) ASSERT_EQ(source->Next(0, &each, &ready_ns), Offer::kItem);
  for (const Item& each : items) source->Finish(each, "a", 1);
  int same_server = 0;
  for (uint64_t i = 0; i < 40; ++i) {
    ASSERT_EQ(source->Next(1, &item, &ready_ns), Offer::kItem);
    same_server += item.conversation % 4 == i % 4;
  }
  EXPECT_LT(same_server, 25);
}

TEST(Conversations, RepeatForEverWithTheSameText) {
  ConversationPlan plan = SmallPlan();
  plan.conversations = 2;
  plan.turns = Distribution::Fixed(1);
  plan.repeat = true;
  const auto source = CreateConversationSource(plan, {});
  Item item;
  int64_t ready_ns = 0;
  std::set<std::string> prompts;
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(source->Next(i, &item, &ready_ns), Offer::kItem);
    prompts.insert(Rendered(*source, item));
    source->Finish(item, "a", i);
  }
  EXPECT_EQ(prompts.size(), 2u);
}

TEST(TraceReplay, GivesEqualIdsEqualText) {
  std::istringstream in(
      "{\"timestamp\":0,\"input_length\":1000,\"output_length\":5,\"hash_ids\":[7,8]}\n"
      "{\"timestamp\":1,\"input_length\":1024,\"output_length\":0,\"hash_ids\":[7,9]}\n");
  const auto trace = Trace::Read(in, "t", {});
  ASSERT_TRUE(trace.ok());
  const auto source = CreateTraceSource(*trace, {.api = Api::kCompletions}, {});
  Item one, two, none;
  int64_t ready_ns = 0;
  ASSERT_EQ(source->Next(0, &one, &ready_ns), Offer::kItem);
  ASSERT_EQ(source->Next(0, &two, &ready_ns), Offer::kItem);
  EXPECT_EQ(source->Next(0, &none, &ready_ns), Offer::kEnd);
  const std::string first = nlohmann::json::parse(Rendered(*source, one))["prompt"];
  const std::string second = nlohmann::json::parse(Rendered(*source, two))["prompt"];
  EXPECT_EQ(WordCount(first), 1000u);
  EXPECT_EQ(WordCount(second), 1024u);
  EXPECT_EQ(two.output_tokens, 1u);
  size_t common = 0;
  while (common < first.size() && first[common] == second[common]) ++common;
  EXPECT_GE(WordCount(first.substr(0, common)), 512u);
  EXPECT_LE(WordCount(first.substr(0, common)), 516u);
}

TEST(TraceReplay, ScalesLengths) {
  std::istringstream in(
      "{\"timestamp\":0,\"input_length\":1000,\"output_length\":50,\"hash_ids\":[7,8]}\n");
  const auto trace = Trace::Read(in, "t", {});
  const auto source = CreateTraceSource(*trace, {.scale = 0.1}, {});
  Item item;
  int64_t ready_ns = 0;
  ASSERT_EQ(source->Next(0, &item, &ready_ns), Offer::kItem);
  EXPECT_EQ(item.prompt_tokens, 100u);
  EXPECT_EQ(item.output_tokens, 5u);
  const auto body = nlohmann::json::parse(Rendered(*source, item));
  EXPECT_EQ(WordCount(body["messages"][0]["content"]), 100u);
}

TEST(Fixed, SendsTheSameBytesForEver) {
  const auto source = CreateFixedSource(Api::kChat, 2048, 8);
  Item item;
  int64_t ready_ns = 0;
  ASSERT_EQ(source->Next(0, &item, &ready_ns), Offer::kItem);
  const std::string first = Rendered(*source, item);
  const auto body = nlohmann::json::parse(first);
  EXPECT_EQ(body["messages"][0]["content"].get<std::string>().size(), 2048u);
  ASSERT_EQ(source->Next(0, &item, &ready_ns), Offer::kItem);
  EXPECT_EQ(Rendered(*source, item), first);
}

}  // namespace
}  // namespace weir::load
