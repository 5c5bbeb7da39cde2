// weir/io/files/file_discovery.h: keeps the endpoints of a file current while the file changes.
// Start at FileDiscovery::Create().
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "weir/io/files/endpoints_file.h"
#include "weir/io/files/watched_file.h"
#include "weir/io/loop/event_loop.h"

namespace weir::io {

struct FileDiscoveryOptions {
  std::string path;         // YAML or JSON; see ParseEndpointsFile()
  bool watch_file = false;  // follow changes of the file

  // See PathWatchOptions.
  int64_t settle_ns = 50'000'000;
  int64_t settle_max_ns = 1'000'000'000;
  int64_t recheck_ns = 10'000'000'000;
};

// Learns of changes. Called on the loop's thread.
class FileDiscoverySink {
 public:
  // The file holds these endpoints now; they replace all earlier ones. `problems` are texts to log,
  // one per bad entry. Borrowed: both, until return.
  virtual void OnEndpoints(std::span<const DiscoveredEndpoint> endpoints,
                           std::span<const std::string> problems) = 0;
  // The file cannot be used as it is; the endpoints stay as they were. Said once per reason.
  virtual void OnUnusable(std::string_view reason) = 0;

 protected:
  ~FileDiscoverySink() = default;
};

// Reads an endpoints file and follows it, see WatchedFile. All members belong to the thread of the
// loop.
class FileDiscovery final : private WatchedFileHandler {
 public:
  // Loads the file and begins to watch it if asked to. The first endpoints are in current(), not
  // reported to `sink`. Borrowed: `loop` and `sink`, for the life of the discovery.
  // Errors: kNotFound or kUnavailable (file cannot be read), kInvalidArgument (no usable entry,
  // with all problems in the text; or see ParseEndpointsFile()), kResourceExhausted (no watch
  // left). Bad entries beside usable ones are in current().problems. [control, io]
  static absl::StatusOr<std::unique_ptr<FileDiscovery>> Create(EventLoop& loop,
                                                               const FileDiscoveryOptions& options,
                                                               FileDiscoverySink& sink);
  FileDiscovery(const FileDiscovery&) = delete;
  FileDiscovery& operator=(const FileDiscovery&) = delete;

  // What the last usable state of the file said.
  const EndpointsFile& current() const noexcept { return current_; }
  // Loads that changed the endpoints, and reasons reported by OnUnusable, since Create().
  uint64_t reload_count() const noexcept { return reload_count_; }
  uint64_t unusable_count() const noexcept { return unusable_count_; }

  // Reads the file now; what changed is reported as for a change on disk. [control, io]
  void Reload() { file_.Reload(); }

 private:
  FileDiscovery(EventLoop& loop, const FileDiscoveryOptions& options, FileDiscoverySink& sink);
  absl::Status OnText(std::string_view text) override;
  void OnUnusable(std::string_view reason) override;

  const std::string path_;
  FileDiscoverySink& sink_;
  bool started_ = false;
  EndpointsFile current_;
  uint64_t reload_count_ = 0;
  uint64_t unusable_count_ = 0;
  WatchedFile file_;
};

}  // namespace weir::io
