#include "load/process_use.h"

#include <unistd.h>

#include <ctime>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "load/files.h"

namespace weir::load {
namespace {

constexpr size_t kProcFileBytesMax = 1 << 16;

std::string ProcFile(pid_t pid, const char* name) {
  auto text = ReadFile(absl::StrCat("/proc/", pid, "/", name), kProcFileBytesMax);
  return text.ok() ? *std::move(text) : std::string();
}

// Adds the process and all below it.
void AddTree(pid_t pid, std::vector<pid_t>& pids) {
  if (pids.size() > kProcessChildrenMax) return;
  pids.push_back(pid);
  std::istringstream children(ProcFile(pid, absl::StrCat("task/", pid, "/children").c_str()));
  for (pid_t child; children >> child;) AddTree(child, pids);
}

// CPU time of all threads of a process so far; false if there is no such process.
bool CpuTime(pid_t pid, double* seconds) {
  clockid_t clock;
  timespec time;
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) return false;
  *seconds = static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
  return true;
}

}  // namespace

absl::StatusOr<WatchedProcess> ParseWatched(std::string_view text) {
  const absl::string_view given(text.data(), text.size());
  const size_t equals = text.find('=');
  int64_t pid = 0;
  if (equals == std::string_view::npos || equals == 0 ||
      !absl::SimpleAtoi(given.substr(equals + 1), &pid) || pid < 1 || pid > 1 << 30) {
    return absl::InvalidArgumentError(absl::StrCat("--watch: \"", given, "\", expected NAME=PID"));
  }
  WatchedProcess process{std::string(text.substr(0, equals)), {}};
  double seconds = 0;
  if (!CpuTime(static_cast<pid_t>(pid), &seconds)) {
    return absl::NotFoundError(absl::StrCat("--watch: \"", given, "\": there is no process ", pid));
  }
  AddTree(static_cast<pid_t>(pid), process.pids);
  return process;
}

WatchedProcess WatchSelf() { return {"weir-load", {getpid()}}; }

ProcessSample SampleProcess(const WatchedProcess& process) {
  ProcessSample sample;
  for (const pid_t pid : process.pids) {
    uint64_t total_pages = 0, resident_pages = 0;
    double seconds = 0;
    if (CpuTime(pid, &seconds)) sample.cpu_s += seconds;
    std::istringstream pages(ProcFile(pid, "statm"));
    if (pages >> total_pages >> resident_pages) {
      sample.resident_bytes += resident_pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    }
  }
  return sample;
}

}  // namespace weir::load
