#include "weir/io/loop/event_loop.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <string>

#include "weir/io/loop/stream.h"

namespace weir::io {
namespace {

Ready FromEpoll(uint32_t events) noexcept {
  Ready ready = 0;
  if (events & EPOLLIN) ready |= kReadable;
  if (events & EPOLLOUT) ready |= kWritable;
  if (events & EPOLLRDHUP) ready |= kPeerClosed;
  if (events & (EPOLLHUP | EPOLLERR)) ready |= kBroken;
  return ready;
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create(const Clock& clock,
                                                             const EventLoopOptions& options) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  UniqueFd wake(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!epoll || !wake) {
    return absl::ResourceExhaustedError(std::string("event loop: ") + std::strerror(errno));
  }
  std::unique_ptr<EventLoop> loop(new EventLoop(clock, options, std::move(epoll), std::move(wake)));
  // The wake descriptor is the only one without a handler.
  if (loop->Add(loop->wake_.get(), nullptr, EPOLLIN) != Code::kOk) {
    return absl::ResourceExhaustedError(std::string("event loop: ") + std::strerror(errno));
  }
  return loop;
}

EventLoop::EventLoop(const Clock& clock, const EventLoopOptions& options, UniqueFd epoll,
                     UniqueFd wake)
    : clock_(&clock),
      now_ns_(clock.now_ns()),
      epoll_(std::move(epoll)),
      wake_(std::move(wake)),
      wheel_(now_ns_),
      buffers_(options.retained_bytes_max),
      posted_tasks_max_(options.posted_tasks_max) {}

EventLoop::~EventLoop() {
  Bury();
  // One by one: a chain of owners would be destroyed recursively.
  while (posted_first_ != nullptr) posted_first_ = std::move(posted_first_->next_);
}

void EventLoop::Run() {
  while (true) {
    RunOnce(-1);
    if (stop_.exchange(false, std::memory_order_acquire)) return;
  }
}

uint32_t EventLoop::RunOnce(int64_t timeout_ns) {
  const int count = ::epoll_wait(epoll_.get(), batch_.data(), static_cast<int>(batch_.size()),
                                 WaitMs(timeout_ns));
  now_ns_ = clock_->now_ns();
  serving_ = true;
  uint32_t served = ServeEvents(count);
  served += RunPosted();
  served += wheel_.Advance(now_ns_);
  served += RunTurnEnd();
  serving_ = false;
  Bury();
  return served;
}

int EventLoop::WaitMs(int64_t timeout_ns) noexcept {
  if (stop_.load(std::memory_order_relaxed) || !turn_end_.empty()) return 0;
  const int64_t timer_ns = wheel_.NextDelay(clock_->now_ns());
  int64_t wait_ns = timeout_ns;
  if (timer_ns >= 0 && (wait_ns < 0 || timer_ns < wait_ns)) wait_ns = timer_ns;
  if (wait_ns < 0) return -1;
  const int64_t wait_ms = (wait_ns + kTickNs - 1) / kTickNs;  // up: never before the timer's tick
  return static_cast<int>(std::min<int64_t>(wait_ms, INT_MAX));
}

uint32_t EventLoop::ServeEvents(int count) {
  uint32_t served = 0;
  batch_count_ = static_cast<uint32_t>(std::max(count, 0));  // EINTR counts as nothing ready
  for (batch_next_ = 0; batch_next_ < batch_count_;) {
    const epoll_event event = batch_[batch_next_++];
    if (event.events == 0) continue;
    if (event.data.ptr == nullptr) {
      uint64_t wakes;
      [[maybe_unused]] const ssize_t bytes = ::read(wake_.get(), &wakes, sizeof wakes);
      continue;
    }
    ++served;
    static_cast<EventHandler*>(event.data.ptr)->OnReady(FromEpoll(event.events));
  }
  batch_next_ = batch_count_ = 0;
  return served;
}

uint32_t EventLoop::RunPosted() {
  std::unique_ptr<PostedTask> task;
  {
    std::lock_guard lock(posted_mutex_);
    task = std::move(posted_first_);
    posted_last_ = nullptr;
    posted_count_ = 0;
  }
  uint32_t served = 0;
  while (task != nullptr) {
    task->Run();
    ++served;
    task = std::move(task->next_);
  }
  return served;
}

uint32_t EventLoop::RunTurnEnd() {
  // Those that ask again belong to the next turn.
  IntrusiveList<TurnEndTask> due;
  due.TakeAll(turn_end_);
  uint32_t served = 0;
  while (TurnEndTask* task = due.PopFront()) {
    ++served;
    task->function_(task->argument_);
  }
  return served;
}

Code EventLoop::Post(std::unique_ptr<PostedTask> task) {
  bool was_empty;
  {
    std::lock_guard lock(posted_mutex_);
    if (posted_count_ >= posted_tasks_max_) return Code::kResourceExhausted;
    was_empty = posted_first_ == nullptr;
    PostedTask* last = task.get();
    if (was_empty) {
      posted_first_ = std::move(task);
    } else {
      posted_last_->next_ = std::move(task);
    }
    posted_last_ = last;
    ++posted_count_;
  }
  if (was_empty) Wake();
  return Code::kOk;
}

void EventLoop::Stop() noexcept {
  stop_.store(true, std::memory_order_release);
  Wake();
}

void EventLoop::Wake() noexcept {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t bytes = ::write(wake_.get(), &one, sizeof one);
}

Code EventLoop::Add(int fd, EventHandler* handler, uint32_t epoll_events) noexcept {
  epoll_event event = {};
  event.events = epoll_events;
  event.data.ptr = handler;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0 ? Code::kOk
                                                                   : Code::kResourceExhausted;
}

Code EventLoop::Watch(int fd, EventHandler& handler) noexcept {
  return Add(fd, &handler, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

Code EventLoop::Watch(Stream& stream, EventHandler& handler) noexcept {
  if (FakeTransport* fake = stream.fake_or_null()) {
    fake->SetHandler(&handler);
    return Code::kOk;
  }
  return Watch(stream.fd(), handler);
}

Code EventLoop::WatchReadable(int fd, EventHandler& handler) noexcept {
  return Add(fd, &handler, EPOLLIN);
}

void EventLoop::Unwatch(int fd, EventHandler& handler) noexcept {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  Forget(handler);
}

void EventLoop::Close(Stream& stream, EventHandler& handler) noexcept {
  Forget(handler);
  stream.Close();
}

void EventLoop::Forget(EventHandler& handler) noexcept {
  for (uint32_t i = batch_next_; i < batch_count_; ++i) {
    if (batch_[i].data.ptr == &handler) batch_[i].events = 0;
  }
}

void EventLoop::Retire(std::unique_ptr<Retirable> object) noexcept {
  object->next_retired_ = retired_;
  retired_ = object.release();
}

void EventLoop::Bury() noexcept {
  while (retired_ != nullptr) {
    std::unique_ptr<Retirable> object(std::exchange(retired_, nullptr));
    while (object != nullptr) {
      Retirable* next = object->next_retired_;
      object.reset(next);
    }
  }
}

}  // namespace weir::io
