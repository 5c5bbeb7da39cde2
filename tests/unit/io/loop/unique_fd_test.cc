#include "weir/io/loop/unique_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <utility>

namespace weir::io {
namespace {

bool IsOpen(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

TEST(UniqueFd, ClosesExactlyOnceAndMoves) {
  int raw = -1;
  {
    UniqueFd one(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    raw = one.get();
    ASSERT_TRUE(one);
    UniqueFd two = std::move(one);
    EXPECT_FALSE(one);
    EXPECT_EQ(two.get(), raw);
    UniqueFd& same = two;
    two = std::move(same);
    EXPECT_TRUE(IsOpen(raw));
  }
  EXPECT_FALSE(IsOpen(raw));
}

TEST(UniqueFd, ReleaseGivesItAwayAndResetReplacesIt) {
  UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int raw = fd.Release();
  fd.Reset();
  EXPECT_TRUE(IsOpen(raw));
  fd.Reset(raw);
  fd.Reset();
  EXPECT_FALSE(IsOpen(raw));
}

}  // namespace
}  // namespace weir::io
