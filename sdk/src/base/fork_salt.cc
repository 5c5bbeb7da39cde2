#include "base/fork_salt.h"

#include <pthread.h>
#include <unistd.h>

namespace weir::internal {

void WatchForks() noexcept {
  [[maybe_unused]] static const int watched = pthread_atfork(nullptr, nullptr, [] {
    fork_salt.store(static_cast<uint64_t>(getpid()), std::memory_order_relaxed);
  });
}

}  // namespace weir::internal
