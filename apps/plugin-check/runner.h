// runner.h: runs a check in a child process, so that a crash is a result.
#pragma once

#include <functional>
#include <string>

#include "checks.h"

namespace weir::plugin_check {

enum class Outcome { kOk, kFailed, kSkipped, kCrashed, kTimedOut };

struct CheckResult {
  Outcome outcome = Outcome::kOk;
  std::string detail;
};

// "ok", "FAILED", "skipped", "CRASHED", "TIMED OUT".
std::string OutcomeName(Outcome outcome);

inline constexpr unsigned kCheckSecondsMax = 60;

// Runs `body`, which may throw CheckFailure or CheckSkipped and reports through its argument where
// it is. With in_process a crash takes this process down, as a debugger wants it.
CheckResult RunCheck(const std::function<std::string(const Progress&)>& body, bool in_process);

}  // namespace weir::plugin_check
