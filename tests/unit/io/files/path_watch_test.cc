#include "weir/io/files/path_watch.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "testing/temp_directory.h"
#include "weir/clock.h"

namespace weir::io {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kTurnNs = 5'000'000;
constexpr int kTurnsMax = 2000;
constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kHourNs = 3600'000'000'000;

class PathWatchTest : public testing::Test {
 protected:
  void Start(int64_t recheck_ns = kHourNs) {
    auto watch = PathWatch::Create(
        *loop_,
        {.path = (directory_ / "file").string(), .settle_ns = kTurnNs, .recheck_ns = recheck_ns},
        [this] { ++changes_; });
    ASSERT_TRUE(watch.ok()) << watch.status();
    watch_ = *std::move(watch);
  }
  void Write(const std::string& name, const std::string& text) {
    WriteFile(directory_ / name, text);
  }
  void WaitForChange() {
    const int before = changes_;
    for (int turn = 0; turn < kTurnsMax && changes_ == before; ++turn) loop_->RunOnce(kTurnNs);
    EXPECT_GT(changes_, before);
  }

  const TempDirectory temporary_;
  const fs::path& directory_ = temporary_.path();
  const std::unique_ptr<EventLoop> loop_ = EventLoop::Create().value();
  std::unique_ptr<PathWatch> watch_;
  int changes_ = 0;
};

TEST_F(PathWatchTest, SaysWhenAFileIsWrittenMovedOrRemoved) {
  Start();
  Write("file", "a");
  WaitForChange();
  Write("other", "b");
  fs::rename(directory_ / "other", directory_ / "file");
  WaitForChange();
  fs::remove(directory_ / "file");
  WaitForChange();
}

TEST_F(PathWatchTest, ManyEventsAreOneChange) {
  Start();
  for (int i = 0; i < 50; ++i) Write("file" + std::to_string(i), "a");
  WaitForChange();
  EXPECT_LT(changes_, 5);
}

TEST_F(PathWatchTest, AFileThatIsBeingWrittenHasNotChangedYet) {
  ManualClock clock;
  const auto loop = EventLoop::Create(clock).value();
  int changes = 0;
  const auto watch =
      PathWatch::Create(*loop, {.path = (directory_ / "file").string()}, [&] { ++changes; });
  const auto advance = [&](int64_t ns) {
    loop->RunOnce(0);  // takes the events of what was done before
    clock.Advance(ns);
    loop->RunOnce(0);
  };
  std::ofstream writer(directory_ / "file");
  writer << "half" << std::flush;
  Write("other", "b");
  advance(kSecondNs);
  EXPECT_EQ(changes, 0);
  writer.close();
  advance(kSecondNs);
  EXPECT_EQ(changes, 1);
  std::ofstream log(directory_ / "log");  // another file that grows is no news
  advance(kSecondNs);
  EXPECT_EQ(changes, 2) << "created";
  log << "line" << std::flush;
  advance(kSecondNs);
  EXPECT_EQ(changes, 2);
  std::ofstream stuck(directory_ / "file");
  stuck << "half" << std::flush;
  advance(20 * kSecondNs);
  EXPECT_EQ(changes, 3) << "who never closes it is not waited for";
}

TEST_F(PathWatchTest, LooksNowAndThenWithoutEvents) {
  Start(kTurnNs);
  WaitForChange();
  WaitForChange();
}

TEST_F(PathWatchTest, ADirectoryMustExist) {
  const auto watch = PathWatch::Create(*loop_, {.path = "/no/such/file"}, [] {});
  EXPECT_EQ(watch.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(watch.status().message().find("/no/such/file"), std::string_view::npos);
}

}  // namespace
}  // namespace weir::io
