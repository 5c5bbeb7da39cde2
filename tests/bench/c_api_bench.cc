// The C API beside the C++ API: the same requests to two routers of one build, in turn. Each pair
// of answers is compared, and the heap must stay untouched.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "allocation_count.h"
#include "decide_pipeline.h"
#include "weir/c/weir.h"
#include "weir/intake.h"
#include "weir/random.h"
#include "weir/router.h"

namespace weir {
namespace {

constexpr uint32_t kBatch = 16;

int64_t NowNs() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

double Median(std::vector<int64_t>& values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return static_cast<double>(*middle);
}

// Two routers with the same endpoints and seed, and a request in the form of each API.
struct World {
  World(uint32_t endpoint_count, uint32_t token_count)
      : cpp(*Router::FromText(kPipeline, "bench.yaml", {.seed = 7})), cpp_intake(cpp, 1) {
    weir_router_options options = weir_router_options_init();
    options.config_text = weir_text(kPipeline);
    options.seed = 7;
    if (weir_router_create(&options, &c, nullptr) != WEIR_OK) std::abort();
    if (weir_intake_create(c, 1, &c_intake, nullptr) != WEIR_OK) std::abort();
    Random random(11);
    for (uint32_t i = 0; i < endpoint_count; ++i) Add(i, random);
    tokens.resize(token_count);
    for (uint32_t& token : tokens) token = random.NextBelow(1u << 30);
    cpp_prompt.tokens = tokens;
    cpp_request.model = "meta-llama/Llama-3.1-8B-Instruct";
    cpp_request.id = "0b1f6d3e-7d0c-4a59-9c57-0f6a3b1c2d4e";
    cpp_request.prompts = {&cpp_prompt, 1};
    c_prompt = weir_prompt_of_tokens(tokens.data(), tokens.size());
    query.model = weir_text("meta-llama/Llama-3.1-8B-Instruct");
    query.id = weir_text("0b1f6d3e-7d0c-4a59-9c57-0f6a3b1c2d4e");
    query.prompts = &c_prompt;
    query.prompt_count = 1;
    body = R"({"model":"m","messages":[{"role":"user","content":")" +
           std::string(4 * token_count, 'x') + "\"}]}";
    headers = {{{"content-type", "application/json"}, {"x-request-id", "r"}, {"host", "a"}}};
    for (size_t i = 0; i < headers.size(); ++i) {
      c_headers[i] = {{headers[i].name.data(), headers[i].name.size()},
                      {headers[i].value.data(), headers[i].value.size()}};
    }
    http.path = weir_text("/v1/chat/completions");
    http.headers = c_headers.data();
    http.header_count = c_headers.size();
    http.body = {body.data(), body.size()};
  }
  World(const World&) = delete;
  ~World() {
    weir_intake_destroy(&c_intake);
    weir_router_destroy(&c);
  }

  void Add(uint32_t number, Random& random) {
    const std::string name = "server-" + std::to_string(number);
    const std::string address =
        "10.0.0." + std::to_string(number % 250) + ":" + std::to_string(8000 + number / 250);
    weir_metrics metrics = weir_metrics_init();
    metrics.present =
        WEIR_METRIC_WAITING_REQUESTS | WEIR_METRIC_RUNNING_REQUESTS | WEIR_METRIC_KV_USED_RATIO;
    metrics.waiting_requests = random.NextBelow(8);
    metrics.running_requests = random.NextBelow(64);
    metrics.kv_used_ratio = random.NextBelow(100) / 100.0;
    weir_endpoint endpoint = weir_endpoint_init();
    endpoint.name = {name.data(), name.size()};
    endpoint.address = {address.data(), address.size()};
    endpoint.metrics = &metrics;
    if (weir_pool_upsert(c, &endpoint, nullptr, nullptr) != WEIR_OK) std::abort();
    const auto added = cpp.pool().Upsert({.name = name,
                                          .address = address,
                                          .metrics = {.waiting_requests = metrics.waiting_requests,
                                                      .running_requests = metrics.running_requests,
                                                      .kv_used_ratio = metrics.kv_used_ratio}});
    if (!added.ok()) std::abort();
  }

