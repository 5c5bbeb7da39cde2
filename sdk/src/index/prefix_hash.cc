#include "weir/prefix_hash.h"

// Compiled in: faster on short inputs, and users of the static library need not link it.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <new>

namespace weir {
namespace {

static_assert(std::endian::native == std::endian::little, "token ids are hashed as they lie");

constexpr XXH64_hash_t kSeed = 0;

XXH64_state_t* State(unsigned char* bytes) noexcept {
  return std::launder(reinterpret_cast<XXH64_state_t*>(bytes));
}

}  // namespace

uint64_t PrefixSeed(std::string_view model, std::string_view salt) noexcept {
  if (salt.empty()) return XXH64(model.data(), model.size(), kSeed);
  XXH64_state_t state;
  XXH64_reset(&state, kSeed);
  XXH64_update(&state, model.data(), model.size());
  XXH64_update(&state, salt.data(), salt.size());
  return XXH64_digest(&state);
}

PrefixHasher::PrefixHasher(uint64_t seed, uint32_t block_tokens, std::span<uint64_t> out) noexcept
    : out_(out), chain_(seed), block_tokens_(std::max(block_tokens, 1u)) {
  static_assert(sizeof(XXH64_state_t) <= kStateBytes && alignof(XXH64_state_t) <= 8);
  new (state_) XXH64_state_t;
}

void PrefixHasher::Emit(uint64_t content) noexcept {
  const uint64_t pair[2] = {content, chain_};
  chain_ = XXH64(pair, sizeof(pair), kSeed);
  out_[block_count_++] = chain_;
}

void PrefixHasher::Append(std::span<const uint32_t> tokens) noexcept {
  while (!tokens.empty() && block_count_ < out_.size()) {
    if (pending_tokens_ == 0 && tokens.size() >= block_tokens_) {
      Emit(XXH64(tokens.data(), size_t{block_tokens_} * sizeof(uint32_t), kSeed));
      tokens = tokens.subspan(block_tokens_);
      continue;
    }
    if (pending_tokens_ == 0) XXH64_reset(State(state_), kSeed);
    const size_t taken = std::min<size_t>(tokens.size(), block_tokens_ - pending_tokens_);
    XXH64_update(State(state_), tokens.data(), taken * sizeof(uint32_t));
    pending_tokens_ += static_cast<uint32_t>(taken);
    tokens = tokens.subspan(taken);
    if (pending_tokens_ == block_tokens_) {
      Emit(XXH64_digest(State(state_)));
      pending_tokens_ = 0;
    }
  }
}

size_t PrefixHasher::Finish(PartialBlock partial) noexcept {
  if (partial == PartialBlock::kHash && pending_tokens_ > 0 && block_count_ < out_.size()) {
    Emit(XXH64_digest(State(state_)));
  }
  pending_tokens_ = 0;
  return block_count_;
}

size_t HashPrefixBlocks(uint64_t seed, std::span<const uint32_t> tokens, uint32_t block_tokens,
                        std::span<uint64_t> out, PartialBlock partial) noexcept {
  PrefixHasher hasher(seed, block_tokens, out);
  hasher.Append(tokens);
  return hasher.Finish(partial);
}

}  // namespace weir
