// What python_bench.py compares with: the same decisions called from C++. Prints one number of
// nanoseconds per call: the median over chunks of calls.
//   python_baseline PIPELINE.yaml PROMPT_TOKENS SECONDS     (100 endpoints, as python_bench.py
//   makes them)
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "weir/router.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kEndpoints = 100;
constexpr uint32_t kChunk = 100;

double NsPerCall(const weir::Router& router, const weir::Request& request, double seconds) {
  std::vector<double> chunks;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < end) {
    const auto start = Clock::now();
    for (uint32_t i = 0; i < kChunk; ++i) {
      if (!router.Decide(request).ok()) std::abort();
    }
    chunks.push_back(std::chrono::duration<double, std::nano>(Clock::now() - start).count() /
                     kChunk);
  }
  const auto middle = chunks.begin() + static_cast<std::ptrdiff_t>(chunks.size() / 2);
  std::nth_element(chunks.begin(), middle, chunks.end());
  return *middle;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return EXIT_FAILURE;
  auto router = weir::Router::FromFile(argv[1], {.seed = 1});
  if (!router.ok()) {
    std::fprintf(stderr, "%s\n", router.status().ToString().c_str());
    return EXIT_FAILURE;
  }
  for (uint32_t i = 0; i < kEndpoints; ++i) {
    const auto added = router->pool().Upsert(
        {.name = "server-" + std::to_string(i),
         .address = "10.0.0." + std::to_string(i) + ":8000",
         .metrics = {
             .waiting_requests = i % 8, .running_requests = i % 64, .kv_used_ratio = i / 100.0}});
    if (!added.ok()) return EXIT_FAILURE;
  }
  std::vector<uint32_t> tokens(std::strtoul(argv[2], nullptr, 10));
  std::iota(tokens.begin(), tokens.end(), 1000);
  const weir::Prompt prompt{.parts = {}, .tokens = tokens};
  weir::Request request;
  request.api = weir::Api::kCompletions;
  request.model = "m";
  request.prompts = {&prompt, 1};
  std::printf("%.1f\n", NsPerCall(*router, request, std::strtod(argv[3], nullptr)));
}
