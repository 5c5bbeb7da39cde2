#include "watchdog.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "native.h"

namespace weir::python {

struct WatchSlot {
  std::atomic<int64_t> deadline_ns{0};  // 0: free
  // Guarded by the GIL.
  unsigned long thread = 0;
  int64_t limit_ns = 0;
  bool fired = false;
};

namespace {

constexpr std::chrono::milliseconds kTick{50};

// Leaked: its thread is joined by StopWatchdog, if anybody calls that.
struct Watchdog {
  std::mutex mutex;
  std::condition_variable wake;
  bool stop = false;
  std::thread thread;
  uint32_t fork_count = ForkCount();
  WatchSlot slots[kWatchesMax];

  bool AnyExpired() const {
    const int64_t now_ns = SteadyNs();
    for (const WatchSlot& slot : slots) {
      const int64_t deadline_ns = slot.deadline_ns.load(std::memory_order_acquire);
      if (deadline_ns != 0 && deadline_ns < now_ns) return true;
    }
    return false;
  }

  void Fire() {
    const int64_t now_ns = SteadyNs();
    for (WatchSlot& slot : slots) {
      const int64_t deadline_ns = slot.deadline_ns.load(std::memory_order_acquire);
      if (deadline_ns == 0 || deadline_ns >= now_ns) continue;
      slot.fired = true;
      slot.deadline_ns.store(now_ns + slot.limit_ns, std::memory_order_release);
      PyThreadState_SetAsyncExc(slot.thread, ErrorClass("DeadlineExceededError").ptr());
    }
  }

  void Run() {
    std::unique_lock lock(mutex);
    while (!wake.wait_for(lock, kTick, [this] { return stop; })) {
      if (!AnyExpired()) continue;
      lock.unlock();  // who stops us holds the GIL until then
      const PyGILState_STATE gil = PyGILState_Ensure();
      Fire();
      PyGILState_Release(gil);
      lock.lock();
    }
  }
};

Watchdog* watchdog = nullptr;  // guarded by the GIL

}  // namespace

int64_t SteadyNs() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Watch::Watch(int64_t limit_ns) {
  for (int i = 0; i < kWatchesMax && watchdog != nullptr; ++i) {
    WatchSlot& slot = watchdog->slots[i];
    if (slot.deadline_ns.load(std::memory_order_relaxed) != 0) continue;
    slot.thread = PyThread_get_thread_ident();
    slot.limit_ns = limit_ns;
    slot.fired = false;
    slot.deadline_ns.store(SteadyNs() + limit_ns, std::memory_order_release);
    slot_ = &slot;
    return;
  }
}

Watch::~Watch() {
  if (slot_ == nullptr) return;
  slot_->deadline_ns.store(0, std::memory_order_release);
  // What is not raised yet would hit the caller.
  if (slot_->fired) PyThreadState_SetAsyncExc(slot_->thread, nullptr);
}

bool Watch::fired() const { return slot_ != nullptr && slot_->fired; }

void StartWatchdog() {
  if (watchdog != nullptr && watchdog->fork_count == ForkCount()) return;
  watchdog = new Watchdog;
  watchdog->thread = std::thread([dog = watchdog] { dog->Run(); });
}

void StopWatchdog() {
  if (watchdog == nullptr || watchdog->fork_count != ForkCount()) return;
  {
    const py::gil_scoped_release release;
    {
      const std::lock_guard lock(watchdog->mutex);
      watchdog->stop = true;
    }
    watchdog->wake.notify_all();
    watchdog->thread.join();
  }
}

}  // namespace weir::python
