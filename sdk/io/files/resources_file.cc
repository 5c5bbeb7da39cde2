#include "weir/io/files/resources_file.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "weir/limits.h"

namespace weir::io {

ResourcesFile::ResourcesFile(EventLoop& loop, const ResourcesFileOptions& options,
                             ResourcesFileSink& sink)
    : source_(options.source),
      sink_(sink),
      file_(loop,
            {.path = {.path = options.source.path,
                      .settle_ns = options.settle_ns,
                      .settle_max_ns = options.settle_max_ns,
                      .recheck_ns = options.recheck_ns},
             .watch = options.source.watch_file,
             .bytes_max = kConfigBytesMax},
            *this) {}

absl::StatusOr<std::unique_ptr<ResourcesFile>> ResourcesFile::Create(
    EventLoop& loop, const ResourcesFileOptions& options, ResourcesFileSink& sink) {
  std::unique_ptr<ResourcesFile> file(new ResourcesFile(loop, options, sink));
  if (absl::Status status = file->file_.Start(); !status.ok()) return status;
  file->started_ = true;
  return file;
}

absl::Status ResourcesFile::OnText(std::string_view text) {
  absl::StatusOr<ResourceFile> file = ParseResources(text, source_.path, source_.pool_name);
  if (!file.ok()) return file.status();
  // An emptied file is a wish; one in which all is wrong is not.
  const bool is_empty = file->resources.objectives.empty() && file->resources.rewrites.empty();
  if (is_empty && !file->problems.empty()) {
    return absl::InvalidArgumentError(absl::StrJoin(file->problems, "\n"));
  }
  current_ = *std::move(file);
  if (!started_) return absl::OkStatus();
  ++reload_count_;
  sink_.OnResources(current_.resources, current_.problems);
  return absl::OkStatus();
}

void ResourcesFile::OnUnusable(std::string_view reason) {
  ++unusable_count_;
  sink_.OnUnusable(absl::StrCat(std::string(reason), "; the ", current_.resources.objectives.size(),
                                " objectives and ", current_.resources.rewrites.size(),
                                " model rewrites of before stay in use"));
}

}  // namespace weir::io
