// The command line of weir-sim.
#pragma once

#include <string>
#include <vector>

#include "options.h"

namespace weir::sim {

struct CommandLine {
  SimOptions options;
  bool validate = false;
  std::vector<std::string> notes;  // flags that were accepted and change nothing, one line each
};

// Reads flags, then environment, then the file of --config, then defaults. Returns an exit status
// if the program has nothing more to do (help was printed, an error was reported), else -1.
int ReadCommandLine(int argc, const char* const* argv, CommandLine& line);

}  // namespace weir::sim
