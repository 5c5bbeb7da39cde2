#include "weir/sim/step_time.h"

#include <gtest/gtest.h>

#include "sim_testing.h"

namespace weir::sim {
namespace {

TEST(StepTime, MatchesTheGoldenTable) {
  const nlohmann::json golden = Golden("step_time.json");
  for (size_t column = 0; column < golden["columns"].size(); ++column) {
    const auto& setup = golden["columns"][column];
    const StepTimeModel model(*FindModel(setup["model"].get<std::string>()),
                              *FindHardware(setup["hardware"].get<std::string>()),
                              setup["tensor_parallel"], Precision::kBf16);
    for (const auto& row : golden["rows"]) {
      std::vector<StepItem> items;
      for (const auto& part : row["batch"]) {
        const StepItem item{part["new"], part["computed"], part["decode"]};
        items.insert(items.end(), part["count"].get<size_t>(), item);
      }
      const double expected = row["ms"][column];
      EXPECT_NEAR(model.StepMs(items, UINT64_MAX), expected, expected * 1e-3)
          << setup << " " << row["batch"];
    }
  }
}

TEST(StepTime, NothingTakesNoTime) {
  const StepTimeModel model(*FindModel("llama-3.1-8b"), *FindHardware("h100"), 1, Precision::kBf16);
  EXPECT_EQ(model.StepMs({}, 0), 0);
}

TEST(StepTime, SharedContextIsReadOnceAndHalf) {
  const StepTimeModel model(*FindModel("llama-3.1-8b"), *FindHardware("h100"), 1, Precision::kBf16);
  const std::vector<StepItem> items(10, StepItem{1, 10'000, true});
  const double distinct_ms = model.StepMs(items, 100'000);
  const double shared_ms = model.StepMs(items, 10'000);
  const double token_ms = 131072 / (3.35e12 * 0.8) * 1e3;
  EXPECT_NEAR(distinct_ms - shared_ms, 0.5 * 90'000 * token_ms, 1e-9);
}

TEST(StepTime, ExpertsStreamAsTokensChooseThem) {
  const ModelShape shape = *FindModel("qwen3-30b-a3b");
  const StepTimeModel model(shape, *FindHardware("h100"), 1, Precision::kBf16);
  const auto ms = [&](size_t decodes) {
    return model.StepMs(std::vector<StepItem>(decodes, StepItem{1, 0, true}), 0);
  };
  const double head = 151936.0 * 2048;
  const double overhead_ms = (126 + 32 * 48 + 4.4) * 1e-3;
  EXPECT_NEAR(ms(1), (shape.linear_params(8) + head) * 2 / (3.35e12 * 0.85) * 1e3 + overhead_ms,
              1e-6);
  EXPECT_GT(ms(16), 3 * (ms(1) - overhead_ms));  // 16 tokens touch about 82 of 128 experts
}

TEST(StepTime, Fp8HalvesWeightsAndDoublesCompute) {
  const ModelShape shape = *FindModel("llama-3.1-8b");
  const Hardware hardware = *FindHardware("h100");
  const StepTimeModel bf16(shape, hardware, 1, Precision::kBf16);
  const StepTimeModel fp8(shape, hardware, 1, Precision::kFp8);
  const double overhead_ms = (126 + 32 * 32 + 4.4) * 1e-3;
  const StepItem decode{1, 0, true};
  const StepItem prefill{8192, 0, false};
  EXPECT_NEAR((bf16.StepMs({&decode, 1}, 0) - overhead_ms) / 2,
              fp8.StepMs({&decode, 1}, 0) - overhead_ms, 1e-9);
  EXPECT_NEAR((bf16.StepMs({&prefill, 1}, 0) - overhead_ms) / 2,
              fp8.StepMs({&prefill, 1}, 0) - overhead_ms, 1e-9);
}

TEST(Hardware, CapacityMatchesTheGoldenTable) {
  const nlohmann::json golden = Golden("kv_capacity.json");
  for (const auto& row : golden["cases"]) {
    const ModelShape shape = *FindModel(row["model"].get<std::string>());
    EXPECT_EQ(KvBlockCapacity(shape, *FindHardware(row["hardware"].get<std::string>()),
                              row["tensor_parallel"], Precision::kBf16, {}, 16),
              row["blocks"])
        << row;
    EXPECT_EQ(shape.kv_bytes_per_token(), row["kv_bytes_per_token"]);
  }
}

TEST(Hardware, WeightsThatDoNotFitLeaveNoBlocks) {
  EXPECT_EQ(KvBlockCapacity(*FindModel("llama-3.1-70b"), *FindHardware("l40s"), 1, Precision::kBf16,
                            {}, 16),
            0u);
}

TEST(Hardware, UnknownNamesListTheKnownOnes) {
  EXPECT_TRUE(FindHardware("H100").ok());
  const absl::Status hardware = FindHardware("h1000").status();
  EXPECT_EQ(hardware.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(hardware.message(), "hardware \"h1000\": expected one of a100, h100, h200, l40s");
  EXPECT_FALSE(FindModel("").ok());
}

}  // namespace
}  // namespace weir::sim
