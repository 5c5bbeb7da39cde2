// weir/options.h: what an embedder may set; everything has a default.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "weir/clock.h"

struct weir_module;

namespace weir {

class DecisionRecorder;

// How the load columns show an endpoint whose metrics were never read.
enum class UnscrapedPolicy {
  kWorst,  // the highest value that any sampled endpoint has, so that it wins no comparison
  kIdle,   // all zero, as llm-d's picker: it attracts traffic
};

enum class LogLevel : uint32_t { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3 };

struct RouterOptions {
  // Affects behaviour.
  bool count_unscraped_requests =
      true;  // add to the load columns what was sent since the last sample
  UnscrapedPolicy unscraped = UnscrapedPolicy::kWorst;
  int64_t sample_age_ns_max = 0;            // older samples count as never read; 0: no limit
  bool allow_experimental_plugins = false;  // plugins of stability alpha
  std::vector<std::string> plugin_files;    // shared objects, absolute or relative paths
  // Tables of plugin types in this process (weir/plugin/abi.h); what they point to lives forever.
  std::vector<const weir_module*> plugin_modules;
  uint64_t seed = 0;             // 0: drawn from the clock at creation
  const Clock* clock = nullptr;  // borrowed; null: SystemClock()
  // Receives warnings of configuration and plugins; null: dropped. Called at [control] time and on
  // a plugin's first failure of a kind. Must be thread-safe.
  std::function<void(LogLevel, std::string_view)> log;
  // Borrowed, for one router, and alive until the last copy of it, its decisions and its flights
  // are gone; null: nothing is recorded.
  DecisionRecorder* recorder = nullptr;
  // Affects memory.
  uint32_t decisions_kept = 64;  // for RecentDecisions, 0..1024
};

}  // namespace weir
