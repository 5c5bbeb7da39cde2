// pages.h: what the gateway answers itself: health, metrics, and why requests went where they went.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "weir/io/http/head.h"
#include "weir/router.h"

namespace weir::gateway {

struct Page {
  uint16_t status = 200;
  std::string_view content_type = "text/plain; charset=utf-8";
  std::string body;
};

// Safe for concurrent use by many threads.
class LocalPages {
 public:
  virtual ~LocalPages() = default;
  // Fills `page` and returns true if `path` is one of its own. `html`: the client would like to
  // read it in a browser. [concurrent]
  virtual bool Serve(std::string_view path, std::string_view query, bool html,
                     Page* page) const = 0;
};

// Serves the page that a request asks for; a browser is known by its Accept header. [concurrent]
bool ServeRequest(const LocalPages& pages, const io::RequestHead& head, Page* page);

// /healthz: the process runs. /readyz: it has endpoints and is not draining.
class HealthPages : public LocalPages {
 public:
  explicit HealthPages(std::function<bool()> is_ready) : is_ready_(std::move(is_ready)) {}
  bool Serve(std::string_view path, std::string_view query, bool html, Page* page) const override;

 private:
  const std::function<bool()> is_ready_;
};

// The health pages, /metrics, and /debug/decisions: the last decisions as JSON, or as a page for
// people with ?format=html or from a browser.
class AdminPages final : public HealthPages {
 public:
  AdminPages(Router router, std::function<bool()> is_ready,
             std::function<std::string()> write_metrics)
      : HealthPages(std::move(is_ready)),
        router_(std::move(router)),
        write_metrics_(std::move(write_metrics)) {}
  bool Serve(std::string_view path, std::string_view query, bool html, Page* page) const override;

 private:
  const Router router_;
  const std::function<std::string()> write_metrics_;
};

// A self-contained page that shows a JSON array of explanations as tables with score bars.
std::string DecisionsPage(std::string_view decisions_json);

}  // namespace weir::gateway
