// base/fork_salt.h: tells the draws of a process and of its forked children apart.
#pragma once

#include <atomic>
#include <cstdint>

namespace weir::internal {

// 0, and in each child that was forked since WatchForks() a number of its own. [hot, concurrent]
inline std::atomic<uint64_t> fork_salt{0};

// [control, concurrent]
void WatchForks() noexcept;

}  // namespace weir::internal
