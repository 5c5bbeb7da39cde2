// flags.h: the command line of weir-epp: all flags of llm-d's picker, and a few of its own.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "epp.h"

namespace weir::epp {

struct Flags {
  EppOptions options;
  bool validate = false;
  std::string help;  // not empty: print it and exit
  LogLevel log_level = LogLevel::kInfo;
  bool log_json = true;
  // To be logged once at start, one text each: flags that do nothing in this version, and values
  // that were changed.
  std::vector<std::string> notices;
};

// Reads the arguments after the program's name. Errors: kInvalidArgument with a text for people, in
// llm-d's words where it has some. Reads the files that flags of certificates name. [control]
absl::StatusOr<Flags> ParseFlags(const std::vector<std::string>& arguments);

}  // namespace weir::epp
