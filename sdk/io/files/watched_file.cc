#include "weir/io/files/watched_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "weir/io/loop/unique_fd.h"

namespace weir::io {
namespace {

absl::Status ReadError(const std::string& path, int error) {
  const std::string text = absl::StrCat(path, ": ", std::strerror(error));
  return error == ENOENT ? absl::NotFoundError(text) : absl::UnavailableError(text);
}

// The bytes of a regular file, at most one more than bytes_max.
absl::StatusOr<std::string> ReadText(const std::string& path, uint64_t bytes_max) {
  // Without O_NONBLOCK the open of a named pipe would stop the loop.
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat about;
  if (fd.get() < 0 || fstat(fd.get(), &about) != 0) return ReadError(path, errno);
  if (!S_ISREG(about.st_mode)) {
    return absl::UnavailableError(absl::StrCat(path, ": not a regular file"));
  }
  std::string text(bytes_max + 1, '\0');
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

WatchedFile::WatchedFile(EventLoop& loop, const WatchedFileOptions& options,
                         WatchedFileHandler& handler)
    : loop_(loop), options_(options), handler_(handler) {}

absl::Status WatchedFile::Start() {
  // The watch comes first: a change between the first read and the watch would be missed.
  if (options_.watch) {
    auto watch = PathWatch::Create(loop_, options_.path, [this] { Reload(); });
    if (!watch.ok()) return watch.status();
    watch_ = *std::move(watch);
  }
  absl::StatusOr<std::string> text = ReadText(options_.path.path, options_.bytes_max);
  if (!text.ok()) return text.status();
  if (absl::Status status = handler_.OnText(*text); !status.ok()) return status;
  text_ = *std::move(text);
  return absl::OkStatus();
}

void WatchedFile::Reload() {
  absl::StatusOr<std::string> text = ReadText(options_.path.path, options_.bytes_max);
  if (!text.ok()) return ReportUnusable(std::string(text.status().message()));
  if (*text != text_) {
    const absl::Status status = handler_.OnText(*text);
    if (!status.ok()) return ReportUnusable(std::string(status.message()));
    text_ = *std::move(text);
  }
  unusable_.clear();
}

void WatchedFile::ReportUnusable(std::string reason) {
  if (reason == unusable_) return;
  unusable_ = std::move(reason);
  handler_.OnUnusable(unusable_);
}

}  // namespace weir::io
