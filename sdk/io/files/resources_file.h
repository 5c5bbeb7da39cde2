// weir/io/files/resources_file.h: keeps the objectives and model rewrites of a file current while
// the file changes. Start at ResourcesFile::Create().
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "weir/io/files/watched_file.h"
#include "weir/io/loop/event_loop.h"
#include "weir/resources.h"
#include "weir/router.h"

namespace weir::io {

struct ResourcesFileOptions {
  ResourcesSource source;  // path, whether to watch, pool; see ParseResources()

  // See PathWatchOptions.
  int64_t settle_ns = 50'000'000;
  int64_t settle_max_ns = 1'000'000'000;
  int64_t recheck_ns = 10'000'000'000;
};

// Learns of changes. Called on the loop's thread.
class ResourcesFileSink {
 public:
  // The file holds these now; they replace all earlier ones. `problems` are texts to log, one per
  // thing that is wrong. Borrowed: both, until return.
  virtual void OnResources(const Resources& resources, std::span<const std::string> problems) = 0;
  // The file cannot be used as it is; the resources stay as they were. Said once per reason.
  virtual void OnUnusable(std::string_view reason) = 0;

 protected:
  ~ResourcesFileSink() = default;
};

// Reads a file of manifests and follows it, see WatchedFile. All members belong to the thread of
// the loop.
class ResourcesFile final : private WatchedFileHandler {
 public:
  // Loads the file and begins to watch it if asked to. The first resources are in current(), not
  // reported to `sink`. Borrowed: `loop` and `sink`, for the life of this.
  // Errors: kNotFound or kUnavailable (file cannot be read), kInvalidArgument (nothing in it can be
  // used, with all problems in the text; or see ParseResources()), kResourceExhausted (no watch
  // left). Problems beside usable entries are in current().problems. [control, io]
  static absl::StatusOr<std::unique_ptr<ResourcesFile>> Create(EventLoop& loop,
                                                               const ResourcesFileOptions& options,
                                                               ResourcesFileSink& sink);
  ResourcesFile(const ResourcesFile&) = delete;
  ResourcesFile& operator=(const ResourcesFile&) = delete;

  // What the last usable state of the file said.
  const ResourceFile& current() const noexcept { return current_; }
  // Loads that were reported, and reasons reported by OnUnusable, since Create().
  uint64_t reload_count() const noexcept { return reload_count_; }
  uint64_t unusable_count() const noexcept { return unusable_count_; }

  // Reads the file now; what changed is reported as for a change on disk. [control, io]
  void Reload() { file_.Reload(); }

 private:
  ResourcesFile(EventLoop& loop, const ResourcesFileOptions& options, ResourcesFileSink& sink);
  absl::Status OnText(std::string_view text) override;
  void OnUnusable(std::string_view reason) override;

  const ResourcesSource source_;
  ResourcesFileSink& sink_;
  bool started_ = false;
  ResourceFile current_;
  uint64_t reload_count_ = 0;
  uint64_t unusable_count_ = 0;
  WatchedFile file_;
};

}  // namespace weir::io
