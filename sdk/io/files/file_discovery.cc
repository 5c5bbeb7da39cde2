#include "weir/io/files/file_discovery.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weir::io {
namespace {

// Any change that can make the path name other bytes. Writes count when the file is closed, so that
// a half-written file is not read.
constexpr uint32_t kDirectoryEvents = IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM |
                                      IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF;
constexpr size_t kEventBufferBytes = 16 * 1024;

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

FileDiscovery::FileDiscovery(EventLoop& loop, const FileDiscoveryOptions& options,
                             FileDiscoverySink& sink)
    : loop_(loop), options_(options), sink_(sink) {}

absl::StatusOr<std::unique_ptr<FileDiscovery>> FileDiscovery::Create(
    EventLoop& loop, const FileDiscoveryOptions& options, FileDiscoverySink& sink) {
  std::unique_ptr<FileDiscovery> discovery(new FileDiscovery(loop, options, sink));
  // The watch comes first: a change between the first read and the watch would be missed.
  if (options.watch_file) {
    if (absl::Status status = discovery->StartWatching(); !status.ok()) return status;
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

FileDiscovery::~FileDiscovery() {
  if (inotify_.get() >= 0) loop_.Unwatch(inotify_.get(), *this);
}

absl::Status FileDiscovery::StartWatching() {
  inotify_ = UniqueFd(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (inotify_.get() < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat(options_.path, ": cannot watch: ", std::strerror(errno)));
  }
  if (!WatchDirectory()) return ReadError(options_.path, errno);
  if (loop_.WatchReadable(inotify_.get(), *this) != Code::kOk) {
    inotify_.Reset();
    return absl::ResourceExhaustedError(absl::StrCat(options_.path, ": cannot watch"));
  }
  loop_.Arm(recheck_, options_.recheck_ns);
  return absl::OkStatus();
}

bool FileDiscovery::WatchDirectory() {
  const std::filesystem::path parent = std::filesystem::path(options_.path).parent_path();
  const std::string directory = parent.empty() ? "." : parent.string();
  // Watching a directory that is watched already gives the same number again.
  const int watch =
      inotify_add_watch(inotify_.get(), directory.c_str(), kDirectoryEvents | IN_ONLYDIR);
  if (watch < 0) return false;
  if (directory_watch_ >= 0 && directory_watch_ != watch) {
    inotify_rm_watch(inotify_.get(), directory_watch_);
  }
  directory_watch_ = watch;
  return true;
}

void FileDiscovery::OnReady(Ready) {
  alignas(inotify_event) char buffer[kEventBufferBytes];
  // What changed does not matter: a swapped link bears another name than the file. Reload()
  // compares the bytes.
  while (read(inotify_.get(), buffer, sizeof(buffer)) == static_cast<ssize_t>(sizeof(buffer))) {
  }
  const int64_t now_ns = loop_.now_ns();
  if (!settle_.armed()) first_event_ns_ = now_ns;
  const int64_t left_ns = first_event_ns_ + options_.settle_max_ns - now_ns;
  loop_.Arm(settle_, std::max<int64_t>(0, std::min(options_.settle_ns, left_ns)));
}

void FileDiscovery::Recheck() {
  loop_.Arm(recheck_, options_.recheck_ns);
  Reload();
}

void FileDiscovery::Reload() {
  if (inotify_) WatchDirectory();  // the path may lead to another directory by now
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
