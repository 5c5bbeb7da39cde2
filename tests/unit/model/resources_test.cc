#include "weir/resources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "absl/strings/str_cat.h"

namespace weir {
namespace {

using ::testing::HasSubstr;
using Rule = InferenceModelRewrite::Rule;

InferenceModelRewrite Rewrite(std::string name, std::vector<Rule> rules, int64_t created_ns = 0) {
  return {.name = std::move(name), .created_ns = created_ns, .rules = std::move(rules)};
}

Rule To(std::vector<std::string> models, std::string target) {
  return {std::move(models), {{std::move(target)}}};
}

// Which target each of `draws` equally spaced draws takes.
std::map<std::string, int> Shares(const ResourceTable& table, std::string_view model, int draws) {
  std::map<std::string, int> shares;
  for (int i = 0; i < draws; ++i) {
    ++shares[std::string(table.Rewrite(model, (i + 0.5) / draws).value_or("none"))];
  }
  return shares;
}

TEST(ResourceTable, KnowsObjectivesByName) {
  ResourceStore store({.objectives = {{"chat", 10}, {"batch", -5}, {"plain"}}});
  const auto table = store.table();
  EXPECT_EQ(table->Priority("chat"), 10);
  EXPECT_EQ(table->Priority("batch"), -5);
  EXPECT_EQ(table->Priority("plain"), 0);
  EXPECT_EQ(table->Priority("Chat"), std::nullopt);
  EXPECT_EQ(table->Priority(""), std::nullopt);
  EXPECT_EQ(table->objective_count(), 3u);
}

TEST(ResourceTable, OldestRewriteDecidesThenTheFirst) {
  ResourceStore store;
  ASSERT_TRUE(store
                  .Replace({.rewrites = {Rewrite("young", {To({"m"}, "of-young")}, 20),
                                         Rewrite("old", {To({"m"}, "of-old")}, 10),
                                         Rewrite("as-old", {To({"m", "n"}, "second")}, 10)}})
                  .ok());
  EXPECT_EQ(store.table()->Rewrite("m", 0), "of-old");
  EXPECT_EQ(store.table()->Rewrite("n", 0), "second");
  EXPECT_EQ(store.table()->Rewrite("o", 0), std::nullopt);
  EXPECT_EQ(store.table()->Rewrite("", 0), std::nullopt);
}

TEST(ResourceTable, AnExactRuleGoesBeforeAnOlderGenericOne) {
  ResourceStore store;
  ASSERT_TRUE(store
                  .Replace({.rewrites = {Rewrite("all", {To({}, "any")}, 1),
                                         Rewrite("one", {To({"m"}, "exact")}, 9),
                                         Rewrite("late", {To({}, "never")}, 5)}})
                  .ok());
  EXPECT_EQ(store.table()->Rewrite("m", 0), "exact");
  EXPECT_EQ(store.table()->Rewrite("x", 0), "any");
  EXPECT_EQ(store.table()->Rewrite("", 0), "any") << "rescues requests without a model";
}

TEST(ResourceTable, WeightsShareOutTargets) {
  ResourceStore store;
  ASSERT_TRUE(
      store
          .Replace({.rewrites = {Rewrite("weighted", {{{"m"}, {{"a", 1}, {"b", 3}, {"c"}}}}),
                                 Rewrite("alike", {{{"n"}, {{"a"}, {"b"}, {"c"}, {"d"}}}}),
                                 Rewrite("last", {{{"o"}, {{"a"}, {"b", 2}}}})}})
          .ok());
  const auto table = store.table();
  EXPECT_EQ(Shares(*table, "m", 400), (std::map<std::string, int>{{"a", 100}, {"b", 300}}));
  EXPECT_EQ(Shares(*table, "n", 400),
            (std::map<std::string, int>{{"a", 100}, {"b", 100}, {"c", 100}, {"d", 100}}));
  EXPECT_EQ(table->Rewrite("o", 0), "b") << "a target without weight is never chosen beside one";
  EXPECT_EQ(table->Rewrite("m", 0.25), "b") << "the first whose sum exceeds the draw";
  EXPECT_EQ(table->Rewrite("m", 0.9999999999999999), "b");
}

TEST(ResourceTable, CountsChoicesAndKeepsCountingInTheNextTable) {
  const InferenceModelRewrite kept = Rewrite("kept", {{{"m"}, {{"a", 1}, {"b", 1}}}});
  ResourceStore store;
  ASSERT_TRUE(store.Replace({.rewrites = {kept, Rewrite("gone", {To({}, "x")})}}).ok());
  const auto old_table = store.table();
  old_table->Rewrite("m", 0.1);
  old_table->Rewrite("m", 0.9);
  old_table->Rewrite("whatever", 0.9);
  ASSERT_TRUE(store.Replace({.rewrites = {kept}}).ok());
  old_table->Rewrite("m", 0.9);  // a request that still reads the old one
  const std::vector<RewriteCount> counts = store.table()->RewriteCounts();
  ASSERT_EQ(counts.size(), 2u);
  EXPECT_EQ(counts[0].rewrite_name, "kept");
  EXPECT_EQ(counts[0].model, "m");
  EXPECT_EQ(counts[0].target_model, "a");
  EXPECT_EQ(counts[0].decisions, 1u);
  EXPECT_EQ(counts[1].target_model, "b");
  EXPECT_EQ(counts[1].decisions, 2u);
  EXPECT_EQ(old_table->RewriteCounts()[0].model, "*");
}

TEST(ResourceStore, SkipsWhatIsWrongAndUsesTheRest) {
  ResourceStore store;
  const absl::Status status = store.Replace(
      {.objectives = {{"chat", 1}, {"", 2}, {"chat", 3}, {std::string(kNameBytesMax + 1, 'x')}},
       .rewrites = {Rewrite("no-target", {{{"m"}, {}}}), Rewrite("empty", {{{""}, {{"a"}}}}),
                    Rewrite("heavy", {{{"m"}, {{"a", kRewriteWeightMax + 1}}}}),
                    Rewrite("light", {{{"m"}, {{"a", 0}}}}), Rewrite("good", {To({"m"}, "a")})}});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  const std::string text(status.message());
  EXPECT_THAT(text, HasSubstr("objective \"\": name: empty"));
  EXPECT_THAT(text, HasSubstr("objective \"chat\": the name occurs twice"));
  EXPECT_THAT(text, HasSubstr("name: longer than 512 bytes"));
  EXPECT_THAT(text, HasSubstr("\"no-target\": rules[0].targets: empty, expected at least one"));
  EXPECT_THAT(text, HasSubstr("\"empty\": rules[0].matches[0].model.value: empty"));
  EXPECT_THAT(text, HasSubstr("rules[0].targets[0].weight: 1000001, expected 1..1000000"));
  EXPECT_THAT(text, HasSubstr("rules[0].targets[0].weight: 0, expected 1..1000000"));
  EXPECT_THAT(text, HasSubstr("; 1 objectives and 1 model rewrites are in use"));
  EXPECT_EQ(store.table()->Priority("chat"), 1);
  EXPECT_EQ(store.table()->Rewrite("m", 0), "a");
}

TEST(ResourceStore, WhatIsBroughtGoesAboveWhatIsConfigured) {
  ResourceStore store({.objectives = {{"chat", 1}, {"batch", -1}},
                       .rewrites = {Rewrite("r", {To({"m"}, "configured")})}});
  ASSERT_TRUE(store
                  .Replace({.objectives = {{"chat", 7}, {"new", 2}},
                            .rewrites = {Rewrite("r", {To({"m"}, "brought")})}})
                  .ok());
  EXPECT_EQ(store.table()->Priority("chat"), 7);
  EXPECT_EQ(store.table()->Priority("batch"), -1);
  EXPECT_EQ(store.table()->Priority("new"), 2);
  EXPECT_EQ(store.table()->Rewrite("m", 0), "brought");
  ASSERT_TRUE(store.Replace({}).ok());
  EXPECT_EQ(store.table()->Priority("chat"), 1);
  EXPECT_EQ(store.table()->Rewrite("m", 0), "configured");
}

TEST(ResourceStore, HoldsItsLimits) {
  Resources many;
  for (uint32_t i = 0; i <= kObjectivesMax; ++i) {
    many.objectives.push_back({.name = absl::StrCat("o", i)});
  }
  ResourceStore store;
  EXPECT_THAT(std::string(store.Replace(many).message()), HasSubstr("there are 4096 already"));
  EXPECT_EQ(store.table()->objective_count(), kObjectivesMax);

  // One rule with every target that fits, then one more.
  Rule wide{{"a", "b"}, {}};
  for (uint32_t i = 0; i < kRewriteTargetsMax / 2; ++i) wide.targets.push_back({"t"});
  const absl::Status status =
      store.Replace({.rewrites = {Rewrite("wide", {wide}), Rewrite("more", {To({"m"}, "t")})}});
  EXPECT_THAT(std::string(status.message()), HasSubstr("more than 16384 targets"));
  EXPECT_EQ(store.table()->rewrite_count(), 1u);
}

TEST(ResourceReader, FollowsTheStore) {
  ResourceStore store({.objectives = {{"chat", 1}}});
  ResourceReader reader(store);
  EXPECT_EQ(reader.table().Priority("chat"), 1);
  const ResourceTable* same = &reader.table();
  EXPECT_EQ(&reader.table(), same);
  ASSERT_TRUE(store.Replace({.objectives = {{"chat", 2}}}).ok());
  EXPECT_EQ(reader.table().Priority("chat"), 2);
}

TEST(ResourceReader, ReadsWhileTheStoreIsReplaced) {
  ResourceStore store;
  ASSERT_TRUE(store.Replace({.objectives = {{"chat", 0}}}).ok());
  std::atomic<bool> done{false};
  std::thread reading([&] {
    ResourceReader reader(store);
    int32_t last = 0;
    while (!done.load()) {
      const auto priority = reader.table().Priority("chat");
      ASSERT_TRUE(priority.has_value());
      ASSERT_GE(*priority, last);
      last = *priority;
    }
  });
  for (int32_t i = 1; i <= 200; ++i) {
    EXPECT_TRUE(store.Replace({.objectives = {{"chat", i}}}).ok());
  }
  done.store(true);
  reading.join();
}

}  // namespace
}  // namespace weir
