// weir/io/admin/pages.h: what a program shows of itself: health, metrics, and why requests went
// where they went.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "weir/io/http/head.h"
#include "weir/router.h"

namespace weir::io {

// A thousand decisions among thousands of endpoints are no page for anybody; the newest come first.
inline constexpr size_t kDecisionsPageBytesMax = 8 << 20;

struct Page {
  uint16_t status = 200;
  std::string_view content_type = "text/plain; charset=utf-8";
  std::string body;
};

// Safe for concurrent use by many threads.
class LocalPages {
 public:
  virtual ~LocalPages() = default;
  // Whether `path` is one of its own. [concurrent]
  virtual bool Has(std::string_view path) const = 0;
  // Makes the page. `html`: the client would like to read it in a browser. REQUIRES: Has(path)
  // [concurrent]
  virtual Page Make(std::string_view path, std::string_view query, bool html) const = 0;
};

// Makes the page that a request asks for, whatever its method; false if there is none. A browser is
// known by its Accept header. [concurrent]
bool ServeRequest(const LocalPages& pages, const RequestHead& head, Page* page);

// /healthz: the process runs. /readyz: it takes requests.
class HealthPages : public LocalPages {
 public:
  explicit HealthPages(std::function<bool()> is_ready) : is_ready_(std::move(is_ready)) {}
  bool Has(std::string_view path) const override;
  Page Make(std::string_view path, std::string_view query, bool html) const override;

 private:
  const std::function<bool()> is_ready_;
};

// The health pages; /metrics; /debug/decisions: the last decisions as JSON, or as a page for people
// with ?format=html or from a browser; /debug/plugins/state: what the plugins say of themselves.
class AdminPages final : public HealthPages {
 public:
  // /debug/decisions ends with the decision that reaches decisions_bytes_max.
  AdminPages(Router router, std::function<bool()> is_ready,
             std::function<std::string()> write_metrics,
             size_t decisions_bytes_max = kDecisionsPageBytesMax)
      : HealthPages(std::move(is_ready)),
        router_(std::move(router)),
        write_metrics_(std::move(write_metrics)),
        decisions_bytes_max_(decisions_bytes_max) {}
  bool Has(std::string_view path) const override;
  Page Make(std::string_view path, std::string_view query, bool html) const override;

 private:
  const Router router_;
  const std::function<std::string()> write_metrics_;
  const size_t decisions_bytes_max_;
};

// A self-contained page that shows a JSON array of explanations as tables with score bars.
std::string DecisionsPage(std::string_view decisions_json);

// The plugins of a pipeline with their state, or why there is none, in the JSON form of llm-d's
// picker: {"timestamp": ..., "plugins": {name: {"name", "type", "state" or "message"}}}.
// `unix_ns` is the time to show. [control, concurrent]
std::string PluginStatePage(const Router& router, int64_t unix_ns);

}  // namespace weir::io
