#include "weir/io/files/resources_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "testing/temp_directory.h"

namespace weir::io {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kDeadlineNs = 10'000'000'000;

class RecordingSink final : public ResourcesFileSink {
 public:
  void OnResources(const Resources& resources, std::span<const std::string> problems) override {
    last = resources;
    last_problems.assign(problems.begin(), problems.end());
    ++loads;
  }
  void OnUnusable(std::string_view reason) override { reasons.emplace_back(reason); }

  Resources last;
  std::vector<std::string> last_problems;
  std::vector<std::string> reasons;
  int loads = 0;
};

std::string Objective(std::string_view name, std::string_view priority) {
  return absl::StrCat("---\napiVersion: llm-d.ai/v1alpha2\nkind: InferenceObjective\n",
                      "metadata: {name: ", std::string(name),
                      "}\nspec: {priority: ", std::string(priority), ", poolRef: {name: p}}\n");
}

class ResourcesFileTest : public testing::Test {
 protected:
  absl::Status Start(const std::string& pool_name = "") {
    auto file = ResourcesFile::Create(
        *loop_,
        {.source = {.path = path_.string(), .watch_file = true, .pool_name = pool_name},
         .settle_ns = 5'000'000},
        sink_);
    if (file.ok()) file_ = *std::move(file);
    return file.status();
  }

  template <typename F>
  bool RunUntil(F done) {
    const int64_t end_ns = SystemClock().now_ns() + kDeadlineNs;
    while (!done() && SystemClock().now_ns() < end_ns) loop_->RunOnce(100'000'000);
    return done();
  }

  const TempDirectory temporary_;
  const fs::path& directory_ = temporary_.path();
  fs::path path_ = directory_ / "resources.yaml";
  const std::unique_ptr<EventLoop> loop_ = EventLoop::Create().value();
  RecordingSink sink_;
  std::unique_ptr<ResourcesFile> file_;
};

TEST_F(ResourcesFileTest, FirstLoadKeepsGoodEntries) {
  WriteFile(path_, Objective("a", "1") + Objective("b", "high"));
  ASSERT_TRUE(Start().ok());
  EXPECT_EQ(file_->current().resources.objectives.size(), 1u);
  EXPECT_THAT(file_->current().problems, testing::ElementsAre(HasSubstr(":10: spec.priority")));
  EXPECT_EQ(sink_.loads, 0);
}

TEST_F(ResourcesFileTest, StartsOnlyWithAFileThatCanBeUsed) {
  EXPECT_EQ(Start().code(), absl::StatusCode::kNotFound);
  WriteFile(path_, Objective("a", "high"));
  EXPECT_THAT(std::string(Start().message()), HasSubstr("spec.priority: \"high\""));
  WriteFile(path_, "a: [");
  EXPECT_EQ(Start().code(), absl::StatusCode::kInvalidArgument);
  WriteFile(path_, std::string(kConfigBytesMax + 10, ' '));
  EXPECT_THAT(std::string(Start().message()), HasSubstr("expected at most 1048576"));
  WriteFile(path_, "");
  EXPECT_TRUE(Start().ok()) << "no objectives is a choice";
}

TEST_F(ResourcesFileTest, FollowsChangesAndKeepsWhatWorked) {
  WriteFile(path_, Objective("a", "1"));
  ASSERT_TRUE(Start().ok());
  WriteFile(directory_ / "next", Objective("a", "2") + Objective("b", "3"));
  fs::rename(directory_ / "next", path_);
  ASSERT_TRUE(RunUntil([&] { return sink_.loads == 1; }));
  EXPECT_EQ(sink_.last.objectives.size(), 2u);
  EXPECT_THAT(sink_.last_problems, IsEmpty());

  WriteFile(path_, "a: [");
  ASSERT_TRUE(RunUntil([&] { return sink_.reasons.size() == 1; }));
  EXPECT_THAT(sink_.reasons[0],
              HasSubstr("; the 2 objectives and 0 model rewrites of before stay in use"));
  EXPECT_EQ(file_->current().resources.objectives.size(), 2u);

  WriteFile(path_, "");
  ASSERT_TRUE(RunUntil([&] { return sink_.loads == 2; }));
  EXPECT_THAT(sink_.last.objectives, IsEmpty());
  EXPECT_EQ(file_->reload_count(), 2u);
  EXPECT_EQ(file_->unusable_count(), 1u);
}

TEST_F(ResourcesFileTest, TakesItsOwnPoolOnly) {
  WriteFile(path_, Objective("a", "1"));
  ASSERT_TRUE(Start("other").ok());
  EXPECT_THAT(file_->current().resources.objectives, IsEmpty());
}

}  // namespace
}  // namespace weir::io
