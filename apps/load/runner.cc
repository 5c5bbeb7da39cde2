#include "load/runner.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "load/progress.h"
#include "load/worker.h"
#include "weir/io/loop/signals.h"
#include "weir/io/loop/tls.h"

namespace weir::load {

namespace io = weir::io;

namespace {

constexpr int64_t kPollNs = 100'000'000;       // of counters and processes
constexpr int64_t kRedrawNs = 500'000'000;     // of the line on a terminal
constexpr int64_t kReportNs = 5'000'000'000;   // between lines elsewhere
constexpr int64_t kStartDelayNs = 20'000'000;  // until all threads are up
constexpr int kBarWidth = 20;

// The program's own thread: signals, progress, CPU of watched processes.
class Conductor {
 public:
  Conductor(const RunPlan& plan, io::EventLoop& loop, int64_t start_ns)
      : plan_(plan), loop_(loop), start_ns_(start_ns), terminal_(isatty(STDERR_FILENO) == 1) {
    processes_.push_back({WatchSelf(), {}, {}, 0});
    for (const WatchedProcess& watched : plan.watched) processes_.push_back({watched, {}, {}, 0});
  }

  void Start(std::vector<std::unique_ptr<Worker>>* workers) {
    workers_ = workers;
    running_ = workers->size();
    SampleAll();
    loop_.Arm(poll_, kPollNs);
  }

  // From a worker's thread when it is done.
  void WorkerDone() {
    const Code code = loop_.PostCall([this] {
      if (--running_ == 0) loop_.Stop();
    });
    (void)code;
  }

  void OnSignal() {
    const bool again = std::exchange(interrupted_, true);
    for (const auto& worker : *workers_) worker->StopSoon(again ? 0 : plan_.drain_ns);
    if (!again && !plan_.quiet) {
      std::fprintf(stderr, "\nstopping: waiting for open answers; once more to give them up\n");
    }
  }

  void Finish() {
    SampleAll();
    poll_.Cancel();
    if (plan_.quiet) return;
    Draw(/*last=*/true);
  }

  std::vector<ProcessUse> Uses(const Figures& figures) const {
    std::vector<ProcessUse> uses;
    const auto per = [](double cpu_s, uint64_t count) {
      return count == 0 ? 0.0 : cpu_s * 1e6 / static_cast<double>(count);
    };
    for (const Process& process : processes_) {
      const double cpu_s = std::max(0.0, process.last.cpu_s - process.first.cpu_s);
      uses.push_back({process.watched.name, cpu_s, per(cpu_s, figures.requests),
                      per(cpu_s, figures.token_events), process.resident_bytes_max});
    }
    return uses;
  }

 private:
  struct Process {
    WatchedProcess watched;
    ProcessSample first, last;
    uint64_t resident_bytes_max;
  };
  struct Totals {
    uint64_t launched = 0, finished = 0, errors = 0, tokens = 0, ttft_us = 0, ttfts = 0;
    bool measuring = false;
  };

  void SampleAll() {
    for (Process& process : processes_) {
      process.last = SampleProcess(process.watched);
      process.resident_bytes_max =
          std::max(process.resident_bytes_max, process.last.resident_bytes);
      // The last sample before the first measured request is where the count begins.
      if (!measuring_) process.first = process.last;
    }
  }

  void OnPoll() {
    loop_.Arm(poll_, kPollNs);
    measuring_ = measuring_ || Sum().measuring;
    SampleAll();
    const int64_t now_ns = loop_.now_ns();
    if (!plan_.quiet && now_ns - drawn_ns_ >= (terminal_ ? kRedrawNs : kReportNs)) {
      Draw(/*last=*/false);
    }
  }

  Totals Sum() const {
    Totals sum;
    for (const auto& worker : *workers_) {
      const LiveCounts& live = worker->live();
      sum.launched += live.launched.load(std::memory_order_relaxed);
      sum.finished += live.finished.load(std::memory_order_relaxed);
      sum.errors += live.errors.load(std::memory_order_relaxed);
      sum.tokens += live.token_events.load(std::memory_order_relaxed);
      sum.ttft_us += live.ttft_us_sum.load(std::memory_order_relaxed);
      sum.ttfts += live.ttft_count.load(std::memory_order_relaxed);
      sum.measuring = sum.measuring || live.measuring.load(std::memory_order_relaxed);
    }
    return sum;
  }

