// load/workload_flags.h: the flags that describe conversations, shared by `run` and `generate`.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "load/source.h"

namespace weir::load {

// Flag values as given; MakeConversationPlan() checks them.
struct WorkloadFlags {
  std::string preset;
  uint64_t seed = 1;
  uint32_t conversations = 100;
  uint32_t groups = 8;
  std::string shared_tokens = "0";
  std::string system_tokens = "1000";
  std::string context_tokens = "0";
  std::string turns = "4";
  std::string input_tokens = "100";
  std::string output_tokens = "100";
  std::string think_ms = "0";
};

// Adds the flags to `command`. Borrowed: both, until the command line is parsed.
void AddWorkloadFlags(CLI::App& command, WorkloadFlags& flags);

// Fills in the preset for flags that were not given, and reads the distributions.
// Errors: kInvalidArgument, naming the flag, its value and what was expected.
absl::StatusOr<ConversationPlan> MakeConversationPlan(const CLI::App& command, WorkloadFlags flags);

// Reads "1.5s", "200ms", "2m"; a bare number counts seconds.
// Errors: kInvalidArgument, naming the flag, its value and what was expected.
absl::StatusOr<absl::Duration> ParseDurationFlag(std::string_view flag, const std::string& text);

// Prints "weir-load: message" to stderr.
void PrintError(const absl::Status& status);

}  // namespace weir::load
