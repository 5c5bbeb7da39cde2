// weir/io/files/watched_file.h: the bytes of a file, now and after each change. What
// FileDiscovery and ResourcesFile stand on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "weir/io/files/path_watch.h"
#include "weir/io/loop/event_loop.h"

namespace weir::io {

struct WatchedFileOptions {
  PathWatchOptions path;          // and when a change is read
  bool watch = false;             // follow changes of the file
  uint64_t bytes_max = 1u << 20;  // read of it; a longer file shows one byte more
};

// Learns of changes. Called on the loop's thread.
class WatchedFileHandler {
 public:
  // The file's bytes, other than those it accepted last. An error says why they cannot be used;
  // they are offered again with the next change. Borrowed until return.
  virtual absl::Status OnText(std::string_view text) = 0;
  // The file cannot be read or used as it is. Said once per reason.
  virtual void OnUnusable(std::string_view reason) = 0;

 protected:
  ~WatchedFileHandler() = default;
};

// Reads a file and follows it, see PathWatch. All members belong to the thread of the loop.
class WatchedFile {
 public:
  // Borrowed: `loop` and `handler`, for the life of this.
  WatchedFile(EventLoop& loop, const WatchedFileOptions& options, WatchedFileHandler& handler);
  WatchedFile(const WatchedFile&) = delete;
  WatchedFile& operator=(const WatchedFile&) = delete;

  // Begins to watch if asked to, and gives the handler the first bytes. Errors: those of the
  // handler and of PathWatch; kNotFound or kUnavailable (file cannot be read). Once. [control, io]
  absl::Status Start();
  // Reads the file now; what changed is reported as for a change on disk. [control, io]
  void Reload();

 private:
  void ReportUnusable(std::string reason);

  EventLoop& loop_;
  const WatchedFileOptions options_;
  WatchedFileHandler& handler_;
  std::string text_;      // accepted last, to tell changes from noise
  std::string unusable_;  // the reason reported last; empty while the file is usable
  std::unique_ptr<PathWatch> watch_;
};

}  // namespace weir::io
