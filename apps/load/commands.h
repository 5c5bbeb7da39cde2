// load/commands.h: the subcommands of weir-load.
#pragma once

#include <CLI/CLI.hpp>

namespace weir::load {

inline constexpr int kExitOk = 0;
inline constexpr int kExitErrors = 1;  // more errors than --errors-max allows
inline constexpr int kExitUsage = 2;   // wrong flags, unreadable files

// Each adds one subcommand. Parsing a command line that names it runs it and sets *exit_code.
void AddRunCommand(CLI::App& app, int* exit_code);
void AddProxyCommand(CLI::App& app, int* exit_code);
void AddGenerateCommand(CLI::App& app, int* exit_code);
void AddCompareCommand(CLI::App& app, int* exit_code);

}  // namespace weir::load
