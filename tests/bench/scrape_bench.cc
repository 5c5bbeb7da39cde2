// BM_Scrape_Extract: one page of metrics into one sample. At 100 endpoints every 50 ms a core reads
// 2,000 pages a second, so 1 us per page is 0.2 % of a core.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "weir/io/scrape/scrape_plan.h"

namespace weir::io {
namespace {

std::string Page(const std::string& name) {
  std::ifstream file(std::string(WEIR_SOURCE_DIR) + "/tests/golden/scrape/" + name,
                     std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void BM_Scrape_Extract(benchmark::State& state, const char* name) {
  const std::string page = Page(name);
  const ScrapePlans plans = ScrapePlans::Create({}).value();
  const ScrapePlan& plan = plans.ForEngine("vllm");
  EndpointSample sample;
  const ExtractStats stats = Extract(plan, page, sample);
  if (stats.missing != 0 || sample.waiting_requests != 3 || sample.block_count != 12181) {
    state.SkipWithError("the page was not read as expected");
    return;
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(Extract(plan, page, sample));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) *
                          static_cast<int64_t>(page.size()));
  state.counters["page_bytes"] = static_cast<double>(page.size());
}
BENCHMARK_CAPTURE(BM_Scrape_Extract, small, "vllm_small.prom")
    ->Name("BM_Scrape_Extract/page:small");
BENCHMARK_CAPTURE(BM_Scrape_Extract, full, "vllm.prom")->Name("BM_Scrape_Extract/page:full");

}  // namespace
}  // namespace weir::io
