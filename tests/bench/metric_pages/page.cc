#include "metric_pages/page.h"

#include "absl/strings/str_cat.h"
#include "weir/random.h"

namespace weir::bench {
namespace {

// What changes, and the digits it is written with: always as many, so that the page keeps its size.
struct Changing {
  std::string_view name;
  std::string_view before;  // the digits
  size_t digits;
  std::string_view after;
  uint32_t base, span;
};
constexpr Changing kChanging[] = {
    {"vllm:num_requests_waiting", "", 1, ".0", 0, 8},
    {"vllm:num_requests_running", "", 2, ".0", 10, 30},
    {"vllm:kv_cache_usage_perc", "0.", 3, "", 100, 800},
    {"vllm:generation_tokens_total", "", 9, ".0", 100'000'000, 800'000'000},
};

}  // namespace

absl::StatusOr<MetricPage> MetricPage::Make(std::string_view text, size_t bytes_min) {
  MetricPage page;
  uint32_t found = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const Changing* changing = nullptr;
    for (const Changing& candidate : kChanging) {
      if (line.substr(0, line.find_first_of("{ ")) == candidate.name) changing = &candidate;
    }
    if (changing == nullptr) {
      absl::StrAppend(&page.text_, absl::string_view(line.data(), line.size()), "\n");
      continue;
    }
    found |= 1u << (changing - kChanging);
    page.text_.append(line.substr(0, line.rfind(' ') + 1)).append(changing->before);
    page.places_.push_back({page.text_.size(), changing->digits, changing->base, changing->span});
    page.text_.append(changing->digits, '0').append(changing->after).append("\n");
  }
  if (found + 1 != 1u << std::size(kChanging)) {
    return absl::InvalidArgumentError("--page: expected the metrics of vLLM");
  }
  if (page.text_.size() < bytes_min) page.text_ += "# TYPE vllm:more_seconds histogram\n";
  for (uint32_t i = 0; page.text_.size() < bytes_min; ++i) {
    absl::StrAppend(&page.text_, "vllm:more_seconds_bucket{le=\"", i,
                    ".0\",model_name=\"m\"} 1234.0\n");
  }
  if (page.text_.size() > kPageBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--page: ", page.text_.size(), " bytes, expected at most ", kPageBytesMax));
  }
  return page;
}

std::string_view MetricPage::Render(uint32_t endpoint, uint64_t scrape) noexcept {
  uint64_t state = static_cast<uint64_t>(endpoint) << 32 ^ scrape;
  for (const Place& place : places_) {
    uint64_t value = place.base + SplitMix64(state) % place.span;
    for (size_t i = place.digits; i-- > 0; value /= 10) {
      text_[place.offset + i] = static_cast<char>('0' + value % 10);
    }
  }
  return text_;
}

}  // namespace weir::bench
