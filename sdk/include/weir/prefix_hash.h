// weir/prefix_hash.h: the names of prompt prefixes. A prompt's tokens are cut into blocks; the hash
// of a block covers everything before it, so equal hashes mean equal prefixes of the same model and
// salt.
//
//   h_0 = XXH64(model || salt)    c_i = XXH64(token ids of block i, u32 little-endian)
//   h_i = XXH64(LE64(c_i) || LE64(h_(i-1)))                    all with seed 0; i = 1, 2, ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace weir {

// What becomes of the tokens after the last full block.
enum class PartialBlock : uint8_t {
  kDrop,  // they have no hash: an engine caches full blocks only
  kHash,  // they count as a block, as in llm-d
};

// h_0: prompts of different models, adapters or salts never share a block. [hot, concurrent]
uint64_t PrefixSeed(std::string_view model, std::string_view salt = {}) noexcept;

// Hashes a prompt whose tokens come in pieces, in any sizes; the hashes do not depend on the cuts.
// Allocates nothing. One thread at a time.
class PrefixHasher {
 public:
  // Writes at most out.size() hashes, h_1 first; later blocks are ignored. Borrowed: `out`, until
  // the hasher's last call. A `block_tokens` of 0 counts as 1. [hot]
  PrefixHasher(uint64_t seed, uint32_t block_tokens, std::span<uint64_t> out) noexcept;

  // Hashes the next tokens of the prompt. Borrowed: `tokens`, until return. [hot, serial]
  void Append(std::span<const uint32_t> tokens) noexcept;

  // Ends the prompt and returns how many hashes were written. Append must not follow. [hot, serial]
  size_t Finish(PartialBlock partial = PartialBlock::kDrop) noexcept;

  // Hashes written so far. [hot, serial]
  size_t block_count() const noexcept { return block_count_; }

 private:
  static constexpr size_t kStateBytes = 88;  // XXH64_state_t; checked in the source file

  void Emit(uint64_t content) noexcept;

  std::span<uint64_t> out_;
  uint64_t chain_;  // h_(i-1)
  size_t block_count_ = 0;
  uint32_t block_tokens_;
  uint32_t pending_tokens_ = 0;                  // tokens of the open block that state_ has seen
  alignas(8) unsigned char state_[kStateBytes];  // content hash of the open block
};

// Hashes a whole prompt: out[0] = h_1 and so on, at most out.size(). Returns how many were written.
// Borrowed: both spans, until return. [hot, concurrent]
size_t HashPrefixBlocks(uint64_t seed, std::span<const uint32_t> tokens, uint32_t block_tokens,
                        std::span<uint64_t> out,
                        PartialBlock partial = PartialBlock::kDrop) noexcept;

}  // namespace weir
