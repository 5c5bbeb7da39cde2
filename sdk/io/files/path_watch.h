// weir/io/files/path_watch.h: says when the bytes behind a path may have changed. Start at
// PathWatch::Create().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/timer.h"
#include "weir/io/loop/unique_fd.h"

namespace weir::io {

struct PathWatchOptions {
  std::string path;
  // A change is reported once the directory was quiet for this long, at the latest after
  // settle_max_ns, so that one edit is one report.
  int64_t settle_ns = 50'000'000;
  int64_t settle_max_ns = 1'000'000'000;
  // While somebody writes the file a change waits for the close, at most for recheck_ns.
  // It is also reported this often, for file systems that tell of no changes (network mounts),
  // links to files elsewhere, and directories that are replaced.
  int64_t recheck_ns = 10'000'000'000;
};

// Watches the directory of a file (inotify), so that writes in place, atomic renames and the link
// swap of a mounted ConfigMap or Secret are all seen. What else changes there is reported too:
// compare the bytes. All members belong to the thread of the loop.
class PathWatch final : private EventHandler {
 public:
  // Borrowed: `loop`. `on_change` is called on the loop's thread; it must not destroy the watch.
  // Errors: kNotFound or kUnavailable (no such directory), kResourceExhausted (no watch left).
  // [control]
  static absl::StatusOr<std::unique_ptr<PathWatch>> Create(EventLoop& loop,
                                                           const PathWatchOptions& options,
                                                           std::function<void()> on_change);
  ~PathWatch();
  PathWatch(const PathWatch&) = delete;
  PathWatch& operator=(const PathWatch&) = delete;

 private:
  PathWatch(EventLoop& loop, const PathWatchOptions& options, std::function<void()> on_change);
  void OnReady(Ready ready) override;
  // Returns whether one of the events may have changed the bytes behind the path.
  bool TakeEvents();
  absl::Status Start();
  bool WatchDirectory();
  void Settle();
  void Recheck();

  EventLoop& loop_;
  const PathWatchOptions options_;
  const std::function<void()> on_change_;
  UniqueFd inotify_;
  int directory_watch_ = -1;
  const std::string name_;      // of the file within its directory
  bool being_written_ = false;  // and not closed since
  int64_t first_event_ns_ = 0;  // of the changes that settle now
  Timer settle_ = Timer::Calling<&PathWatch::Settle>(*this);
  Timer recheck_ = Timer::Calling<&PathWatch::Recheck>(*this);
};

}  // namespace weir::io
