#include "weir/io/files/file_discovery.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weir::io {
namespace {

absl::Status ReadError(const std::string& path, int error) {
  const std::string text = absl::StrCat(path, ": ", std::strerror(error));
  return error == ENOENT ? absl::NotFoundError(text) : absl::UnavailableError(text);
}

// The bytes of a regular file, at most one more than an endpoints file may have.
absl::StatusOr<std::string> ReadText(const std::string& path) {
  // Without O_NONBLOCK the open of a named pipe would stop the loop.
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat about;
  if (fd.get() < 0 || fstat(fd.get(), &about) != 0) return ReadError(path, errno);
  if (!S_ISREG(about.st_mode)) {
    return absl::UnavailableError(absl::StrCat(path, ": not a regular file"));
  }
  std::string text(kEndpointsFileBytesMax + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t count = read(fd.get(), text.data() + size, text.size() - size);
    if (count == 0) break;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ReadError(path, errno);
    size += static_cast<size_t>(count);
  }
  text.resize(size);
  text.shrink_to_fit();
  return text;
}

}  // namespace

FileDiscovery::FileDiscovery(const FileDiscoveryOptions& options, FileDiscoverySink& sink)
    : options_(options), sink_(sink) {}

absl::StatusOr<std::unique_ptr<FileDiscovery>> FileDiscovery::Create(
    EventLoop& loop, const FileDiscoveryOptions& options, FileDiscoverySink& sink) {
  std::unique_ptr<FileDiscovery> discovery(new FileDiscovery(options, sink));
  // The watch comes first: a change between the first read and the watch would be missed.
  if (options.watch_file) {
    auto watch = PathWatch::Create(loop,
                                   {.path = options.path,
                                    .settle_ns = options.settle_ns,
                                    .settle_max_ns = options.settle_max_ns,
                                    .recheck_ns = options.recheck_ns},
                                   [raw = discovery.get()] { raw->Reload(); });
    if (!watch.ok()) return watch.status();
    discovery->watch_ = *std::move(watch);
  }
  absl::StatusOr<std::string> text = ReadText(options.path);
  if (!text.ok()) return text.status();
  absl::StatusOr<EndpointsFile> file = ParseEndpointsFile(*text, options.path);
  if (!file.ok()) return file.status();
  if (file->endpoints.empty()) {
    std::string error =
        absl::StrCat(options.path, ": no usable endpoint among ", file->entry_count, " entries");
    for (const std::string& problem : file->problems) absl::StrAppend(&error, "\n", problem);
    return absl::InvalidArgumentError(error);
  }
  discovery->text_ = *std::move(text);
  discovery->current_ = *std::move(file);
  return discovery;
}

void FileDiscovery::Reload() {
  absl::StatusOr<std::string> text = ReadText(options_.path);
  if (!text.ok()) return ReportUnusable(std::string(text.status().message()));
  if (*text == text_ && unusable_.empty()) return;
  absl::StatusOr<EndpointsFile> file = ParseEndpointsFile(*text, options_.path);
  if (!file.ok()) return ReportUnusable(std::string(file.status().message()));
  if (file->endpoints.empty() && file->entry_count != 0) {
    return ReportUnusable(absl::StrCat(options_.path, ": no usable endpoint among ",
                                       file->entry_count, " entries, first ",
                                       file->problems.front()));
  }
  unusable_.clear();
  if (*text == text_) return;  // what was there before the trouble is back
  text_ = *std::move(text);
  const bool same = file->endpoints == current_.endpoints && file->problems == current_.problems;
  current_ = *std::move(file);
  if (same) return;
  ++reload_count_;
  sink_.OnEndpoints(current_.endpoints, current_.problems);
}

void FileDiscovery::ReportUnusable(std::string reason) {
  if (reason == unusable_) return;
  unusable_ = std::move(reason);
  ++unusable_count_;
  sink_.OnUnusable(absl::StrCat(unusable_, "; the ", current_.endpoints.size(),
                                " endpoints of before stay in use"));
}

}  // namespace weir::io
