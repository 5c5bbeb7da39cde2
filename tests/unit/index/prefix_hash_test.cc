#include "weir/prefix_hash.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "weir/random.h"

namespace weir {
namespace {

uint64_t FromHex(const std::string& text) { return std::stoull(text, nullptr, 16); }

std::vector<uint32_t> Tokens(uint32_t first, size_t count) {
  std::vector<uint32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST(PrefixHash, Goldens) {
  std::ifstream file(WEIR_SOURCE_DIR "/tests/golden/prefix/block_hashes.json");
  for (const auto& golden : nlohmann::json::parse(file)) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    const uint64_t seed =
        PrefixSeed(golden["model"].get<std::string>(), golden["salt"].get<std::string>());
    EXPECT_EQ(seed, FromHex(golden["seed"]));
    const auto tokens = Tokens(golden["first_token"], golden["token_count"]);
    std::vector<uint64_t> expected;
    for (const std::string hash : golden["full_blocks"]) expected.push_back(FromHex(hash));
    std::vector<uint64_t> out(8);
    size_t count = HashPrefixBlocks(seed, tokens, golden["block_tokens"], out);
    EXPECT_EQ(std::vector(out.begin(), out.begin() + count), expected);
    if (const std::string partial = golden["partial_block"]; !partial.empty()) {
      expected.push_back(FromHex(partial));
    }
    count = HashPrefixBlocks(seed, tokens, golden["block_tokens"], out, PartialBlock::kHash);
    EXPECT_EQ(std::vector(out.begin(), out.begin() + count), expected);
  }
}

TEST(PrefixHash, CutsDoNotMatter) {
  const auto tokens = Tokens(1000, 1000);
  const uint64_t seed = PrefixSeed("m");
  std::vector<uint64_t> expected(20);
  expected.resize(HashPrefixBlocks(seed, tokens, 64, expected, PartialBlock::kHash));
  ASSERT_EQ(expected.size(), 16u);
  Random random(5);
  for (int round = 0; round < 200; ++round) {
    std::vector<uint64_t> out(20);
    PrefixHasher hasher(seed, 64, out);
    for (std::span<const uint32_t> rest = tokens; !rest.empty();) {
      const size_t taken = std::min<size_t>(random.NextBelow(150), rest.size());
      hasher.Append(rest.first(taken));
      rest = rest.subspan(taken);
    }
    EXPECT_EQ(hasher.block_count(), 15u);
    out.resize(hasher.Finish(PartialBlock::kHash));
    ASSERT_EQ(out, expected) << "round " << round;
  }
}

TEST(PrefixHash, WritesNoMoreThanTheCallersSpan) {
  const auto tokens = Tokens(0, 64 * 10 + 5);
  std::vector<uint64_t> out(4, 99);
  EXPECT_EQ(HashPrefixBlocks(1, tokens, 64, std::span(out).first(3), PartialBlock::kHash), 3u);
  EXPECT_EQ(out[3], 99u);
  EXPECT_EQ(HashPrefixBlocks(1, tokens, 64, {}, PartialBlock::kHash), 0u);
}

TEST(PrefixHash, ABlockCoversAllBeforeIt) {
  auto tokens = Tokens(0, 256);
  uint64_t before[4], after[4];
  HashPrefixBlocks(PrefixSeed("m"), tokens, 64, before);
  tokens[70] ^= 1;
  HashPrefixBlocks(PrefixSeed("m"), tokens, 64, after);
  EXPECT_EQ(before[0], after[0]);
  for (int i = 1; i < 4; ++i) EXPECT_NE(before[i], after[i]);
  HashPrefixBlocks(PrefixSeed("m", "salt"), tokens, 64, before);
  for (int i = 0; i < 4; ++i) EXPECT_NE(before[i], after[i]);
}

TEST(PrefixHash, ABlockOfNoTokensCountsAsOne) {
  uint64_t zero[2], one[2];
  const auto tokens = Tokens(0, 2);
  EXPECT_EQ(HashPrefixBlocks(7, tokens, 0, zero), 2u);
  EXPECT_EQ(HashPrefixBlocks(7, tokens, 1, one), 2u);
  EXPECT_EQ(zero[1], one[1]);
}

}  // namespace
}  // namespace weir
