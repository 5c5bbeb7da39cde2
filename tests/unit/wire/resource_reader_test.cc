// Whole files of manifests; entries inside of a pipeline file are cases of tests/golden/config.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "weir/resources.h"

namespace weir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ResourceFile Read(std::string_view text, std::string_view pool = {}) {
  const auto file = ParseResources(text, "r.yaml", pool);
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *file : ResourceFile();
}

constexpr char kFile[] = R"(apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: chat, namespace: default, labels: {a: b}}
spec:
  priority: 10
  poolRef: {group: inference.networking.k8s.io, kind: InferencePool, name: pool}
---
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceObjective
metadata: {name: batch}
spec: {priority: -3, poolRef: {name: other}}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: canary, creationTimestamp: "2026-01-31T12:00:00Z"}
spec:
  poolRef: {name: pool}
  rules:
  - matches: [{model: {value: food}}, {model: {type: Exact, value: drink}}]
    targets: [{modelRewrite: food-v1, weight: 9}, {modelRewrite: food-v2, weight: 1}]
  - targets: [{modelRewrite: base}]
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: pool}
)";

TEST(ParseResources, ReadsBothKindsAndBothGroups) {
  const ResourceFile file = Read(kFile);
  EXPECT_THAT(file.problems, IsEmpty());
  ASSERT_EQ(file.resources.objectives.size(), 2u);
  EXPECT_EQ(file.resources.objectives[0].name, "chat");
  EXPECT_EQ(file.resources.objectives[0].priority, 10);
  EXPECT_EQ(file.resources.objectives[1].priority, -3);
  ASSERT_EQ(file.resources.rewrites.size(), 1u);
  const InferenceModelRewrite& rewrite = file.resources.rewrites[0];
  EXPECT_EQ(rewrite.created_ns, 1769860800'000000000);
  ASSERT_EQ(rewrite.rules.size(), 2u);
  EXPECT_THAT(rewrite.rules[0].models, ElementsAre("food", "drink"));
  EXPECT_EQ(rewrite.rules[0].targets[1].model, "food-v2");
  EXPECT_EQ(rewrite.rules[0].targets[1].weight, 1u);
  EXPECT_THAT(rewrite.rules[1].models, IsEmpty());
  EXPECT_EQ(rewrite.rules[1].targets[0].weight, std::nullopt);
}

TEST(ParseResources, LeavesOutOtherPools) {
  const ResourceFile file = Read(kFile, "pool");
  EXPECT_THAT(file.problems, IsEmpty());
  ASSERT_EQ(file.resources.objectives.size(), 1u);
  EXPECT_EQ(file.resources.objectives[0].name, "chat");
  EXPECT_EQ(file.resources.rewrites.size(), 1u);
}

TEST(ParseResources, ReadsLists) {
  const ResourceFile file = Read(
      R"({"apiVersion": "v1", "kind": "List", "items": [
          {"apiVersion": "llm-d.ai/v1alpha2", "kind": "InferenceObjective", "metadata": {"name": "a"}}]})");
  EXPECT_THAT(file.problems, IsEmpty());
  ASSERT_EQ(file.resources.objectives.size(), 1u);
  EXPECT_EQ(file.resources.objectives[0].priority, 0) << "a spec is not needed";
}

std::string Objective(std::string_view group, std::string_view name, std::string_view spec) {
  return absl::StrCat("---\napiVersion: ", std::string(group),
                      "/v1alpha2\nkind: InferenceObjective\nmetadata: {name: ", std::string(name),
                      "}\nspec: ", std::string(spec), "\n");
}

