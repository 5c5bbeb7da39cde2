#include "weir/io/fleet/resources_feed.h"

#include <utility>

namespace weir::io {

ResourcesFeed::ResourcesFeed(const Router& router, Log log)
    : router_(router), log_(std::move(log)) {}

absl::StatusOr<std::unique_ptr<ResourcesFeed>> ResourcesFeed::Create(EventLoop& loop,
                                                                     const Router& router,
                                                                     Log log) {
  if (!router.needs().resources_file.has_value()) return std::unique_ptr<ResourcesFeed>();
  std::unique_ptr<ResourcesFeed> feed(new ResourcesFeed(router, std::move(log)));
  auto file = ResourcesFile::Create(loop, {.source = *router.needs().resources_file}, *feed);
  if (!file.ok()) return file.status();
  feed->file_ = *std::move(file);
  feed->OnResources(feed->file_->current().resources, feed->file_->current().problems);
  return feed;
}

void ResourcesFeed::OnResources(const Resources& resources, std::span<const std::string> problems) {
  for (const std::string& problem : problems) Report(problem);
  if (const absl::Status status = router_.resources().Replace(resources); !status.ok()) {
    Report(router_.needs().resources_file->path + ": " + std::string(status.message()));
  }
}

void ResourcesFeed::OnUnusable(std::string_view reason) {
  unusable_count_.fetch_add(1);
  log_(LogLevel::kError, std::string(reason));
}

void ResourcesFeed::Report(const std::string& problem) {
  problem_count_.fetch_add(1);
  log_(LogLevel::kError, problem);
}

}  // namespace weir::io
