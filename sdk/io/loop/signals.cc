#include "weir/io/loop/signals.h"

#include <pthread.h>
#include <sys/signalfd.h>

#include <utility>

namespace weir::io {

absl::StatusOr<std::unique_ptr<SignalWatcher>> SignalWatcher::Open(
    EventLoop& loop, std::initializer_list<int> signals, std::function<void(int)> on_signal) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : signals) ::sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  UniqueFd fd(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd) return absl::ResourceExhaustedError("signals: no descriptor left");
  std::unique_ptr<SignalWatcher> watcher(
      new SignalWatcher(loop, std::move(fd), std::move(on_signal)));
  if (loop.WatchReadable(watcher->fd_.get(), *watcher) != Code::kOk) {
    return absl::ResourceExhaustedError("signals: no event slot left");
  }
  return watcher;
}

SignalWatcher::SignalWatcher(EventLoop& loop, UniqueFd fd, std::function<void(int)> on_signal)
    : loop_(&loop), fd_(std::move(fd)), on_signal_(std::move(on_signal)) {}

SignalWatcher::~SignalWatcher() { loop_->Unwatch(fd_.get(), *this); }

void SignalWatcher::OnReady(Ready) {
  signalfd_siginfo info;
  while (::read(fd_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    on_signal_(static_cast<int>(info.ssi_signo));
  }
}

}  // namespace weir::io