  Router cpp;
  Intake cpp_intake;
  weir_router* c = nullptr;
  weir_intake* c_intake = nullptr;
  std::vector<uint32_t> tokens;
  Prompt cpp_prompt;
  Request cpp_request;
  weir_prompt c_prompt;
  weir_query query = weir_query_init();
  std::string body;
  std::array<Header, 3> headers;
  std::array<weir_header, 3> c_headers;
  weir_http_request http = weir_http_request_init();
};

// One call of each API; each returns the slot that it chose.
uint32_t SlotOf(const weir_decision& decision) {
  weir_target target = {};
  uint64_t count = 0;
  (void)weir_decision_targets(&decision, &target, 1, &count);
  return target.id.slot;
}
uint32_t DecideCpp(World& world) {
  Decision decision = *world.cpp.Decide(world.cpp_request);
  decision.ReleaseRequest();
  return decision.primary().id.slot;
}
uint32_t DecideC(World& world) {
  weir_decision decision = {};
  (void)weir_decide(world.c, &world.query, &decision, nullptr);
  const uint32_t slot = SlotOf(decision);
  weir_decision_release(&decision);
  return slot;
}
uint32_t BatchCpp(World& world) {
  std::array<Decision, kBatch> decisions;
  for (Decision& decision : decisions) {
    decision = *world.cpp.Decide(world.cpp_request);
    decision.ReleaseRequest();
  }
  return decisions.back().primary().id.slot;
}
uint32_t BatchC(World& world) {
  std::array<const weir_query*, kBatch> queries;
  queries.fill(&world.query);
  std::array<weir_decision, kBatch> decisions = {};
  std::array<weir_code, kBatch> codes;
  (void)weir_decide_batch(world.c, queries.data(), kBatch, decisions.data(), codes.data(), nullptr);
  const uint32_t slot = SlotOf(decisions.back());
  for (weir_decision& decision : decisions) weir_decision_release(&decision);
  return slot;
}
uint32_t HttpCpp(World& world) {
  Request request;
  IntakeResult result;
  const IntakeInput input = {
      .headers = world.headers, .path = "/v1/chat/completions", .body = world.body};
  if (!world.cpp_intake.Read(input, &request, &result).ok()) std::abort();
  Decision decision = *world.cpp.Decide(request);
  decision.ReleaseRequest();
  return decision.primary().id.slot;
}
uint32_t HttpC(World& world) {
  weir_decision decision = {};
  (void)weir_intake_decide(world.c_intake, &world.http, &decision, nullptr, nullptr);
  const uint32_t slot = SlotOf(decision);
  weir_decision_release(&decision);
  return slot;
}
uint32_t FlightCpp(World& world) {
  Decision decision = *world.cpp.Decide(world.cpp_request);
  decision.ReleaseRequest();
  Flight flight = world.cpp.Begin(decision);
  flight.FirstToken();
  flight.Finish();
  return decision.primary().id.slot;
}
uint32_t FlightC(World& world) {
  weir_decision decision = {};
  weir_flight flight = {};
  (void)weir_decide(world.c, &world.query, &decision, nullptr);
  (void)weir_begin(&decision, 0, &flight, nullptr);
  (void)weir_flight_first_token(&flight);
  (void)weir_flight_finish(&flight, nullptr);
  const uint32_t slot = SlotOf(decision);
  weir_decision_release(&decision);
  return slot;
}

template <uint32_t (*Cpp)(World&), uint32_t (*C)(World&)>
void BM_Pair(benchmark::State& state) {
  World world(static_cast<uint32_t>(state.range(0)), static_cast<uint32_t>(state.range(1)));
  for (int i = 0; i < 100; ++i) {
    if (Cpp(world) != C(world)) return state.SkipWithError("the two choose differently");
  }
  std::vector<int64_t> cpp_ns, c_ns;
  cpp_ns.reserve(1 << 22);
  c_ns.reserve(1 << 22);
  const uint64_t allocations_before = AllocationCount();
  for (auto _ : state) {
    const int64_t begin_ns = NowNs();
    benchmark::DoNotOptimize(Cpp(world));
    const int64_t middle_ns = NowNs();
    benchmark::DoNotOptimize(C(world));
    const int64_t end_ns = NowNs();
    state.SetIterationTime(static_cast<double>(end_ns - middle_ns) * 1e-9);
    if (c_ns.size() == c_ns.capacity()) continue;
    cpp_ns.push_back(middle_ns - begin_ns);
    c_ns.push_back(end_ns - middle_ns);
  }
  state.counters["allocations"] = static_cast<double>(AllocationCount() - allocations_before);
  const double cpp_p50 = Median(cpp_ns), c_p50 = Median(c_ns);
  state.counters["cpp_p50_ns"] = cpp_p50;
  state.counters["c_p50_ns"] = c_p50;
  state.counters["added_ns"] = c_p50 - cpp_p50;
}
#define WEIR_PAIR(name)                          \
  BENCHMARK(BM_Pair<name##Cpp, name##C>)         \
      ->Name(#name)                              \
      ->ArgNames({"endpoints", "prompt_tokens"}) \
      ->Args({100, 64})                          \
      ->Args({100, 8192})                        \
      ->UseManualTime()
WEIR_PAIR(Decide);
WEIR_PAIR(Batch);
WEIR_PAIR(Flight);
WEIR_PAIR(Http);

}  // namespace
}  // namespace weir
