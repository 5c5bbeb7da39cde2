#include "metric_pages/page.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>

namespace weir::bench {
namespace {

std::string Golden(const std::string& name) {
  std::ifstream file(std::string(WEIR_SOURCE_DIR) + "/tests/golden/scrape/" + name);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string ValueOf(std::string_view page, const std::string& name) {
  const size_t line = page.find("\n" + name + "{");
  if (line == std::string_view::npos) return "";
  const size_t end = page.find('\n', line + 1);
  const size_t space = page.rfind(' ', end);
  return std::string(page.substr(space + 1, end - space - 1));
}

TEST(MetricPageTest, ValuesChangeAndTheSizeDoesNot) {
  auto page = MetricPage::Make(Golden("vllm.prom"), 39'000);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_GE(page->bytes(), 39'000u);
  EXPECT_LE(page->bytes(), 39'100u);
  std::set<std::string> waiting, used;
  for (uint64_t scrape = 0; scrape < 50; ++scrape) {
    const std::string_view text = page->Render(3, scrape);
    EXPECT_EQ(text.size(), page->bytes());
    waiting.insert(ValueOf(text, "vllm:num_requests_waiting"));
    used.insert(ValueOf(text, "vllm:kv_cache_usage_perc"));
    const double value = std::stod(*used.rbegin());
    EXPECT_GT(value, 0.0);
    EXPECT_LT(value, 1.0);
  }
  EXPECT_EQ(waiting.size(), 8u);
  EXPECT_GT(used.size(), 30u);
}

TEST(MetricPageTest, ServersDiffer) {
  auto page = MetricPage::Make(Golden("vllm_small.prom"), 0);
  ASSERT_TRUE(page.ok()) << page.status();
  const std::string first(page->Render(1, 1));
  EXPECT_NE(first, page->Render(2, 1));
  EXPECT_EQ(first, page->Render(1, 1));
}

TEST(MetricPageTest, OtherPagesAreRefused) {
  EXPECT_FALSE(MetricPage::Make("", 0).ok());
  EXPECT_FALSE(MetricPage::Make(Golden("sglang.prom"), 0).ok());
  EXPECT_FALSE(MetricPage::Make(Golden("vllm.prom"), kPageBytesMax + 1).ok());
}

}  // namespace
}  // namespace weir::bench
