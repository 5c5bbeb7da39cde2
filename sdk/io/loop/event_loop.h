// weir/io/loop/event_loop.h: one thread's loop over sockets, timers and calls from other threads.
// Start at EventLoop::Create().
#pragma once

#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/status/statusor.h"
#include "weir/clock.h"
#include "weir/io/loop/buffer_pool.h"
#include "weir/io/loop/intrusive_list.h"
#include "weir/io/loop/timer.h"
#include "weir/io/loop/unique_fd.h"
#include "weir/status.h"

namespace weir::io {

inline constexpr uint32_t kEventsPerBatchMax = 256;     // descriptors served between two waits
inline constexpr uint32_t kPostedTasksMax = 64 * 1024;  // default limit of calls waiting

class Stream;

// What a descriptor has become. Bits.
using Ready = uint32_t;
inline constexpr Ready kReadable = 1;
inline constexpr Ready kWritable = 2;
inline constexpr Ready kPeerClosed = 4;  // the peer has shut down its sending side
inline constexpr Ready kBroken = 8;      // error or both sides closed; the next read or write tells

// Receives the events of one descriptor.
class EventHandler {
 public:
  // Edge-triggered: each change is reported once, so read until a result says would-block or
  // drained, and remember to do so when you stop earlier. Called on the loop's thread. To destroy
  // the handler inside, hand it to EventLoop::Retire(). [hot, serial]
  virtual void OnReady(Ready ready) = 0;

 protected:
  ~EventHandler() = default;
};

// An object that EventLoop::Retire() may destroy later.
class Retirable {
 public:
  virtual ~Retirable() = default;

 private:
  friend class EventLoop;
  Retirable* next_retired_ = nullptr;
};

// A call to a member function once the current turn has served everything else: for work that many
// events of a turn share, such as one write for all that they produced. Lives in its owner;
// destroying it takes it back. Belongs to the thread of its loop.
class TurnEndTask : private ListNode {
 public:
  // As Timer::Calling(). Borrowed: `owner`, as long as the task waits.
  template <auto kMethod, typename Owner>
  static TurnEndTask Calling(Owner& owner) noexcept {
    return TurnEndTask([](void* self) { (static_cast<Owner*>(self)->*kMethod)(); }, &owner);
  }
  TurnEndTask(void (*function)(void*), void* argument) noexcept
      : function_(function), argument_(argument) {}

  bool waiting() const noexcept { return linked(); }
  // Does nothing if it does not wait. [hot, serial]
  void Cancel() noexcept { Unlink(); }

 private:
  friend class EventLoop;
  friend class IntrusiveList<TurnEndTask>;
  void (*function_)(void*);
  void* argument_;
};

// A call handed to a loop by another thread.
class PostedTask {
 public:
  virtual ~PostedTask() = default;
  virtual void Run() = 0;

 private:
  friend class EventLoop;
  std::unique_ptr<PostedTask> next_;
};

struct EventLoopOptions {
  uint32_t posted_tasks_max = kPostedTasksMax;
  size_t retained_bytes_max = kRetainedBytesMaxDefault;  // of buffers()
};

// Waits for descriptors, timers and posted tasks and calls their handlers, one at a time. All
// members belong to the thread that runs the loop, except Post() and Stop(), which any thread may
// call. Everything registered must be unregistered before the loop goes.
class EventLoop {
 public:
  // Borrowed: `clock`, for the loop's life.
  // Errors: kResourceExhausted when the process has no descriptors left.  [control]
  static absl::StatusOr<std::unique_ptr<EventLoop>> Create(const Clock& clock = SystemClock(),
                                                           const EventLoopOptions& options = {});
  // Destroys retired objects; tasks that still wait are destroyed without being run.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Serves events until Stop(). A Stop() that came earlier makes it return after one turn.
  void Run();
  // One turn: waits at most `timeout_ns` (0: not at all, negative: without limit) and no longer
  // than until the next timer, then serves events, posted tasks, due timers, turn-end tasks, and
  // destroys what was retired. Returns how many events, tasks and timers were served.
  uint32_t RunOnce(int64_t timeout_ns);
  // Makes Run() return after its current turn. [concurrent]
  void Stop() noexcept;

