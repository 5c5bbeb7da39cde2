#include "weir/io/files/file_discovery.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "testing/temp_directory.h"

namespace weir::io {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kDeadlineNs = 10'000'000'000;

class RecordingSink final : public FileDiscoverySink {
 public:
  void OnEndpoints(std::span<const DiscoveredEndpoint> endpoints,
                   std::span<const std::string> problems) override {
    names.clear();
    for (const DiscoveredEndpoint& endpoint : endpoints) names.push_back(endpoint.name);
    last_problems.assign(problems.begin(), problems.end());
    ++loads;
  }
  void OnUnusable(std::string_view reason) override { reasons.emplace_back(reason); }

  std::vector<std::string> names;
  std::vector<std::string> last_problems;
  std::vector<std::string> reasons;
  int loads = 0;
};

std::string Endpoints(const std::vector<std::string>& names) {
  std::string text = "endpoints:\n";
  for (const std::string& name : names) {
    absl::StrAppend(&text, "- {name: ", name, ", address: h, port: 80}\n");
  }
  return text;
}

class FileDiscoveryTest : public testing::Test {
 protected:
  void Start(bool watch = true, int64_t recheck_ns = 3600'000'000'000) {
    auto discovery = FileDiscovery::Create(*loop_,
                                           {.path = path_.string(),
                                            .watch_file = watch,
                                            .settle_ns = 5'000'000,
                                            .recheck_ns = recheck_ns},
                                           sink_);
    ASSERT_TRUE(discovery.ok()) << discovery.status();
    discovery_ = *std::move(discovery);
  }
  std::string StartError() {
    return std::string(
        FileDiscovery::Create(*loop_, {.path = path_.string()}, sink_).status().message());
  }

  // Runs the loop until done() or the deadline.
  template <typename F>
  bool RunUntil(F done) {
    const int64_t end_ns = SystemClock().now_ns() + kDeadlineNs;
    while (!done() && SystemClock().now_ns() < end_ns) loop_->RunOnce(100'000'000);
    return done();
  }

  const TempDirectory temporary_;
  const fs::path& directory_ = temporary_.path();
  fs::path path_ = directory_ / "endpoints.yaml";
  const std::unique_ptr<EventLoop> loop_ = EventLoop::Create().value();
  RecordingSink sink_;
  std::unique_ptr<FileDiscovery> discovery_;
};

TEST_F(FileDiscoveryTest, FirstLoadKeepsGoodEntries) {
  WriteFile(path_, Endpoints({"a", "b"}) + "- {name: c, address: h, port: 0}\n");
  Start(false);
  EXPECT_EQ(discovery_->current().endpoints.size(), 2u);
  EXPECT_THAT(discovery_->current().problems,
              ElementsAre(absl::StrCat(path_.string(),
                                       ":4: endpoints[2].port: 0, expected 1..65535; "
                                       "the other 2 endpoints are in use")));
  EXPECT_EQ(sink_.loads, 0);
}

TEST_F(FileDiscoveryTest, OnlyAFileWithoutUsableEntryFailsTheStart) {
  EXPECT_EQ(StartError(), path_.string() + ": No such file or directory");
  WriteFile(path_, "endpoints: [{name: a}]");
  EXPECT_THAT(StartError(), HasSubstr("no usable endpoint among 1 entries\n"));
  WriteFile(path_, "endpoints: {");
  EXPECT_THAT(StartError(), HasSubstr("not YAML or JSON"));
}

TEST_F(FileDiscoveryTest, AnEmptyListIsAStart) {
  WriteFile(path_, "endpoints: []");
  Start(false);
  EXPECT_THAT(discovery_->current().endpoints, ElementsAre());
  EXPECT_THAT(discovery_->current().problems, ElementsAre());
}

TEST_F(FileDiscoveryTest, APipeOrDirectoryIsRefusedWithoutBlocking) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(StartError(), path_.string() + ": not a regular file");
  fs::remove(path_);
  fs::create_directory(path_);
  EXPECT_EQ(StartError(), path_.string() + ": not a regular file");
}

TEST_F(FileDiscoveryTest, SeesWritesInPlace) {
  WriteFile(path_, Endpoints({"a"}));
  Start();
  WriteFile(path_, Endpoints({"a", "b"}));
  ASSERT_TRUE(RunUntil([&] { return sink_.loads == 1; }));
  EXPECT_THAT(sink_.names, ElementsAre("a", "b"));
}

TEST_F(FileDiscoveryTest, SeesAtomicRename) {
  WriteFile(path_, Endpoints({"a"}));
  Start();
  WriteFile(directory_ / "new", Endpoints({"b"}));
  fs::rename(directory_ / "new", path_);
  ASSERT_TRUE(RunUntil([&] { return sink_.loads == 1; }));
  EXPECT_THAT(sink_.names, ElementsAre("b"));
}