TEST(ParseResources, OneBadEntryDoesNotTakeTheRestDown) {
  const ResourceFile file = Read(absl::StrCat(
      Objective("llm-d.ai", "high", "{priority: high}"), Objective("llm-d.ai", "good", "{}"),
      Objective("llm-d.ai", "good", "{}"), Objective("llm-d.ai", "typo", "{prioritty: 3}"),
      Objective("llm-d.ai", "''", "{}"), Objective("llm-d.ai", "big", "{priority: 2147483648}"),
      "---\njust a text\n---\napiVersion: llm-d.ai/v1alpha2\nkind: InferenceObjectiv\n",
      "---\napiVersion: llm-d.ai/v1\nkind: InferenceObjective\n"));
  EXPECT_THAT(
      file.problems,
      ElementsAre(
          "r.yaml:5: spec.priority: \"high\", expected an integer of -2147483648..2147483647",
          "r.yaml:14: metadata.name: \"good\" occurs twice, first in line 9",
          "r.yaml:20: spec.prioritty: unknown field",
          "r.yaml:22: metadata.name: missing, expected a name",
          "r.yaml:30: spec.priority: 2147483648, expected an integer of -2147483648..2147483647",
          "r.yaml:32: no manifest, expected apiVersion and kind",
          "r.yaml:35: kind: \"InferenceObjectiv\", expected \"InferenceObjective\" or "
          "\"InferenceModelRewrite\"",
          "r.yaml:37: apiVersion: \"llm-d.ai/v1\", expected \"llm-d.ai/v1alpha2\""));
  ASSERT_EQ(file.resources.objectives.size(), 1u);
  EXPECT_EQ(file.resources.objectives[0].name, "good");
}

TEST(ParseResources, TheNewGroupWinsOverTheOld) {
  const std::string old_one = Objective("inference.networking.x-k8s.io", "a", "{priority: 1}");
  const std::string new_one = Objective("llm-d.ai", "a", "{priority: 2}");
  for (const std::string& text : {old_one + new_one, new_one + old_one}) {
    const ResourceFile file = Read(text);
    EXPECT_THAT(file.problems, IsEmpty());
    ASSERT_EQ(file.resources.objectives.size(), 1u);
    EXPECT_EQ(file.resources.objectives[0].priority, 2);
  }
}

TEST(ParseResources, NamesWhatIsWrongInRewrites) {
  const ResourceFile file = Read(R"(apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: r, creationTimestamp: yesterday}
spec:
  poolRef: {}
  rules:
  - matches: [{model: {type: Prefix, value: a}}, {model: {value: ''}}, {}]
    targets: [{weight: 0, modelRewrite: x}, {weight: 3}]
  - targets: []
  - {matches: 5, targets: {}}
  - text
)");
  EXPECT_THAT(
      file.problems,
      ElementsAre("r.yaml:3: metadata.creationTimestamp: \"yesterday\", expected a time like "
                  "2026-01-31T12:00:00Z",
                  "r.yaml:5: spec.poolRef.name: missing, expected the name of a pool",
                  "r.yaml:7: spec.rules[0].matches[0].model.type: \"Prefix\", expected \"Exact\"",
                  "r.yaml:7: spec.rules[0].matches[1].model.value: empty, expected the name of a "
                  "model",
                  "r.yaml:7: spec.rules[0].matches[2].model: missing, expected a map",
                  "r.yaml:8: spec.rules[0].targets[0].weight: 0, expected an integer of 1..1000000",
                  "r.yaml:8: spec.rules[0].targets[1].modelRewrite: missing, expected the name of "
                  "a model",
                  "r.yaml:9: spec.rules[1].targets: missing, expected at least one target",
                  "r.yaml:10: spec.rules[2].matches: 5, expected a list",
                  "r.yaml:10: spec.rules[2].targets: a map, expected a list",
                  "r.yaml:11: spec.rules[3]: \"text\", expected a map"));
  EXPECT_THAT(file.resources.rewrites, IsEmpty());
}

TEST(ParseResources, KeepsACountedNumberOfProblems) {
  std::string text;
  for (int i = 0; i < 70; ++i) absl::StrAppend(&text, "---\nkind: x\n");
  const ResourceFile file = Read(text);
  ASSERT_EQ(file.problems.size(), kResourceProblemsMax + 1);
  EXPECT_EQ(file.problems.back(), "r.yaml: 6 more problems");
}

TEST(ParseResources, RefusesWhatIsNoYaml) {
  EXPECT_THAT(std::string(ParseResources("a: [", "r.yaml").status().message()),
              HasSubstr("r.yaml:"));
  EXPECT_THAT(
      std::string(
          ParseResources(std::string(kConfigBytesMax + 1, ' '), "r.yaml").status().message()),
      HasSubstr("expected at most 1048576"));
  EXPECT_THAT(Read("").problems, IsEmpty());
  EXPECT_THAT(Read("---\n---\n").problems, IsEmpty());
}

}  // namespace
}  // namespace weir
