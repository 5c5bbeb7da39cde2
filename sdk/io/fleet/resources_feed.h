// weir/io/fleet/resources_feed.h: from the resources file that a pipeline names to its router.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "weir/io/files/resources_file.h"
#include "weir/io/loop/event_loop.h"
#include "weir/router.h"

namespace weir::io {

// All members belong to the thread of the loop, except those marked.
class ResourcesFeed final : private ResourcesFileSink {
 public:
  using Log = std::function<void(LogLevel, const std::string&)>;

  // Loads the file into router.resources() and follows it if the pipeline says so. Null if the
  // pipeline names no file. Borrowed: loop. Errors: as ResourcesFile::Create. [control]
  static absl::StatusOr<std::unique_ptr<ResourcesFeed>> Create(EventLoop& loop,
                                                               const Router& router, Log log);
  ResourcesFeed(const ResourcesFeed&) = delete;
  ResourcesFeed& operator=(const ResourcesFeed&) = delete;

  // Things that were wrong in the file so far, and states of it that could not be used.
  // [concurrent]
  uint64_t problem_count() const noexcept { return problem_count_.load(); }
  uint64_t unusable_count() const noexcept { return unusable_count_.load(); }

 private:
  ResourcesFeed(const Router& router, Log log);
  void OnResources(const Resources& resources, std::span<const std::string> problems) override;
  void OnUnusable(std::string_view reason) override;
  void Report(const std::string& problem);

  const Router router_;
  const Log log_;
  std::atomic<uint64_t> problem_count_{0};
  std::atomic<uint64_t> unusable_count_{0};
  std::unique_ptr<ResourcesFile> file_;
};

}  // namespace weir::io
