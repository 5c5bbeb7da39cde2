// BM_Scraper_Idle: what 100 endpoints, each scraped every 50 ms, cost the thread of the scraper,
// kernel time included. The servers run on another thread. The counter `cores` is the budget's
// figure.
#include <benchmark/benchmark.h>
#include <time.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "weir/io/scrape/scraper.h"

namespace weir::io {
namespace {

constexpr uint32_t kEndpoints = 100;
constexpr int64_t kSecondNs = 1'000'000'000;

int64_t ThreadCpuNs() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * kSecondNs + now.tv_nsec;
}

// Answers every request on every connection with the same bytes.
class PageServer final : public AcceptHandler {
 public:
  explicit PageServer(std::string answer) : answer_(std::move(answer)) {
    listener_ =
        Listener::Open(*loop_, {.address = SocketAddress::Parse("127.0.0.1:0").value()}, *this)
            .value();
    address_ = listener_->address().ToString();
    thread_ = std::thread([this] { loop_->Run(); });
  }
  ~PageServer() {
    loop_->Stop();
    thread_.join();
    connections_.clear();
  }
  const std::string& address() const { return address_; }

 private:
  class Connection final : public EventHandler {
   public:
    Connection(PageServer& server, UniqueFd socket)
        : server_(server), stream_(Stream::Plain(std::move(socket))) {
      if (server_.loop_->Watch(stream_, *this) != Code::kOk) std::abort();
    }
    ~Connection() { server_.loop_->Close(stream_, *this); }
    void OnReady(Ready) override {
      char bytes[4096];
      const IoResult read = stream_.TryRead(bytes);
      if (!read.ok()) return;
      std::string_view rest = server_.answer_;
      while (!rest.empty()) {
        const IoResult result = stream_.TryWrite(rest);
        if (result.ok()) {
          rest.remove_prefix(result.bytes);
        } else if (!result.would_block()) {
          return;
        }
      }
    }

   private:
    PageServer& server_;
    Stream stream_;
  };

  void OnAccept(UniqueFd socket, const SocketAddress&) override {
    connections_.push_back(std::make_unique<Connection>(*this, std::move(socket)));
  }

  const std::string answer_;
  const std::unique_ptr<EventLoop> loop_ = EventLoop::Create().value();
  std::unique_ptr<Listener> listener_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::string address_;
  std::thread thread_;
};

class CountingSink final : public ScrapeSink {
 public:
  void OnScrapeStarted(EndpointId, int64_t) override {}
  void OnSample(EndpointId, const EndpointSample& sample, int64_t, int64_t) override {
    wrong += sample.waiting_requests == 3 ? 0 : 1;
  }
  void OnFailure(EndpointId, ScrapeError, int64_t) override { ++failures; }
  void OnBatchEnd(int64_t) override { ++batches; }
  uint64_t wrong = 0;
  uint64_t failures = 0;
  uint64_t batches = 0;
};

void BM_Scraper_Idle(benchmark::State& state, const char* name) {
  std::ifstream file(std::string(WEIR_SOURCE_DIR) + "/tests/golden/scrape/" + name,
                     std::ios::binary);
  std::ostringstream page;
  page << file.rdbuf();
  PageServer server(
      "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: " +
      std::to_string(page.str().size()) + "\r\n\r\n" + page.str());
  const std::unique_ptr<EventLoop> loop = EventLoop::Create().value();
  const ScrapePlans plans = ScrapePlans::Create({}).value();
  CountingSink sink;
  const std::unique_ptr<Scraper> scraper = Scraper::Create(*loop, {}, sink).value();
  for (uint32_t i = 0; i < kEndpoints; ++i) {
    if (!scraper
             ->Add(
                 {.id = {i, 0}, .metrics_address = server.address(), .plan = &plans.ForEngine("")})
             .ok()) {
      std::abort();
    }
  }
  const auto run = [&](int64_t duration_ns) {
    const int64_t end_ns = SystemClock().now_ns() + duration_ns;
    while (SystemClock().now_ns() < end_ns) loop->RunOnce(10'000'000);
  };
  run(kSecondNs / 2);  // connects and grows buffers
  const ScrapeCounters before = scraper->totals();
  const uint64_t batches_before = sink.batches;
  const int64_t cpu_start_ns = ThreadCpuNs();
  const int64_t start_ns = SystemClock().now_ns();
  for (auto _ : state) run(2 * kSecondNs);
  const double wall_s = static_cast<double>(SystemClock().now_ns() - start_ns) / kSecondNs;
  const double cpu_s = static_cast<double>(ThreadCpuNs() - cpu_start_ns) / kSecondNs;
  const double samples = static_cast<double>(scraper->totals().samples - before.samples);
  if (sink.wrong != 0 || sink.failures != 0 || samples == 0) {
    state.SkipWithError("scrapes failed or were read wrongly");
  }
  state.counters["cores"] = cpu_s / wall_s;
  state.counters["us_per_scrape"] = cpu_s * 1e6 / samples;
  state.counters["scrapes_per_s"] = samples / wall_s;
  state.counters["batches_per_s"] = static_cast<double>(sink.batches - batches_before) / wall_s;
}
BENCHMARK_CAPTURE(BM_Scraper_Idle, small, "vllm_small.prom")
    ->Name("BM_Scraper_Idle/page:small")
    ->Iterations(1);
BENCHMARK_CAPTURE(BM_Scraper_Idle, full, "vllm.prom")
    ->Name("BM_Scraper_Idle/page:full")
    ->Iterations(1);

}  // namespace
}  // namespace weir::io
