// metric_pages: stands in for a fleet of model servers, as far as their /metrics pages go.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "load/files.h"
#include "metric_pages/page.h"
#include "weir/io/http/server.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/signals.h"

namespace weir::bench {

namespace io = weir::io;

namespace {

constexpr uint32_t kEndpointsMax = 4096;
constexpr uint32_t kHostsPerNet = 250;  // 127.1.NET.HOST
constexpr uint32_t kDescriptorsEach = 4;

struct Flags {
  uint32_t endpoints = 100;
  uint16_t port = 0;
  std::string page_file, endpoints_file;
  size_t page_bytes = 0;
};

class Endpoint final : public io::HttpHandler {
 public:
  Endpoint(uint32_t number, MetricPage& page) : number_(number), page_(page) {}

  absl::Status Open(io::EventLoop& loop, const std::string& host, uint16_t port) {
    auto address = io::SocketAddress::Parse(absl::StrCat(host, ":", port));
    if (!address.ok()) return address.status();
    auto server = io::HttpServer::Open(loop, {.address = *address}, *this);
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    return absl::OkStatus();
  }
  uint16_t port() const { return server_->port(); }

 private:
  void OnRequest(const io::HttpRequest&, io::ResponseWriter response) override {
    static constexpr io::HeaderField kHeaders[] = {
        {"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}};
    response.Send(200, kHeaders, page_.Render(number_, ++scrapes_));
  }

  const uint32_t number_;
  MetricPage& page_;
  uint64_t scrapes_ = 0;
  std::unique_ptr<io::HttpServer> server_;
};

void RaiseDescriptors(uint32_t endpoints) {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, rlim_t{endpoints} * kDescriptorsEach + 64);
  setrlimit(RLIMIT_NOFILE, &limit);
}

// All endpoints have the same port, on addresses of their own.
absl::Status Serve(const Flags& flags) {
  auto text = weir::load::ReadFile(flags.page_file, kPageBytesMax);
  if (!text.ok()) return text.status();
  auto page = MetricPage::Make(*text, flags.page_bytes);
  if (!page.ok()) return page.status();
  RaiseDescriptors(flags.endpoints);
  auto loop = io::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  auto signals = io::SignalWatcher::Open(**loop, {SIGTERM, SIGINT}, [&](int) { (*loop)->Stop(); });
  if (!signals.ok()) return signals.status();

  std::vector<std::unique_ptr<Endpoint>> endpoints;
  std::string list = "endpoints:\n";
  uint16_t port = flags.port;
  for (uint32_t i = 0; i < flags.endpoints; ++i) {
    const std::string host = absl::StrCat("127.1.", i / kHostsPerNet, ".", i % kHostsPerNet + 1);
    endpoints.push_back(std::make_unique<Endpoint>(i, *page));
    if (absl::Status status = endpoints.back()->Open(**loop, host, port); !status.ok()) {
      return status;
    }
    port = endpoints.back()->port();
    absl::StrAppend(&list, "- {name: server-", i, ", address: ", host, ", port: ", port, "}\n");
  }
  if (!flags.endpoints_file.empty()) {
    if (absl::Status s = weir::load::WriteFile(flags.endpoints_file, list); !s.ok()) return s;
  }
  std::printf("%u endpoints on port %u, pages of %zu bytes\n", flags.endpoints, port,
              page->bytes());
  std::fflush(stdout);
  (*loop)->Run();
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app("metric_pages: stands in for a fleet of model servers: serves /metrics pages");
  Flags flags;
  app.add_option("--endpoints", flags.endpoints, "Servers, on 127.1.0.1, 127.1.0.2 and so on")
      ->capture_default_str()
      ->check(CLI::Range(1u, kEndpointsMax));
  app.add_option("--port", flags.port, "Port of all of them; 0: a free one")->capture_default_str();
  app.add_option("--page", flags.page_file, "Page of a vLLM server; its gauges will change")
      ->required();
  app.add_option("--page-bytes", flags.page_bytes, "Lengthen the page to so many bytes")
      ->capture_default_str();
  app.add_option("--endpoints-file", flags.endpoints_file,
                 "Write the list of endpoints here, for file-discovery");
  app.footer(
      "Example:\n"
      "  metric_pages --endpoints 1000 --page tests/golden/scrape/vllm_small.prom \\\n"
      "    --endpoints-file endpoints.yaml\n");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (const absl::Status status = Serve(flags); !status.ok()) {
    std::fprintf(stderr, "metric_pages: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace weir::bench

int main(int argc, char** argv) { return weir::bench::Main(argc, argv); }
