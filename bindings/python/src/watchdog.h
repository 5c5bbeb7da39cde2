// watchdog.h: interrupts calls into Python that do not come back.
#pragma once

#include <cstdint>

namespace weir::python {

// While it lives, a call on this thread raises DeadlineExceededError in Python after limit_ns, and
// again after as long if that is caught. A call that waits inside C code is interrupted when that
// returns. At most kWatchesMax calls are watched at one time. REQUIRES: the GIL, at both ends.
inline constexpr int kWatchesMax = 64;
struct WatchSlot;
class Watch {
 public:
  explicit Watch(int64_t limit_ns);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  // Whether it was interrupted.
  bool fired() const;

 private:
  WatchSlot* slot_ = nullptr;  // null: not watched
};

int64_t SteadyNs() noexcept;

// The thread that watches: begins with the first plugin, ends at exit. A child of a fork starts its
// own. REQUIRES: the GIL
void StartWatchdog();
void StopWatchdog();

}  // namespace weir::python
