#include "weir/io/files/file_discovery.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace weir::io {

FileDiscovery::FileDiscovery(EventLoop& loop, const FileDiscoveryOptions& options,
                             FileDiscoverySink& sink)
    : path_(options.path),
      sink_(sink),
      file_(loop,
            {.path = {.path = options.path,
                      .settle_ns = options.settle_ns,
                      .settle_max_ns = options.settle_max_ns,
                      .recheck_ns = options.recheck_ns},
             .watch = options.watch_file,
             .bytes_max = kEndpointsFileBytesMax},
            *this) {}

absl::StatusOr<std::unique_ptr<FileDiscovery>> FileDiscovery::Create(
    EventLoop& loop, const FileDiscoveryOptions& options, FileDiscoverySink& sink) {
  std::unique_ptr<FileDiscovery> discovery(new FileDiscovery(loop, options, sink));
  if (absl::Status status = discovery->file_.Start(); !status.ok()) return status;
  discovery->started_ = true;
  return discovery;
}

absl::Status FileDiscovery::OnText(std::string_view text) {
  absl::StatusOr<EndpointsFile> file = ParseEndpointsFile(text, path_);
  if (!file.ok()) return file.status();
  // An empty list is a wish, also at the start: servers may be scaled away while this restarts.
  if (file->endpoints.empty() && file->entry_count != 0) {
    std::string error =
        absl::StrCat(path_, ": no usable endpoint among ", file->entry_count, " entries");
    if (started_) {
      absl::StrAppend(&error, ", first ", file->problems.front());
    } else {
      for (const std::string& problem : file->problems) absl::StrAppend(&error, "\n", problem);
    }
    return absl::InvalidArgumentError(error);
  }
  const bool same = file->endpoints == current_.endpoints && file->problems == current_.problems;
  current_ = *std::move(file);
  if (same || !started_) return absl::OkStatus();
  ++reload_count_;
  sink_.OnEndpoints(current_.endpoints, current_.problems);
  return absl::OkStatus();
}

void FileDiscovery::OnUnusable(std::string_view reason) {
  ++unusable_count_;
  sink_.OnUnusable(absl::StrCat(std::string(reason), "; the ", current_.endpoints.size(),
                                " endpoints of before stay in use"));
}

}  // namespace weir::io
