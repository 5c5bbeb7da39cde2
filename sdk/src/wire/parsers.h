// wire/parsers.h: the parser types, the paths that each claims, and what reading a path means.
#pragma once

#include <span>
#include <string_view>

#include "weir/response_format.h"
#include "wire/body_reader.h"

namespace weir::internal {

// A path that a parser reads: ends in `suffix` behind a '/' or '.'.
struct ParserClaim {
  std::string_view suffix;
  Api api = Api::kOther;
  BodyFormat format = BodyFormat::kRaw;
  ResponseFormat responses = ResponseFormat::kNone;
  bool whole_path = false;     // nothing but a '/' may stand before the suffix
  bool skip_response = false;  // nothing is learnt from the response
};

struct ParserType {
  std::string_view name;
  bool can_rewrite = false;                  // writes another model into bodies
  std::span<const ParserClaim> claims = {};  // empty: any path that nobody else claims
};

std::span<const ParserType> ParserTypes();
const ParserType* FindParserType(std::string_view name);  // null: no such type

// Without query and final slash.
std::string_view CleanPath(std::string_view path);

struct ParserChoice {
  const ParserType* type = nullptr;  // null: none reads this path
  ParserClaim claim;
};
// The parser with the longest claim that a clean path ends in; of equal ones the first in order. If
// there is none, the first parser without claims. [hot, concurrent]
ParserChoice ChooseParser(std::span<const ParserType* const> parsers, std::string_view path);

}  // namespace weir::internal
