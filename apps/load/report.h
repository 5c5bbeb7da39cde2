// load/report.h: summaries for people and for machines: tables, report.json, report.html.
#pragma once

#include <span>
#include <string>

#include "load/summary.h"

namespace weir::load {

inline constexpr size_t kPoliciesMax = 16;  // in one comparison

// All figures of one run, for a terminal.
std::string RenderRun(const Summary& summary);

// One line per run: the table of `weir-load compare`.
std::string RenderComparison(std::span<const Summary> runs);

// {"policies": [{name, requests, errors, ttft_ms{p50,p90,p99}, output_tokens_per_s,
// prefix_hit_ratio, requests_per_server[]}, ...]}
std::string RenderReportJson(std::span<const Summary> runs);

// A page that needs nothing but itself: plots, bars and the table. `title` is its heading.
std::string RenderReportHtml(std::span<const Summary> runs, std::string_view title);

// Text helpers, shared with the progress line.
std::string FormatMs(double ms);        // "0.42 ms", "123 ms", "12.3 s"
std::string FormatCount(double count);  // "12,345"
std::string FormatRatio(double ratio);  // "56.7 %"

}  // namespace weir::load
