// What the tests of the simulator share: goldens, a recorder, small engines.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "weir/sim/engine.h"

namespace weir::sim {

inline nlohmann::json Golden(const std::string& name) {
  std::ifstream file(std::string(WEIR_SOURCE_DIR) + "/tests/golden/sim/" + name);
  EXPECT_TRUE(file.good()) << name;
  return nlohmann::json::parse(file);
}

// 8B on one H100 without CPU costs, so that times are those of the steps.
inline EngineOptions PlainOptions() {
  EngineOptions options;
  options.model = *FindModel("llama-3.1-8b");
  options.hardware = *FindHardware("h100");
  options.ingress_ns = options.token_output_ns = options.finish_ns = 0;
  return options;
}

// `count` tokens that no other `tag` has.
inline std::vector<uint32_t> TokensOf(uint32_t tag, uint32_t count) {
  std::vector<uint32_t> tokens(count);
  for (uint32_t i = 0; i < count; ++i) tokens[i] = tag * 1'000'003u + i;
  return tokens;
}

inline RequestSpec SpecOf(RequestId id, uint32_t prompt, uint32_t output) {
  const auto tag = static_cast<uint32_t>(id);
  return {.id = id,
          .prompt_tokens = TokensOf(tag, prompt),
          .output_tokens = TokensOf(tag + 500, output)};
}

class Recorder : public EngineObserver {
 public:
  std::vector<StepReport> steps;
  std::map<RequestId, std::vector<TokenReport>> tokens;
  std::map<RequestId, FinishReport> finished;

  void OnStep(const StepReport& step) override { steps.push_back(step); }
  void OnToken(const TokenReport& token) override { tokens[token.id].push_back(token); }
  void OnFinished(const FinishReport& finish) override { finished[finish.id] = finish; }
};

inline std::unique_ptr<Engine> MakeEngine(const EngineOptions& options, EngineObserver& observer) {
  auto engine = Engine::Create(options, observer);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return *std::move(engine);
}

inline void RunToEnd(Engine& engine) {
  while (engine.NextEventTime() != Engine::kNever) engine.AdvanceTo(engine.NextEventTime());
}

}  // namespace weir::sim
