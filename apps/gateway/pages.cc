#include "pages.h"

namespace weir::gateway {
namespace {

// A thousand decisions among thousands of endpoints are no page for anybody; the newest come first.
constexpr size_t kDecisionsPageBytesMax = 8 << 20;

std::string DecisionsJson(const Router& router) {
  std::string json = "[";
  for (const Explanation& decision : router.RecentDecisions()) {
    if (json.size() >= kDecisionsPageBytesMax) break;
    if (json.size() > 1) json += ",\n";
    json += decision.ToJson();
  }
  return json + "]\n";
}

}  // namespace

bool ServeRequest(const LocalPages& pages, const io::RequestHead& head, Page* page) {
  const std::string_view target = head.path_and_query;
  const size_t question = target.find('?');
  const std::string_view query =
      question == std::string_view::npos ? std::string_view() : target.substr(question + 1);
  const bool html = head.Find("accept").find("text/html") != std::string_view::npos;
  return pages.Serve(head.path(), query, html, page);
}

bool HealthPages::Serve(std::string_view path, std::string_view, bool, Page* page) const {
  if (path == "/healthz") {
    page->body = "ok\n";
    return true;
  }
  if (path == "/readyz") {
    const bool ready = is_ready_();
    page->status = ready ? 200 : 503;
    page->body = ready ? "ready\n" : "not ready: no model server is known, or draining\n";
    return true;
  }
  return false;
}

bool AdminPages::Serve(std::string_view path, std::string_view query, bool html, Page* page) const {
  if (path == "/metrics") {
    page->content_type = "text/plain; version=0.0.4; charset=utf-8";
    page->body = write_metrics_();
    return true;
  }
  if (path == "/debug/decisions") {
    const bool as_html = query == "format=html" || (html && query != "format=json");
    page->body = DecisionsJson(router_);
    page->content_type = as_html ? "text/html; charset=utf-8" : "application/json";
    if (as_html) page->body = DecisionsPage(page->body);
    return true;
  }
  return HealthPages::Serve(path, query, html, page);
}

}  // namespace weir::gateway
