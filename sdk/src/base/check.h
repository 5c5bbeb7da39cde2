// base/check.h: invariants. WEIR_DCHECK for debug, sanitizer and fuzz builds; WEIR_BUG_IF for what
// cannot happen in release.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace weir::internal {

// How often WEIR_BUG_IF was true in this process.
inline std::atomic<uint64_t> bug_count{0};

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "%s:%d: %s\n", file, line, condition);
  std::abort();
}

inline bool CountBug(bool bug, [[maybe_unused]] const char* file, [[maybe_unused]] int line,
                     [[maybe_unused]] const char* condition) {
  if (bug) [[unlikely]] {
#ifdef WEIR_DCHECKS
    CheckFailed(file, line, condition);
#else
    bug_count.fetch_add(1, std::memory_order_relaxed);
#endif
  }
  return bug;
}

}  // namespace weir::internal

// Aborts if an invariant does not hold, in builds with WEIR_DCHECKS; otherwise nothing.
#ifdef WEIR_DCHECKS
#define WEIR_DCHECK(condition) \
  ((condition) ? (void)0 : ::weir::internal::CheckFailed(__FILE__, __LINE__, #condition))
#else
#define WEIR_DCHECK(condition) ((void)sizeof(!(condition)))
#endif

// True if the impossible happened: counted in release, so that the caller can take the safe branch;
// aborts in builds with WEIR_DCHECKS.
#define WEIR_BUG_IF(condition) \
  ::weir::internal::CountBug(static_cast<bool>(condition), __FILE__, __LINE__, #condition)
