#include "weir/sim/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>

#include "sim_testing.h"

namespace weir::sim {
namespace {

using ::testing::HasSubstr;

Workload Make(const ConversationOptions& options) {
  auto workload = Workload::Conversations(options);
  EXPECT_TRUE(workload.ok()) << workload.status();
  return *std::move(workload);
}

TEST(Workload, EachTurnsPromptHoldsAllBefore) {
  const Workload workload = Make({.conversations = 20, .turns = 3, .groups = 4});
  ASSERT_EQ(workload.size(), 60u);
  for (uint32_t i = 0; i < workload.size(); ++i) {
    const Workload::Entry& entry = workload.entries()[i];
    EXPECT_EQ(entry.turn, i % 3);
    EXPECT_EQ(entry.follows, entry.turn == 0 ? kNone : i - 1);
    EXPECT_EQ(entry.followed_by, entry.turn == 2 ? kNone : i + 1);
    if (entry.turn == 0) continue;
    const auto prompt = workload.prompt(i);
    const auto before = workload.prompt(i - 1);
    const auto answer = workload.answer(i - 1);
    ASSERT_GT(prompt.size(), before.size() + answer.size());
    EXPECT_TRUE(std::equal(before.begin(), before.end(), prompt.begin()));
    EXPECT_TRUE(std::equal(answer.begin(), answer.end(), prompt.begin() + before.size()));
  }
}

TEST(Workload, GroupsShareTheSystemPromptAndNothingElse) {
  const Workload workload =
      Make({.conversations = 30, .turns = 1, .groups = 3, .system_tokens = 100});
  for (uint32_t i = 1; i < workload.size(); ++i) {
    const auto first = workload.prompt(0);
    const auto other = workload.prompt(i);
    const size_t shared =
        std::mismatch(first.begin(), first.end(), other.begin(), other.end()).first - first.begin();
    if (workload.entries()[i].group == workload.entries()[0].group) {
      EXPECT_GE(shared, 100u);
      EXPECT_LT(shared, 103u);
    } else {
      EXPECT_LT(shared, 3u);
    }
  }
  EXPECT_EQ(workload.group_count(), 3u);
}

TEST(Workload, EqualSeedsGiveEqualWorkloadsAndLongerSystemPromptsTheSameQuestions) {
  const ConversationOptions options{.conversations = 10, .seed = 7};
  const Workload one = Make(options);
  const Workload same = Make(options);
  ConversationOptions longer = options;
  longer.system_tokens += 500;
  const Workload with_longer = Make(longer);
  ConversationOptions seeded = options;
  seeded.seed = 8;
  const Workload other = Make(seeded);
  for (uint32_t i = 0; i < one.size(); ++i) {
    EXPECT_TRUE(std::ranges::equal(one.prompt(i), same.prompt(i)));
    EXPECT_TRUE(std::ranges::equal(one.answer(i), with_longer.answer(i)));
    EXPECT_EQ(one.entries()[i].arrival_ns, with_longer.entries()[i].arrival_ns);
    EXPECT_EQ(one.prompt(i).size() + 500, with_longer.prompt(i).size());
  }
  EXPECT_FALSE(std::ranges::equal(one.prompt(0), other.prompt(0)));
}

TEST(Workload, ArrivalsComeAtTheRateAndSpreadStaysInItsBounds) {
  const Workload workload = Make({.conversations = 2000,
                                  .turns = 1,
                                  .system_tokens = 0,
                                  .input_tokens = 100,
                                  .spread = 0.5,
                                  .conversations_per_s = 10});
  EXPECT_NEAR(static_cast<double>(workload.entries().back().arrival_ns) / 1e9, 200, 20);
  for (const Workload::Entry& entry : workload.entries()) {
    EXPECT_GE(entry.prompt_tokens, 50u);
    EXPECT_LE(entry.prompt_tokens, 150u);
  }
}

TEST(Workload, SkewMakesTheFirstGroupsPopular) {
  const auto first_groups_share = [](double skew) {
    const Workload workload = Make({.conversations = 2000,
                                    .turns = 1,
                                    .groups = 10,
                                    .group_skew = skew,
                                    .system_tokens = 0,
                                    .input_tokens = 1});
    return std::ranges::count(workload.entries(), 0u, &Workload::Entry::group) / 2000.0;
  };
  EXPECT_NEAR(first_groups_share(0), 0.1, 0.03);
  EXPECT_NEAR(first_groups_share(1), 1 / 2.929, 0.05);  // 1 over the 10th harmonic number
}

TEST(Workload, RefusesOptionsOutOfRangeByName) {
  const std::map<std::string, std::function<void(ConversationOptions&)>> bad = {
      {"conversations", [](auto& o) { o.conversations = 0; }},
      {"turns", [](auto& o) { o.turns = kWorkloadRequestsMax / 2; }},
      {"groups", [](auto& o) { o.groups = kWorkloadGroupsMax + 1; }},
      {"group_skew", [](auto& o) { o.group_skew = std::nan(""); }},
      {"system_tokens", [](auto& o) { o.system_tokens = kRequestTokensMax + 1; }},
      {"input_tokens", [](auto& o) { o.input_tokens = 0; }},
      {"output_tokens", [](auto& o) { o.output_tokens = 0; }},
      {"spread", [](auto& o) { o.spread = 1.01; }},
      {"pause_s", [](auto& o) { o.pause_s = -1; }},
      {"conversations_per_s", [](auto& o) { o.conversations_per_s = 0; }},
      {"arrival and pauses", [](auto& o) { o.pause_s = 5e5; }},
      {"prompts of at most", [](auto& o) { o.system_tokens = kRequestTokensMax; }},
  };
  for (const auto& [field, spoil] : bad) {
    ConversationOptions options;
    spoil(options);
    const auto workload = Workload::Conversations(options);
    ASSERT_EQ(workload.status().code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(std::string(workload.status().message()), HasSubstr(field));
  }
}

TEST(Workload, StopsAtItsTokens) {
  const auto workload = Workload::Conversations(
      {.conversations = 300, .turns = 1, .system_tokens = kRequestTokensMax - 1000});
  EXPECT_EQ(workload.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(Workload, TakesItsRequestsAndNoMore) {
  Workload workload;
  const std::vector<uint32_t> prompt = {1};
  const RequestRecord record{.session = 1, .prompt = prompt, .answer = prompt};
  for (uint32_t i = 0; i < kWorkloadRequestsMax; ++i) ASSERT_TRUE(workload.Add(record).ok());
  EXPECT_EQ(workload.Add(record).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(workload.size(), kWorkloadRequestsMax);
  EXPECT_EQ(workload.entries().back().followed_by, kNone);
}

TEST(Workload, RecordsOfASessionFollowOneAnother) {
  Workload workload;
  const std::vector<uint32_t> prompt = TokensOf(1, 10), answer = TokensOf(2, 5);
  ASSERT_TRUE(workload.Add({.session = 9, .prompt = prompt, .answer = answer}).ok());
  ASSERT_TRUE(workload.Add({.prompt = prompt, .output_tokens = 3}).ok());
  ASSERT_TRUE(workload.Add({.session = 9, .group = 4, .prompt = prompt, .output_tokens = 3}).ok());
  EXPECT_EQ(workload.entries()[0].followed_by, 2u);
  EXPECT_EQ(workload.entries()[1].follows, kNone);
  EXPECT_EQ(workload.entries()[2].follows, 0u);
  EXPECT_EQ(workload.entries()[2].turn, 1u);
  EXPECT_TRUE(std::ranges::equal(workload.answer(0), answer));
  EXPECT_EQ(workload.answer(1).size(), 3u);
  EXPECT_EQ(workload.group_count(), 5u);
}

TEST(Workload, ARefusedRecordChangesNothing) {
  Workload workload;
  const std::vector<uint32_t> prompt = TokensOf(1, 10);
  const RequestRecord good{.session = 1, .prompt = prompt, .output_tokens = 3};
  const std::map<std::string, std::function<void(RequestRecord&)>> bad = {
      {"arrival_s", [](auto& r) { r.arrival_ns = -1; }},
      {"pause_s", [](auto& r) { r.pause_ns = std::numeric_limits<int64_t>::max(); }},
      {"group", [](auto& r) { r.group = kWorkloadGroupsMax; }},
      {"prompt tokens", [](auto& r) { r.prompt = {}; }},
      {"output_tokens", [](auto& r) { r.output_tokens = kRequestTokensMax + 1; }},
      {"output_tokens", [](auto& r) { r.output_tokens = 0; }},
  };
  for (const auto& [field, spoil] : bad) {
    RequestRecord record = good;
    spoil(record);
    const absl::Status status = workload.Add(record);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(field));
  }
  EXPECT_EQ(workload.size(), 0u);
  // Each pause is in range, together they are not.
  RequestRecord late = good;
  late.pause_ns = 600'000'000'000'000;
  ASSERT_TRUE(workload.Add(late).ok());
  ASSERT_TRUE(workload.Add(late).ok());
  EXPECT_EQ(workload.Add(late).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(workload.size(), 2u);
  EXPECT_EQ(workload.entries()[1].followed_by, kNone);
}

}  // namespace
}  // namespace weir::sim