  // Reports every change of `fd` to `handler`: readable, writable, closed by the peer, broken.
  // What is already true is reported in the next turn. Borrowed: `handler`, until Unwatch().
  // Errors: kResourceExhausted, the kernel's limit. [hot, serial]
  Code Watch(int fd, EventHandler& handler) noexcept;
  // The same for a stream; a fake one remembers the handler for FakeTransport::Notify().
  Code Watch(Stream& stream, EventHandler& handler) noexcept;
  // Reports as long as `fd` is readable: for listeners and other sources that are cheap to leave
  // unfinished. [control]
  Code WatchReadable(int fd, EventHandler& handler) noexcept;
  // No call to `handler` follows, not even for events of the current turn. A handler watches one
  // descriptor at a time. Call it before closing the descriptor. [hot, serial]
  void Unwatch(int fd, EventHandler& handler) noexcept;
  // Unwatches and closes at once, which saves the kernel a call. [hot, serial]
  void Close(Stream& stream, EventHandler& handler) noexcept;

  // (Re)arms `timer` to fire `delay_ns` after now_ns(), rounded up to milliseconds. [hot, serial]
  void Arm(Timer& timer, int64_t delay_ns) noexcept { wheel_.Arm(timer, now_ns() + delay_ns); }

  // Runs `task` once at the end of this turn, or of the next one if turn-end tasks already run or
  // no turn is under way; that turn does not wait. Does nothing if it waits already. [hot, serial]
  void AtTurnEnd(TurnEndTask& task) noexcept {
    if (!task.waiting()) turn_end_.PushBack(task);
  }

  // Runs `task` on the loop's thread, tasks of one thread in order.
  // Errors: kResourceExhausted when posted_tasks_max tasks wait; the task is then destroyed.
  // [concurrent]
  Code Post(std::unique_ptr<PostedTask> task);
  // The same for a callable without arguments. Allocates once. [concurrent]
  template <typename F>
  Code PostCall(F function) {
    return Post(std::make_unique<CallTask<F>>(std::move(function)));
  }

  // Destroys `object` at the end of this turn. It must have no armed timer and no watched
  // descriptor any more. [hot, serial]
  void Retire(std::unique_ptr<Retirable> object) noexcept;

  // The time at which this turn began to serve events, so that a turn reads the clock once; outside
  // of turns the clock's. [hot, serial]
  int64_t now_ns() const noexcept { return serving_ ? now_ns_ : clock_->now_ns(); }
  const Clock& clock() const noexcept { return *clock_; }
  BufferPool& buffers() noexcept { return buffers_; }

 private:
  template <typename F>
  class CallTask final : public PostedTask {
   public:
    explicit CallTask(F function) : function_(std::move(function)) {}
    void Run() override { function_(); }

   private:
    F function_;
  };

  EventLoop(const Clock& clock, const EventLoopOptions& options, UniqueFd epoll, UniqueFd wake);
  Code Add(int fd, EventHandler* handler, uint32_t epoll_events) noexcept;
  int WaitMs(int64_t timeout_ns) noexcept;
  uint32_t ServeEvents(int count);
  uint32_t RunPosted();
  uint32_t RunTurnEnd();
  void Wake() noexcept;
  void Forget(EventHandler& handler) noexcept;
  void Bury() noexcept;

  const Clock* clock_;
  int64_t now_ns_;
  bool serving_ = false;
  UniqueFd epoll_;
  UniqueFd wake_;
  TimerWheel wheel_;
  IntrusiveList<TurnEndTask> turn_end_;
  BufferPool buffers_;
  std::array<epoll_event, kEventsPerBatchMax> batch_;
  uint32_t batch_next_ = 0;
  uint32_t batch_count_ = 0;
  Retirable* retired_ = nullptr;
  uint32_t posted_tasks_max_;
  std::atomic<bool> stop_ = false;

  std::mutex posted_mutex_;
  std::unique_ptr<PostedTask> posted_first_;  // guarded by posted_mutex_, as are the next two
  PostedTask* posted_last_ = nullptr;
  uint32_t posted_count_ = 0;
};

}  // namespace weir::io
