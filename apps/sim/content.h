// What a simulated model says: words from a fixed list, drawn from a seed.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "weir/random.h"

namespace weir::sim {

// One token of an answer. The text lives forever, or as long as the text it was taken from.
struct Piece {
  std::string_view text;
  uint32_t token = 0;
};

// `count` pieces; joined they are text, and the tokens are those of Tokenize() of it.
std::vector<Piece> RandomPieces(Random& random, uint32_t count);

// The pieces of `text`, which must outlive them.
std::vector<Piece> PiecesOf(std::string_view text);

// How many tokens an answer has. Without a limit (0) a normal draw around 40, at most `room`; with
// a limit one of six buckets, of which the last ends at the limit.
uint32_t RandomAnswerTokens(Random& random, uint32_t limit, uint32_t room);

// A normal draw with mean 0 and deviation 1.
double NextNormal(Random& random);

// The text of a token that this process can have said, else an empty view.
std::string_view KnownTokenText(uint32_t token) noexcept;

}  // namespace weir::sim
