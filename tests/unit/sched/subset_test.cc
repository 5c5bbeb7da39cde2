#include "sched/subset.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "weir/limits.h"

namespace weir::internal {
namespace {

std::vector<std::string> Left(const std::vector<std::string>& endpoints,
                              const std::vector<std::string>& subset) {
  const std::vector<std::string_view> views(subset.begin(), subset.end());
  std::vector<weir_str> addresses;
  for (const std::string& endpoint : endpoints)
    addresses.push_back({endpoint.data(), endpoint.size()});
  Arena arena(1 << 24);
  std::vector<uint64_t> keep((endpoints.size() + 63) / 64, ~uint64_t{0});
  EXPECT_TRUE(KeepSubset(views, addresses.data(), static_cast<uint32_t>(endpoints.size()), arena,
                         keep.data()));
  std::vector<std::string> left;
  for (size_t i = 0; i < endpoints.size(); ++i) {
    if ((keep[i / 64] >> (i % 64)) & 1) left.push_back(endpoints[i]);
  }
  return left;
}

TEST(KeepSubset, LeavesWhatTheGoldenHintsName) {
  std::ifstream file(std::string(WEIR_SOURCE_DIR) + "/tests/golden/intake/subset.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  for (const nlohmann::json& one : golden.at("cases")) {
    if (one.at("subset").is_null()) continue;  // no hint: Decide does not ask
    EXPECT_EQ(Left(one.at("endpoints"), one.at("subset")), one.at("left")) << one.at("name");
  }
}

TEST(KeepSubset, FindsEachOfManyAndStopsAtTheLimit) {
  std::vector<std::string> endpoints, subset;
  for (uint32_t i = 0; i < 130; ++i) endpoints.push_back("10.0.0." + std::to_string(i) + ":80");
  for (uint32_t i = 0; i < 130; i += 2) subset.push_back("10.0.0." + std::to_string(i));
  EXPECT_EQ(Left(endpoints, subset).size(), 65u);
  subset.assign(kSubsetEntriesMax, "1.1.1.1");
  subset.back() = "10.0.0.1";
  EXPECT_EQ(Left(endpoints, subset).size(), 1u);
  subset.back() = "1.1.1.1";
  subset.push_back("10.0.0.1");
  EXPECT_EQ(Left(endpoints, subset).size(), 0u);
}

TEST(KeepSubset, SaysWhenThereIsNoMemory) {
  Arena arena(16);
  const std::string_view subset[] = {"a"};
  const weir_str address = {"a:1", 3};
  uint64_t keep = 0;
  EXPECT_FALSE(KeepSubset(subset, &address, 1, arena, &keep));
}

}  // namespace
}  // namespace weir::internal
