// load/text.h: deterministic prompt text that every tokenizer cuts into about as many tokens as
// asked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weir::load {

// Mixes two numbers into a seed; order matters. [hot, concurrent]
uint64_t MixSeed(uint64_t a, uint64_t b) noexcept;

// Appends `word_count` words, each led by one space, drawn from `seed`: equal seeds give equal
// text. The words are common enough to be one token each in the usual byte-pair vocabularies, and
// need no escaping in JSON.
void AppendWords(uint64_t seed, uint32_t word_count, std::string& out);

// Appends `text` as the inside of a JSON string: quotes, backslashes and control bytes escaped,
// bytes that are not UTF-8 replaced by U+FFFD.
void AppendJsonEscaped(std::string_view text, std::string& out);

}  // namespace weir::load
