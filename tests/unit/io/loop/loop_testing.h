// What the tests of the loop share: a loop that is driven until something holds, and socket pairs.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <memory>
#include <utility>

#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/stream.h"
#include "weir/io/loop/unique_fd.h"

namespace weir::io {

inline constexpr int64_t kTestDeadlineNs = 20'000'000'000;

// Runs turns until `done()` holds; false when it does not within the deadline.
template <typename Done>
bool RunUntil(EventLoop& loop, Done done) {
  const int64_t deadline_ns = SystemClock().now_ns() + kTestDeadlineNs;
  while (!done()) {
    if (SystemClock().now_ns() > deadline_ns) return false;
    loop.RunOnce(10 * kTickNs);
  }
  return true;
}

struct FdPair {
  UniqueFd first;
  UniqueFd second;
};

// Two connected non-blocking sockets; `buffer_bytes` > 0 makes their buffers about that small.
inline FdPair MakePair(int buffer_bytes = 0) {
  int fds[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
  for (const int fd : fds) {
    if (buffer_bytes == 0) continue;
    ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes);
    ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes);
  }
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

}  // namespace weir::io