// A mounted ConfigMap: the file is a link through ..data, which is swapped for another directory.
TEST_F(FileDiscoveryTest, SeesTheLinkSwapOfAConfigMap) {
  fs::create_directory(directory_ / "..one");
  fs::create_directory(directory_ / "..two");
  WriteFile(directory_ / "..one" / "endpoints.yaml", Endpoints({"a"}));
  WriteFile(directory_ / "..two" / "endpoints.yaml", Endpoints({"b"}));
  fs::create_directory_symlink("..one", directory_ / "..data");
  fs::create_symlink("..data/endpoints.yaml", path_);
  Start();
  fs::create_directory_symlink("..two", directory_ / "..data_tmp");
  fs::rename(directory_ / "..data_tmp", directory_ / "..data");
  ASSERT_TRUE(RunUntil([&] { return sink_.loads == 1; }));
  EXPECT_THAT(sink_.names, ElementsAre("b"));
}

TEST_F(FileDiscoveryTest, KeepsEndpointsWhileTheFileIsUnusable) {
  WriteFile(path_, Endpoints({"a"}));
  Start();
  fs::remove(path_);
  ASSERT_TRUE(RunUntil([&] { return sink_.reasons.size() == 1; }));
  EXPECT_EQ(sink_.reasons[0],
            path_.string() + ": No such file or directory; the 1 endpoints of before stay in use");
  WriteFile(path_, "endpoints: {");
  ASSERT_TRUE(RunUntil([&] { return sink_.reasons.size() == 2; }));
  EXPECT_THAT(sink_.reasons[1], HasSubstr("not YAML or JSON"));
  WriteFile(path_, "endpoints: [{name: x}]");
  ASSERT_TRUE(RunUntil([&] { return sink_.reasons.size() == 3; }));
  EXPECT_THAT(sink_.reasons[2], HasSubstr("no usable endpoint among 1 entries, first "));
  EXPECT_EQ(discovery_->current().endpoints.size(), 1u);
  EXPECT_EQ(discovery_->unusable_count(), 3u);

  // The old bytes come back: nothing changed, so nothing is reported; then a new version counts.
  WriteFile(path_, Endpoints({"a"}));
  discovery_->Reload();
  EXPECT_EQ(sink_.loads, 0);
  WriteFile(path_, Endpoints({"c"}));
  ASSERT_TRUE(RunUntil([&] { return sink_.loads == 1; }));
  EXPECT_THAT(sink_.names, ElementsAre("c"));
}

TEST_F(FileDiscoveryTest, AnEmptyListOnReloadEmptiesThePool) {
  WriteFile(path_, Endpoints({"a"}));
  Start();
  WriteFile(path_, "endpoints: []\n");
  ASSERT_TRUE(RunUntil([&] { return sink_.loads == 1; }));
  EXPECT_THAT(sink_.names, IsEmpty());
}

TEST_F(FileDiscoveryTest, ABadEntryOnReloadLeavesTheOthers) {
  WriteFile(path_, Endpoints({"a", "b"}));
  Start();
  WriteFile(path_, Endpoints({"a"}) + "- {name: b, address: h, port: none}\n");
  ASSERT_TRUE(RunUntil([&] { return sink_.loads == 1; }));
  EXPECT_THAT(sink_.names, ElementsAre("a"));
  EXPECT_EQ(sink_.last_problems.size(), 1u);
}

TEST_F(FileDiscoveryTest, ChangesOfOtherFilesAndCommentsAreNoChange) {
  WriteFile(path_, Endpoints({"a"}));
  Start();
  WriteFile(directory_ / "other", "x");
  discovery_->Reload();
  WriteFile(path_, "# note\n" + Endpoints({"a"}));
  discovery_->Reload();
  EXPECT_EQ(sink_.loads, 0);
  EXPECT_EQ(discovery_->reload_count(), 0u);
}

// The directory is replaced, so its watch is dead; the periodic look finds the new one.
TEST_F(FileDiscoveryTest, RecheckFindsAReplacedDirectory) {
  const fs::path inner = directory_ / "inner";
  fs::create_directory(inner);
  path_ = inner / "endpoints.yaml";
  WriteFile(path_, Endpoints({"a"}));
  Start(true, 20'000'000);
  fs::rename(inner, directory_ / "old");
  fs::create_directory(inner);
  WriteFile(path_, Endpoints({"b"}));
  ASSERT_TRUE(RunUntil([&] { return sink_.loads == 1; }));
  EXPECT_THAT(sink_.names, ElementsAre("b"));
  WriteFile(path_, Endpoints({"c"}));
  ASSERT_TRUE(RunUntil([&] { return sink_.loads == 2; }));
  EXPECT_THAT(sink_.names, ElementsAre("c"));
}

}  // namespace
}  // namespace weir::io
