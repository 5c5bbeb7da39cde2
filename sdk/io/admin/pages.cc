#include "weir/io/admin/pages.h"

#include <chrono>

namespace weir::io {
namespace {

constexpr std::string_view kHealthPath = "/healthz";
constexpr std::string_view kReadyPath = "/readyz";
constexpr std::string_view kMetricsPath = "/metrics";
constexpr std::string_view kDecisionsPath = "/debug/decisions";
constexpr std::string_view kPluginStatePath = "/debug/plugins/state";

std::string DecisionsJson(const Router& router, size_t bytes_max) {
  std::string json = "[";
  for (const Explanation& decision : router.RecentDecisions()) {
    if (json.size() >= bytes_max) break;
    if (json.size() > 1) json += ",\n";
    json += decision.ToJson();
  }
  return json + "]\n";
}

int64_t UnixNow() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(since).count();
}

}  // namespace

bool ServeRequest(const LocalPages& pages, const RequestHead& head, Page* page) {
  if (!pages.Has(head.path())) return false;
  const std::string_view target = head.path_and_query;
  const size_t question = target.find('?');
  const std::string_view query =
      question == std::string_view::npos ? std::string_view() : target.substr(question + 1);
  const bool html = head.Find("accept").find("text/html") != std::string_view::npos;
  *page = pages.Make(head.path(), query, html);
  return true;
}

bool HealthPages::Has(std::string_view path) const {
  return path == kHealthPath || path == kReadyPath;
}

Page HealthPages::Make(std::string_view path, std::string_view, bool) const {
  if (path == kHealthPath) return {.body = "ok\n"};
  if (is_ready_()) return {.body = "ready\n"};
  return {.status = 503, .body = "not ready: no model server is known, or draining\n"};
}

bool AdminPages::Has(std::string_view path) const {
  return path == kMetricsPath || path == kDecisionsPath || path == kPluginStatePath ||
         HealthPages::Has(path);
}

Page AdminPages::Make(std::string_view path, std::string_view query, bool html) const {
  if (path == kMetricsPath) {
    return {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = write_metrics_()};
  }
  if (path == kPluginStatePath) {
    return {.content_type = "application/json", .body = PluginStatePage(router_, UnixNow())};
  }
  if (path != kDecisionsPath) return HealthPages::Make(path, query, html);
  std::string json = DecisionsJson(router_, decisions_bytes_max_);
  if (query == "format=html" || (html && query != "format=json")) {
    return {.content_type = "text/html; charset=utf-8", .body = DecisionsPage(json)};
  }
  return {.content_type = "application/json", .body = std::move(json)};
}

}  // namespace weir::io
