// worker.h: one thread of the gateway: a loop, its clients, and the decisions for their requests.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "exchange.h"
#include "weir/intake.h"
#include "weir/io/admin/pages.h"
#include "weir/io/fleet/routes.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/socket.h"
#include "weir/io/metrics/histogram.h"
#include "weir/io/relay/relay.h"
#include "weir/router.h"

namespace weir::gateway {

// What a worker counts beside its relay. One writer, any reader.
struct WorkerCounters {
  io::LatencyHistogram decision_latency;
  io::LatencyHistogram first_byte_latency;  // from the whole request to the first body byte
  io::LatencyHistogram request_latency;
  io::RelayCounter requests_refused_body;  // 400: the body is no such request
  io::RelayCounter requests_no_endpoint;   // 503: the pool is empty
  io::RelayCounter requests_all_dropped;   // 429: filters left nothing
  io::RelayCounter requests_not_cached;    // 412: wanted if available, and it is not
  io::RelayCounter requests_unroutable;    // 502: no pick has a usable address
  io::RelayCounter requests_unscheduled;   // 500: a plugin failed
  io::RelayCounter prompt_tokens;          // as the servers reported them
  io::RelayCounter cached_tokens;
  io::RelayCounter output_tokens;
};

class Worker final : public io::RelayHandler {
 public:
  struct Options {
    io::RelayOptions relay;
    io::ListenerOptions listener;
    const io::TlsContext* server_tls = nullptr;    // borrowed; null: plain
    const io::TlsContext* upstream_tls = nullptr;  // borrowed; for endpoints with scheme https
    bool endpoint_header = true;                   // answers say which endpoint served them
  };

  // Borrowed: router's engine, pages, and all that options name. [control]
  static absl::StatusOr<std::unique_ptr<Worker>> Create(const Router& router,
                                                        const io::LocalPages& pages,
                                                        const Options& options);
  ~Worker() override;

  // Serves until Stop(). Call it on the worker's own thread.
  void Run();
  // Closes the listener, lets requests in flight end for at most deadline_ns, then Run() returns.
  // [concurrent]
  void Drain(int64_t deadline_ns);

  const io::SocketAddress& address() const { return listener_->address(); }
  const io::RelayCounters& relay_counters() const { return relay_->counters(); }  // [concurrent]
  const WorkerCounters& counters() const { return counters_; }                    // [concurrent]
  const io::Counter& accept_pauses() const { return listener_->pauses(); }        // [concurrent]

 private:
  Worker(const Router& router, const io::LocalPages& pages, const Options& options,
         std::unique_ptr<io::EventLoop> loop);

  void OnRequest(io::RelayRequest& request) override;
  void OnAttemptFailed(io::RelayRequest& request, uint32_t target_index,
                       io::RelayOutcome why) override;
  void OnUpstreamResponse(io::RelayRequest& request, const io::ResponseHead& head) override;
  void OnResponseBytes(io::RelayRequest& request, std::string_view data) override;
  void FilterResponse(io::RelayRequest& request, std::string_view data, bool last,
                      std::string* out) override;
  void OnEnd(io::RelayRequest& request, const io::RelayEnd& end) override;

  bool ServeLocally(io::RelayRequest& request, const io::RequestHead& head);
  void ListHeaders(const io::RequestHead& head);
  void RefuseUndecided(io::RelayRequest& request, const absl::Status& status);
  bool PlanTargets(Exchange& exchange, uint32_t* target_count);
  void StartProxy(io::RelayRequest& request, Decision decision);
  void RecordDecision(Exchange& exchange);
  Exchange* TakeExchange();
  void ReturnExchange(Exchange* exchange);
  void CheckDrained();

  const Router router_;
  const io::LocalPages& pages_;
  const Options options_;
  std::unique_ptr<io::EventLoop> loop_;
  WorkerCounters counters_;
  io::RouteCache routes_;
  Intake intake_;
  Request request_;
  IntakeResult intake_result_;
  std::vector<Header> headers_;
  std::string header_names_;  // lower case
  std::vector<std::unique_ptr<Exchange>> free_exchanges_;
  io::Timer drain_check_ = io::Timer::Calling<&Worker::CheckDrained>(*this);
  std::unique_ptr<io::Relay> relay_;
  std::unique_ptr<io::Listener> listener_;
};

}  // namespace weir::gateway