  void Draw(bool last) {
    const Totals now = Sum();
    const int64_t now_ns = loop_.clock().now_ns();
    const double gap_s = static_cast<double>(now_ns - std::max(drawn_ns_, start_ns_)) / 1e9;
    const auto rate = [gap_s](uint64_t after, uint64_t before) {
      return gap_s > 0 ? static_cast<double>(after - before) / gap_s : 0.0;
    };
    ProgressState state;
    state.name = plan_.name;
    state.elapsed_s = static_cast<double>(now_ns - start_ns_) / 1e9;
    if (plan_.requests_expected > 0) {
      state.share =
          static_cast<double>(now.finished) / static_cast<double>(plan_.requests_expected);
    }
    if (plan_.dispatch.duration_ns > 0) {
      state.share = std::max(state.share, static_cast<double>(now_ns - start_ns_) /
                                              static_cast<double>(plan_.dispatch.duration_ns));
    }
    if (last) state.share = interrupted_ ? state.share : 1;
    state.finished = now.finished;
    state.errors = now.errors;
    state.in_flight = last ? 0 : now.launched - now.finished;
    state.requests_per_s = last ? static_cast<double>(now.finished) / state.elapsed_s
                                : rate(now.finished, drawn_.finished);
    state.output_tokens_per_s =
        last ? static_cast<double>(now.tokens) / state.elapsed_s : rate(now.tokens, drawn_.tokens);
    const uint64_t ttfts = now.ttfts - (last ? 0 : drawn_.ttfts);
    if (ttfts > 0) {
      const uint64_t ttft_us = now.ttft_us - (last ? 0 : drawn_.ttft_us);
      state.ttft_ms = static_cast<double>(ttft_us) / static_cast<double>(ttfts) / 1000;
    }
    state.warming_up = !last && !now.measuring;
    const std::string line = RenderProgress(state, kBarWidth);
    // \033[K clears what a longer line before has left.
    std::fprintf(stderr, terminal_ ? "\r%s\033[K%s" : "%s%s", line.c_str(),
                 terminal_ && !last ? "" : "\n");
    std::fflush(stderr);
    drawn_ = now;
    drawn_ns_ = now_ns;
  }

  const RunPlan& plan_;
  io::EventLoop& loop_;
  const int64_t start_ns_;
  const bool terminal_;
  std::vector<Process> processes_;
  std::vector<std::unique_ptr<Worker>>* workers_ = nullptr;
  size_t running_ = 0;
  bool interrupted_ = false;
  bool measuring_ = false;
  Totals drawn_;
  int64_t drawn_ns_ = 0;
  io::Timer poll_ = io::Timer::Calling<&Conductor::OnPoll>(*this);
};

absl::StatusOr<std::vector<Endpoint>> Resolve(const RunPlan& plan,
                                              const io::TlsContext* tls_or_null) {
  std::vector<Endpoint> endpoints;
  for (const Target& target : plan.targets) {
    auto addresses = io::ResolveAddress(target.authority);
    if (!addresses.ok()) return addresses.status();
    if (addresses->empty()) {
      return absl::UnavailableError(absl::StrCat(target.authority, ": no address"));
    }
    endpoints.push_back({&target, addresses->front(), target.tls ? tls_or_null : nullptr});
  }
  return endpoints;
}

}  // namespace

absl::StatusOr<Summary> Run(const RunPlan& plan) {
  io::RaiseDescriptorLimit();
  std::unique_ptr<io::TlsContext> tls;
  if (std::any_of(plan.targets.begin(), plan.targets.end(), [](auto& t) { return t.tls; })) {
    auto context = io::TlsContext::Client({.verify = plan.tls_verify, .ca_file = plan.tls_ca_file});
    if (!context.ok()) return context.status();
    tls = *std::move(context);
  }
  auto endpoints = Resolve(plan, tls.get());
  if (!endpoints.ok()) return endpoints.status();
  auto loop = io::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  const int64_t start_ns = (*loop)->clock().now_ns() + kStartDelayNs;
  Conductor conductor(plan, **loop, start_ns);
  auto signals = io::SignalWatcher::Open(**loop, {SIGINT, SIGTERM},
                                         [&conductor](int) { conductor.OnSignal(); });
  if (!signals.ok()) return signals.status();
  const uint32_t count =
      std::clamp(plan.threads, 1u, std::min(kThreadsMax, MaxShards(plan.dispatch)));
  std::vector<std::unique_ptr<Worker>> workers;
  for (uint32_t i = 0; i < count; ++i) {
    auto worker = Worker::Create(plan, *endpoints, {i, count}, start_ns);
    if (!worker.ok()) return worker.status();
    workers.push_back(*std::move(worker));
  }
  const std::string started_at =
      absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone());
  conductor.Start(&workers);
  std::vector<std::thread> threads;
  for (const auto& worker : workers) {
    threads.emplace_back([&worker, &conductor] {
      worker->Run();
      conductor.WorkerDone();
    });
  }
  (*loop)->Run();
  for (std::thread& thread : threads) thread.join();
  conductor.Finish();

  Recorder all(plan.slo);
  uint64_t unsent = 0, waited_for_turn = 0;
  for (const auto& worker : workers) {
    all.Merge(worker->recorder());
    unsent += worker->unsent();
    waited_for_turn += worker->waited_for_turn();
  }
  Summary summary = Summarize(all.figures(), plan.slo);
  summary.name = plan.name;
  summary.workload = plan.workload;
  summary.started_at = started_at;
  summary.seed = plan.dispatch.seed;
  summary.unsent = unsent;
  summary.waited_for_turn = waited_for_turn;
  for (const Target& target : plan.targets) {
    summary.targets.push_back(
        absl::StrCat(target.tls ? "https://" : "http://", target.authority, target.path));
  }
  summary.processes = conductor.Uses(all.figures());
  return summary;
}

}  // namespace weir::load
