#include "weir/io/files/path_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weir::io {
namespace {

// Any change that can make the path name other bytes, and writes, which count when the file is
// closed, so that a half-written file is not read.
constexpr uint32_t kDirectoryEvents = IN_MODIFY | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE |
                                      IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF;
constexpr size_t kEventBufferBytes = 16 * 1024;

}  // namespace

PathWatch::PathWatch(EventLoop& loop, const PathWatchOptions& options,
                     std::function<void()> on_change)
    : loop_(loop),
      options_(options),
      on_change_(std::move(on_change)),
      name_(std::filesystem::path(options.path).filename()) {}

absl::StatusOr<std::unique_ptr<PathWatch>> PathWatch::Create(EventLoop& loop,
                                                             const PathWatchOptions& options,
                                                             std::function<void()> on_change) {
  std::unique_ptr<PathWatch> watch(new PathWatch(loop, options, std::move(on_change)));
  if (absl::Status status = watch->Start(); !status.ok()) return status;
  return watch;
}

PathWatch::~PathWatch() {
  if (inotify_.get() >= 0) loop_.Unwatch(inotify_.get(), *this);
}

absl::Status PathWatch::Start() {
  inotify_ = UniqueFd(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (inotify_.get() < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat(options_.path, ": cannot watch: ", std::strerror(errno)));
  }
  if (!WatchDirectory()) {
    const std::string text = absl::StrCat(options_.path, ": ", std::strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(text) : absl::UnavailableError(text);
  }
  if (loop_.WatchReadable(inotify_.get(), *this) != Code::kOk) {
    inotify_.Reset();
    return absl::ResourceExhaustedError(absl::StrCat(options_.path, ": cannot watch"));
  }
  loop_.Arm(recheck_, options_.recheck_ns);
  return absl::OkStatus();
}

bool PathWatch::WatchDirectory() {
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

bool PathWatch::TakeEvents() {
  alignas(inotify_event) char buffer[kEventBufferBytes];
  bool changed = false;
  for (ssize_t size; (size = read(inotify_.get(), buffer, sizeof(buffer))) > 0;) {
    for (ssize_t at = 0; at < size;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      const bool is_file = event->len > 0 && name_ == event->name;
      if (is_file || (event->mask & IN_Q_OVERFLOW) != 0) {
        being_written_ = (event->mask & IN_MODIFY) != 0;
      }
      // What else changed does not matter: a swapped link bears another name than the file.
      changed |= is_file || (event->mask & IN_MODIFY) == 0;
    }
  }
  return changed;
}

void PathWatch::OnReady(Ready) {
  if (!TakeEvents()) return;
  const int64_t now_ns = loop_.now_ns();
  if (!settle_.armed()) first_event_ns_ = now_ns;
  const int64_t quiet_ns = being_written_ ? options_.recheck_ns : options_.settle_ns;
  const int64_t max_ns = being_written_ ? options_.recheck_ns : options_.settle_max_ns;
  const int64_t left_ns = first_event_ns_ + max_ns - now_ns;
  loop_.Arm(settle_, std::max<int64_t>(0, std::min(quiet_ns, left_ns)));
}

void PathWatch::Settle() {
  being_written_ = false;
  WatchDirectory();  // the path may lead to another directory by now
  on_change_();
}

void PathWatch::Recheck() {
  loop_.Arm(recheck_, options_.recheck_ns);
  if (!settle_.armed()) Settle();
}

}  // namespace weir::io
