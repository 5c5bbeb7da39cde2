// weir/io/loop/signals.h: signals as events of a loop, for programs; the libraries touch none.
#pragma once

#include <csignal>
#include <functional>
#include <initializer_list>
#include <memory>

#include "absl/status/statusor.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/unique_fd.h"

namespace weir::io {

// Calls a function on the loop's thread for each signal that arrives, for example to drain on
// SIGTERM and SIGINT.
class SignalWatcher final : private EventHandler {
 public:
  // Blocks the signals in the calling thread, so call it before other threads start: they inherit
  // that. Borrowed: `loop`, until the watcher goes, which leaves the signals blocked.
  // Errors: kResourceExhausted when the process has no descriptors left.  [control]
  static absl::StatusOr<std::unique_ptr<SignalWatcher>> Open(EventLoop& loop,
                                                             std::initializer_list<int> signals,
                                                             std::function<void(int)> on_signal);
  ~SignalWatcher();
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

 private:
  SignalWatcher(EventLoop& loop, UniqueFd fd, std::function<void(int)> on_signal);
  void OnReady(Ready ready) override;

  EventLoop* loop_;
  UniqueFd fd_;
  std::function<void(int)> on_signal_;
};

}  // namespace weir::io
