#include "load/process_use.h"

#include <unistd.h>

#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
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

}  // namespace

bool ParseStatTicks(std::string_view stat, uint64_t* ticks) {
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string_view::npos) return false;
  // After the name come state, ppid, ...; user and system time are the 12th and 13th of them.
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::string_view(stat.data() + name_end + 1, stat.size() - name_end - 1), ' ',
                     absl::SkipEmpty());
  uint64_t user = 0, system = 0;
  if (fields.size() < 13 || !absl::SimpleAtoi(fields[11], &user) ||
      !absl::SimpleAtoi(fields[12], &system)) {
    return false;
  }
  *ticks = user + system;
  return true;
}

absl::StatusOr<WatchedProcess> ParseWatched(std::string_view text) {
  const absl::string_view given(text.data(), text.size());
  const size_t equals = text.find('=');
  int64_t pid = 0;
  if (equals == std::string_view::npos || equals == 0 ||
      !absl::SimpleAtoi(given.substr(equals + 1), &pid) || pid < 1 || pid > 1 << 30) {
    return absl::InvalidArgumentError(absl::StrCat("--watch: \"", given, "\", expected NAME=PID"));
  }
  WatchedProcess process{std::string(text.substr(0, equals)), {}};
  uint64_t ticks = 0;
  if (!ParseStatTicks(ProcFile(static_cast<pid_t>(pid), "stat"), &ticks)) {
    return absl::NotFoundError(absl::StrCat("--watch: \"", given, "\": there is no process ", pid));
  }
  AddTree(static_cast<pid_t>(pid), process.pids);
  return process;
}

WatchedProcess WatchSelf() { return {"weir-load", {getpid()}}; }

ProcessSample SampleProcess(const WatchedProcess& process) {
  ProcessSample sample;
  for (const pid_t pid : process.pids) {
    uint64_t ticks = 0, total_pages = 0, resident_pages = 0;
    if (ParseStatTicks(ProcFile(pid, "stat"), &ticks)) {
      sample.cpu_s += static_cast<double>(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
    }
    std::istringstream pages(ProcFile(pid, "statm"));
    if (pages >> total_pages >> resident_pages) {
      sample.resident_bytes += resident_pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    }
  }
  return sample;
}

}  // namespace weir::load
