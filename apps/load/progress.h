// load/progress.h: the line that shows how far a run has come.
#pragma once

#include <cstdint>
#include <string>

namespace weir::load {

struct ProgressState {
  std::string name;
  double share = -1;  // 0..1 of the run; below 0: unknown
  double elapsed_s = 0;
  uint64_t finished = 0;
  uint64_t errors = 0;
  uint64_t in_flight = 0;
  double requests_per_s = 0;  // lately
  double output_tokens_per_s = 0;
  double ttft_ms = -1;  // mean, lately; below 0: none
  bool warming_up = false;
};

// One line without its end; `bar_width` columns of bar, 0: none.
std::string RenderProgress(const ProgressState& state, int bar_width);

}  // namespace weir::load
