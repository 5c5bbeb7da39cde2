// weir/io/loop/unique_fd.h: a file descriptor that is closed when its owner goes.
#pragma once

#include <unistd.h>

#include <utility>

namespace weir::io {

// Movable owner of a descriptor; -1 means none.
class UniqueFd {
 public:
  UniqueFd() noexcept = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(other.Release());
    return *this;
  }
  ~UniqueFd() { Reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  // The caller owns the result. [hot, serial]
  [[nodiscard]] int Release() noexcept { return std::exchange(fd_, -1); }
  // Closes what it held and takes `fd`. [hot, serial]
  void Reset(int fd = -1) noexcept {
    const int old = std::exchange(fd_, fd);
    if (old >= 0) ::close(old);
  }

 private:
  int fd_ = -1;
};

}  // namespace weir::io
