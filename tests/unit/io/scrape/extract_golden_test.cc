// Every page of tests/golden/scrape with the values its JSON expects.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "weir/io/scrape/params.h"
#include "weir/io/scrape/scrape_plan.h"

namespace weir::io {
namespace {

using Json = nlohmann::json;

const std::filesystem::path kGoldens =
    std::filesystem::path(WEIR_SOURCE_DIR) / "tests/golden/scrape";

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> CaseNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kGoldens)) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Json ToJson(const ScrapePlan& plan, const EndpointSample& sample) {
  Json json = Json::object();
  if (sample.has(kSampleWaiting)) json["waiting_requests"] = sample.waiting_requests;
  if (sample.has(kSampleRunning)) json["running_requests"] = sample.running_requests;
  if (sample.has(kSampleKvUsed)) {
    json["kv_used_ratio"] = std::round(sample.kv_used_ratio * 1e6) / 1e6;
  }
  if (sample.has(kSampleBlockTokens)) json["block_tokens"] = sample.block_tokens;
  if (sample.has(kSampleBlockCount)) json["block_count"] = sample.block_count;
  if (sample.has(kSampleLora)) {
    json["lora_active"] = sample.lora_active;
    json["lora_waiting"] = sample.lora_waiting;
    json["lora_adapters_max"] = sample.lora_adapters_max;
  }
  for (size_t i = 0; i < plan.custom_keys().size(); ++i) {
    if ((sample.custom_present >> i & 1) == 0) continue;
    json["custom"][plan.custom_keys()[i]] = sample.custom_values[i];
  }
  return json;
}

class ExtractGolden : public testing::TestWithParam<std::string> {};

TEST_P(ExtractGolden, PageGivesTheExpectedValues) {
  const Json golden = Json::parse(ReadFile(kGoldens / (GetParam() + ".json")));
  const std::string page = ReadFile(kGoldens / (golden.value("page", GetParam()) + ".prom"));
  const auto options =
      ParseCoreMetricsOptions(golden.contains("parameters") ? golden["parameters"].dump() : "");
  ASSERT_TRUE(options.ok()) << options.status();
  const auto plans = ScrapePlans::Create(*options);
  ASSERT_TRUE(plans.ok()) << plans.status();
  const ScrapePlan& plan = plans->ForEngine(golden["engine"].get<std::string>());
  EndpointSample sample;
  const ExtractStats stats = Extract(plan, page, sample);
  EXPECT_EQ(ToJson(plan, sample), golden["expect"]) << golden["source"];
  EXPECT_EQ((Json{{"missing", stats.missing},
                  {"bad_values", stats.bad_values},
                  {"malformed_lines", stats.malformed_lines}}),
            golden["stats"]);
  EXPECT_EQ(stats.updated, !golden["expect"].empty());
}

INSTANTIATE_TEST_SUITE_P(Pages, ExtractGolden, testing::ValuesIn(CaseNames()),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// A built-in engine without a page of its own is an engine nobody tried.
TEST(ExtractGoldenTest, EveryBuiltinEngineHasAPage) {
  for (const BuiltinEngine& engine : BuiltinEngines()) {
    EXPECT_TRUE(std::filesystem::exists(kGoldens / (std::string(engine.name) + ".prom")))
        << engine.name;
  }
}

}  // namespace
}  // namespace weir::io
