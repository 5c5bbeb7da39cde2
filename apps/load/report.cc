#include "load/report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "load/report_page.h"

namespace weir::load {
namespace {

// Columns of a terminal: code points, which is right for the Latin names that runs are given.
size_t WidthOf(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string Pad(std::string text, size_t width, bool right) {
  const size_t have = WidthOf(text);
  if (have >= width) return text;
  const std::string space(width - have, ' ');
  return right ? space + text : text + space;
}

void AppendQuantiles(const char* name, const Quantiles& q, std::string& out) {
  absl::StrAppend(&out, "  ", Pad(name, 20, false));
  if (q.count == 0) {
    out += "          -\n";
    return;
  }
  for (const double value : {q.min, q.mean, q.p50, q.p90, q.p95, q.p99, q.max}) {
    out += Pad(FormatMs(value), 11, true);
  }
  out += '\n';
}

std::string ServerCounts(const Summary& run) {
  constexpr size_t kShown = 12;
  std::string out;
  for (size_t i = 0; i < run.servers.size() && i < kShown; ++i) {
    absl::StrAppend(&out, i == 0 ? "" : " ", run.servers[i].second);
  }
  if (run.servers.size() > kShown) absl::StrAppend(&out, " ... (", run.servers.size(), ")");
  return out.empty() ? "-" : out;
}

void AppendProcesses(const Summary& s, std::string& out) {
  for (const ProcessUse& use : s.processes) {
    absl::StrAppend(&out, "  ", Pad(absl::StrCat("cpu ", use.name), 20, false), "  ",
                    absl::StrFormat("%.2f s, %.1f us a request, %.2f us a token event, %.1f MiB\n",
                                    use.cpu_s, use.us_per_request, use.us_per_event,
                                    static_cast<double>(use.resident_bytes_max) / 1048576.0));
  }
}

}  // namespace

std::string FormatMs(double ms) {
  if (ms >= 10'000) return absl::StrFormat("%.1f s", ms / 1000);
  if (ms >= 100) return absl::StrFormat("%.0f ms", ms);
  if (ms >= 10) return absl::StrFormat("%.1f ms", ms);
  return absl::StrFormat("%.2f ms", ms);
}

std::string FormatCount(double count) {
  std::string digits =
      absl::StrFormat(count < 10 && count != std::floor(count) ? "%.2f" : "%.0f", count);
  const size_t end = std::min(digits.find('.'), digits.size());
  for (size_t at = end; at > 3 && digits[at - 4] != '-';) digits.insert(at -= 3, ",");
  return digits;
}

std::string FormatRatio(double ratio) { return absl::StrFormat("%.1f %%", ratio * 100); }

std::string RenderRun(const Summary& s) {
  std::string out = absl::StrCat("\n", s.name, ": ", s.workload, "\n\n");
  absl::StrAppend(&out, "  requests              ", FormatCount(static_cast<double>(s.requests)),
                  " in ", absl::StrFormat("%.1f s", s.duration_s), ", ",
                  FormatCount(static_cast<double>(s.errors)), " errors");
  if (s.warmup_requests > 0) absl::StrAppend(&out, ", ", s.warmup_requests, " before as warm-up");
  if (s.unsent > 0) absl::StrAppend(&out, ", ", s.unsent, " due but never sent");
  if (s.waited_for_turn > 0) {
    absl::StrAppend(&out, ", ", s.waited_for_turn, " waited for a turn to be ready");
  }
  if (s.unfinished > 0) absl::StrAppend(&out, ", ", s.unfinished, " cut off by the end");
  absl::StrAppend(&out, "\n  throughput            ", FormatCount(s.requests_per_s),
                  " requests/s of ", FormatCount(s.offered_requests_per_s), " offered, ",
                  FormatCount(s.output_tokens_per_s), " output tokens/s, ",
                  FormatCount(s.input_tokens_per_s), " input tokens/s\n");
  if (s.token_events > 0) {
    absl::StrAppend(&out, "  token events          ",
                    FormatCount(static_cast<double>(s.token_events)), ", ",
                    FormatCount(s.token_events_per_s), " a second\n");
  }
  absl::StrAppend(&out, "  prefix hits           ", FormatRatio(s.prefix_hit_ratio), ": ",
                  FormatCount(static_cast<double>(s.cached_tokens)), " of ",
                  FormatCount(static_cast<double>(s.prompt_tokens)), " prompt tokens\n");
  if (s.slo.any()) {
    absl::StrAppend(&out, "  goodput               ", FormatCount(s.goodput_requests_per_s),
                    " requests/s, ", FormatRatio(s.good_ratio), " of all, within");
    const auto limit = [&out](const char* name, int64_t ns) {
      if (ns > 0) absl::StrAppend(&out, " ", name, " ", FormatMs(static_cast<double>(ns) / 1e6));
    };
    limit("TTFT", s.slo.ttft_ns);
    limit("ITL", s.slo.itl_ns);
    limit("E2E", s.slo.e2e_ns);
    out += '\n';
  }
  for (const auto& [kind, count] : s.errors_by_kind) {
    absl::StrAppend(&out, "  error                 ", count, " x ", kind, "\n");
  }
  AppendProcesses(s, out);
  absl::StrAppend(&out, "\n  ", Pad("", 20, false));
  for (const char* name : {"min", "mean", "p50", "p90", "p95", "p99", "max"}) {
    out += Pad(name, 11, true);
  }
  out += '\n';
  AppendQuantiles("TTFT", s.ttft_ms, out);
  AppendQuantiles("inter-token", s.itl_ms, out);
  AppendQuantiles("per output token", s.tpot_ms, out);
  AppendQuantiles("end to end", s.e2e_ms, out);
  AppendQuantiles("sent late by", s.lateness_ms, out);
  if (!s.servers.empty()) {
    out += "\n  requests per server\n";
    for (const auto& [name, count] : s.servers) {
      absl::StrAppend(&out, "    ", Pad(name, 32, false), Pad(absl::StrCat(count), 10, true), "\n");
    }
  }
  return out;
}

std::string RenderComparison(std::span<const Summary> runs) {
  size_t name_width = 15;
  for (const Summary& run : runs) name_width = std::max(name_width, WidthOf(run.name) + 2);
  std::string out = absl::StrCat("  ", Pad("policy", name_width, false),
                                 "TTFT p50   TTFT p90   output tok/s   prefix hits   "
                                 "requests per server\n");
  for (const Summary& run : runs) {
    absl::StrAppend(&out, "  ", Pad(run.name, name_width, false),
                    Pad(FormatMs(run.ttft_ms.p50), 8, true), "   ",
                    Pad(FormatMs(run.ttft_ms.p90), 8, true), "   ",
                    Pad(FormatCount(run.output_tokens_per_s), 12, true), "   ",
                    Pad(FormatRatio(run.prefix_hit_ratio), 11, true), "   ", ServerCounts(run));
    if (run.errors > 0) absl::StrAppend(&out, "   (", run.errors, " errors)");
    out += '\n';
  }
  return out;
}

std::string RenderReportJson(std::span<const Summary> runs) {
  nlohmann::ordered_json policies = nlohmann::ordered_json::array();
  for (const Summary& run : runs) {
    std::vector<uint64_t> per_server;
    for (const auto& [name, count] : run.servers) per_server.push_back(count);
    policies.push_back(
        {{"name", run.name},
         {"requests", run.requests},
         {"errors", run.errors},
         {"ttft_ms",
          {{"p50", run.ttft_ms.p50}, {"p90", run.ttft_ms.p90}, {"p99", run.ttft_ms.p99}}},
         {"output_tokens_per_s", run.output_tokens_per_s},
         {"prefix_hit_ratio", run.prefix_hit_ratio},
         {"requests_per_server", per_server}});
  }
  const nlohmann::ordered_json report = {{"policies", policies}};
  return report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string RenderReportHtml(std::span<const Summary> runs, std::string_view title) {
  nlohmann::json data = {{"title", title}, {"runs", nlohmann::json::array()}};
  for (const Summary& run : runs) data["runs"].push_back(ToJson(run));
  const std::string json = data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string escaped;
  escaped.reserve(json.size());
  // Within a script element, "</" and "<!--" would end or confuse it.
  for (const char c : json) {
    if (c == '<') {
      escaped += "\\u003c";
    } else {
      escaped += c;
    }
  }
  std::string page(kReportPage);
  constexpr std::string_view kMark = "@WEIR_REPORT_DATA@";
  page.replace(page.find(kMark), kMark.size(), escaped);
  return page;
}

}  // namespace weir::load
