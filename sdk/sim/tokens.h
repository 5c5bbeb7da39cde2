// weir/sim/tokens.h: text to token ids without model files.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace weir::sim {

// Tokens that one hash id of a public trace stands for.
inline constexpr uint32_t kTraceBlockTokens = 512;

// FNV-1a, 32 bits. [concurrent]
uint32_t TokenId(std::string_view token) noexcept;

// Splits text into tokens: a run of letters, digits and bytes above 127 is one token together with
// the one space before it; each other byte is a token of its own. The tokens joined are the text.
// Views into `text`. [concurrent]
std::vector<std::string_view> SplitTokens(std::string_view text);

// TokenId() of each token of SplitTokens(). [concurrent]
std::vector<uint32_t> Tokenize(std::string_view text);

// The prompt of a trace line: block i holds tokens hash_ids[i] * 512 + 0, + 1, ..., so equal ids
// give equal blocks. The last block is cut to, or repeated until, `token_count`. Ids wrap at 32
// bits. [concurrent]
std::vector<uint32_t> TraceTokens(std::span<const uint64_t> hash_ids, uint32_t token_count);

}  // namespace weir::sim
