// load/worker.h: one thread of a run: a loop, its connections, and the requests in flight.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "load/dispatcher.h"
#include "load/result.h"
#include "load/runner.h"
#include "weir/io/http/client.h"
#include "weir/io/loop/event_loop.h"

namespace weir::load {

class Exchange;

// What the progress line reads while a worker runs. [concurrent]
struct alignas(64) LiveCounts {
  std::atomic<uint64_t> launched = 0, finished = 0, errors = 0, token_events = 0;
  std::atomic<uint64_t> ttft_us_sum = 0, ttft_count = 0;
  std::atomic<bool> measuring = false;  // the warm-up is over
};

// Where the requests of a run go, resolved; one per target.
struct Endpoint {
  const Target* target;
  weir::io::SocketAddress address;
  const weir::io::TlsContext* tls_or_null;
};

class Worker final : private weir::io::EventHandler {
 public:
  // Borrowed: everything, for the worker's life. `start_ns` is time 0 of the run, on SystemClock().
  // Errors: kResourceExhausted when the process has no descriptors left.
  static absl::StatusOr<std::unique_ptr<Worker>> Create(const RunPlan& plan,
                                                        const std::vector<Endpoint>& endpoints,
                                                        Shard shard, int64_t start_ns);
  ~Worker();

  // Sends and receives until the worker's share is done. Call it once, on the worker's thread.
  void Run();
  // Sends nothing more; open answers get `drain_ns`, or without limit if below 0. [concurrent]
  void StopSoon(int64_t drain_ns);

  const LiveCounts& live() const noexcept { return live_; }
  // After Run().
  const Recorder& recorder() const noexcept { return recorder_; }
  uint64_t unsent() const noexcept { return dispatcher_.unsent(); }
  uint64_t waited_for_turn() const noexcept { return dispatcher_.waited_for_turn(); }

 private:
  friend class Exchange;
  Worker(const RunPlan& plan, const std::vector<Endpoint>& endpoints, Shard shard, int64_t start_ns,
         std::unique_ptr<weir::io::EventLoop> loop, weir::io::UniqueFd timer);

  void OnReady(weir::io::Ready ready) override;  // the timer
  void WakeAt(int64_t run_ns) noexcept;
  void Pump();
  void Send(const Launch& launch);
  void Finish(Exchange& exchange, std::string_view escaped_answer);
  void DrainOver();
  // Whether an event of the request counts: streams that began in the warm-up and outlast it do.
  bool Measuring(const Launch& launch, int64_t now_ns) const noexcept;
  int64_t run_ns() const noexcept;

  const RunPlan& plan_;
  const Shard shard_;
  const int64_t start_ns_;
  std::unique_ptr<weir::io::EventLoop> loop_;
  weir::io::UniqueFd timer_;  // finer than the loop's timers, so that requests leave on time
  int64_t armed_ns_ = -1;
  std::vector<std::unique_ptr<weir::io::HttpClient>> clients_;  // one per target
  std::unique_ptr<Source> source_;
  Dispatcher dispatcher_;
  Recorder recorder_;
  LiveCounts live_;
  std::vector<std::unique_ptr<Exchange>> exchanges_;
  std::vector<Exchange*> idle_;
  uint64_t sent_ = 0;
  bool stopping_ = false;
  int64_t drain_ns_;
  weir::io::Timer drain_ = weir::io::Timer::Calling<&Worker::DrainOver>(*this);
};

}  // namespace weir::load
