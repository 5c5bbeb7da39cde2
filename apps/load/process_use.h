// load/process_use.h: CPU time and memory of this program and of others.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace weir::load {

inline constexpr size_t kWatchedProcessesMax = 16;  // of --watch
inline constexpr size_t kProcessChildrenMax = 256;  // counted with one of them

// A process with the children it has when watching begins, under one name.
struct WatchedProcess {
  std::string name;
  std::vector<pid_t> pids;
};

// Reads "NAME=PID". Errors: kInvalidArgument, naming the text and what was expected, or that there
// is no such process. [io]
absl::StatusOr<WatchedProcess> ParseWatched(std::string_view text);
// This program, named "weir-load".
WatchedProcess WatchSelf();

struct ProcessSample {
  double cpu_s = 0;
  uint64_t resident_bytes = 0;
};

// Sums over the processes that still exist. [io]
ProcessSample SampleProcess(const WatchedProcess& process);

}  // namespace weir::load
