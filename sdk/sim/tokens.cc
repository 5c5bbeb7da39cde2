#include "weir/sim/tokens.h"

namespace weir::sim {
namespace {

bool IsWordByte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
         (byte >= '0' && byte <= '9') || byte >= 0x80;
}

// Length of the token that `text` starts with. REQUIRES: text is not empty
size_t TokenLength(std::string_view text) {
  size_t end = 0;
  if (text[0] == ' ' && text.size() > 1 && IsWordByte(text[1])) end = 1;
  if (!IsWordByte(text[end])) return 1;
  while (end < text.size() && IsWordByte(text[end])) ++end;
  return end;
}

}  // namespace

uint32_t TokenId(std::string_view token) noexcept {
  uint32_t hash = 2166136261u;
  for (const char c : token) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

std::vector<std::string_view> SplitTokens(std::string_view text) {
  std::vector<std::string_view> tokens;
  while (!text.empty()) {
    const size_t length = TokenLength(text);
    tokens.push_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return tokens;
}

std::vector<uint32_t> Tokenize(std::string_view text) {
  std::vector<uint32_t> ids;
  ids.reserve(text.size() / 5 + 1);
  while (!text.empty()) {
    const size_t length = TokenLength(text);
    ids.push_back(TokenId(text.substr(0, length)));
    text.remove_prefix(length);
  }
  return ids;
}

std::vector<uint32_t> TraceTokens(std::span<const uint64_t> hash_ids, uint32_t token_count) {
  std::vector<uint32_t> tokens(token_count);
  if (hash_ids.empty()) return tokens;
  for (uint32_t i = 0; i < token_count; ++i) {
    const size_t block = i / kTraceBlockTokens;
    const uint64_t id = hash_ids[block < hash_ids.size() ? block : hash_ids.size() - 1];
    tokens[i] = static_cast<uint32_t>(id * kTraceBlockTokens + i % kTraceBlockTokens);
  }
  return tokens;
}

}  // namespace weir::sim
