// load/client_flags.h: the flags about targets, connections and output, shared by `run` and
// `proxy`.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "load/runner.h"

namespace weir::load {

// Flag values as given; ApplyClientFlags() checks them.
struct ClientFlags {
  std::vector<std::string> targets;
  std::string api = "chat";
  bool no_stream = false;
  std::string model = "default";
  std::vector<std::string> headers;
  std::string api_key;
  std::string extra_body;
  std::string server_header = "x-weir-endpoint";
  std::string timeout = "300s";
  std::string connect_timeout = "5s";
  std::string drain;
  bool insecure = false;
  std::string ca_file;
  uint32_t threads = 1;
  std::vector<std::string> watch;
  std::string name;
  std::string json_file;
  double errors_max = 0.01;
  bool quiet = false;
};

// Adds the flags to `command`. Borrowed: both, until the command line is parsed.
void AddClientFlags(CLI::App& command, ClientFlags& flags);

// Fills the part of the plan that the flags are about.
// Errors: kInvalidArgument, naming the flag, its value and what was expected.
absl::Status ApplyClientFlags(const ClientFlags& flags, RunPlan* plan);

// Runs the plan, prints the table, writes the file. Returns the exit code.
int RunAndReport(const ClientFlags& flags, const RunPlan& plan);

}  // namespace weir::load
