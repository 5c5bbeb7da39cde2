#include "load/progress.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "load/report.h"

namespace weir::load {

std::string RenderProgress(const ProgressState& state, int bar_width) {
  std::string line = absl::StrFormat("  %-14s ", state.name);
  if (state.share >= 0) {
    const double share = std::min(1.0, state.share);
    const int filled = static_cast<int>(share * bar_width + 0.5);
    for (int i = 0; i < bar_width; ++i) line += i < filled ? "█" : "░";
    absl::StrAppendFormat(&line, "%s%3.0f %%", bar_width > 0 ? " " : "", share * 100);
  } else {
    absl::StrAppendFormat(&line, "%.0f s", state.elapsed_s);
  }
  absl::StrAppend(&line, "  ", FormatCount(static_cast<double>(state.finished)), " done, ",
                  state.in_flight, " in flight, ", FormatCount(state.requests_per_s), " req/s, ",
                  FormatCount(state.output_tokens_per_s), " tok/s");
  if (state.ttft_ms >= 0) absl::StrAppend(&line, ", TTFT ", FormatMs(state.ttft_ms));
  if (state.errors > 0) absl::StrAppend(&line, ", ", state.errors, " errors");
  if (state.warming_up) line += ", warming up";
  return line;
}

}  // namespace weir::load
