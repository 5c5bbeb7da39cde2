// metric_pages/page.h: a page of a model server's metrics whose values change without being made
// anew.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace weir::bench {

inline constexpr size_t kPageBytesMax = 4u << 20;

// One thread at a time.
class MetricPage {
 public:
  // Takes a page in the form of vLLM and lengthens it with histogram lines to at least `bytes_min`.
  // Errors: kInvalidArgument if one of the metrics that change is missing, or the page too large.
  static absl::StatusOr<MetricPage> Make(std::string_view text, size_t bytes_min);

  // The page of one server at one scrape. Valid until the next call. [hot]
  std::string_view Render(uint32_t endpoint, uint64_t scrape) noexcept;

  size_t bytes() const noexcept { return text_.size(); }

 private:
  struct Place {
    size_t offset;
    size_t digits;
    uint32_t base;  // values are base .. base + span - 1
    uint32_t span;
  };
  MetricPage() = default;

  std::string text_;
  std::vector<Place> places_;
};

}  // namespace weir::bench
