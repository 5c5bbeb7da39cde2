// Equal seeds and equal calls at equal times give equal bytes.
#include <gtest/gtest.h>

#include "fake_call.h"
#include "weir/random.h"

namespace weir::sim {
namespace {

// Everything that 200 calls get back, some of which leave early or carry a fault.
std::string Transcript(uint64_t engine_seed, Personality personality) {
  SimOptions options = TestOptions();
  options.personality = personality;
  options.enable_metrics = true;
  options.seed = engine_seed;
  options.jitter = Jitter::kReal;
  options.cpu_costs = true;
  options.block_count = personality == Personality::kVllm ? 40 : 640;
  options.failure_ratio_percent = 5;
  const auto instance = MakeInstance(options);
  Random random(9);
  std::vector<std::unique_ptr<FakeCall>> calls;
  int64_t now_ns = 0;
  for (int i = 0; i < 200; ++i) {
    now_ns += random.NextBelow(20'000'000);
    std::string prompt = "shared head of some words " + std::to_string(random.NextBelow(5));
    for (uint32_t k = random.NextBelow(60); k-- > 0;) prompt += " w" + std::to_string(k);
    const nlohmann::json body = {{"prompt", prompt},
                                 {"max_tokens", 1 + random.NextBelow(60)},
                                 {"stream", random.NextBelow(2) == 0},
                                 {"n", 1 + random.NextBelow(2)}};
    std::map<std::string, std::string> headers;
    if (random.NextBelow(10) == 0) headers["X-Sim-Fault"] = "truncate:3";
    calls.push_back(
        std::make_unique<FakeCall>("POST", "/v1/completions", body.dump(), std::move(headers)));
    instance->Handle(*calls.back(), now_ns);
    FakeCall& leaving = *calls[random.NextBelow(static_cast<uint32_t>(calls.size()))];
    if (random.NextBelow(6) == 0 && !leaving.ended && !leaving.aborted) {
      instance->ClientGone(leaving);
      leaving.aborted = true;  // it must not be called again
    }
  }
  RunToEnd(*instance);
  EXPECT_EQ(instance->open_requests(), 0u);
  EXPECT_EQ(instance->stats().used_blocks, 0u);
  std::string transcript;
  for (const auto& call : calls) {
    EXPECT_TRUE(call->ended || call->aborted);
    transcript += std::to_string(call->status) + call->answer;
  }
  return transcript + Get(*instance, "/metrics").answer;
}

TEST(Determinism, EqualSeedsGiveEqualTranscripts) {
  for (const Personality personality : {Personality::kVllm, Personality::kSglang}) {
    const std::string first = Transcript(1, personality);
    EXPECT_TRUE(first == Transcript(1, personality));
    EXPECT_FALSE(first == Transcript(2, personality));
    EXPECT_GT(first.size(), 100'000u);
  }
}

}  // namespace
}  // namespace weir::sim
