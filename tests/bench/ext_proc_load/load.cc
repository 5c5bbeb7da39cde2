#include "ext_proc_load/load.h"

#include <sys/timerfd.h>

#include <ctime>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ext_proc_load/connection.h"
#include "load/process_use.h"
#include "weir/clock.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/unique_fd.h"

namespace weir::bench {

namespace io = weir::io;
using weir::load::ProcessSample;
using weir::load::WatchedProcess;

namespace {

constexpr int64_t kSecondNs = 1'000'000'000;

absl::StatusOr<WatchedProcess> Watched(pid_t pid) {
  if (pid == 0) return WatchedProcess{};
  auto process = weir::load::ParseWatched(absl::StrCat("server=", pid));
  if (!process.ok())
    return absl::NotFoundError(absl::StrCat("--server-pid: ", pid, ": there is no such process"));
  return process;
}

class Run final : private ConnectionObserver, private ExchangeObserver, private io::EventHandler {
 public:
  Run(const LoadPlan& plan, Script script, WatchedProcess server,
      std::unique_ptr<io::EventLoop> loop)
      : plan_(plan),
        script_(std::move(script)),
        server_(std::move(server)),
        loop_(std::move(loop)) {}
  ~Run() {
    second_.Cancel();
    edge_.Cancel();
    if (ticker_) loop_->Unwatch(ticker_.get(), *this);
    connections_.clear();
  }

  absl::StatusOr<LoadResult> Do() {
    for (uint32_t i = 0; i < plan_.connections; ++i) {
      auto connection = Connection::Open(*loop_, plan_.target, plan_.tls_or_null, *this);
      if (!connection.ok()) return connection.status();
      connections_.push_back(*std::move(connection));
    }
    loop_->Arm(second_, kSecondNs);
    started_ns_ = loop_->clock().now_ns();
    loop_->Run();
    if (!failure_.empty()) return absl::UnavailableError(failure_);
    return std::move(result_);
  }

 private:
  enum class State : uint8_t { kConnecting, kWarmup, kMeasuring, kDraining };

  void OnOpen() override {
    if (++open_ < plan_.connections) return;
    // Not from within the connection's own callback.
    loop_->Arm(edge_, 0);
  }

  void OnLost(std::string_view why) override {
    Fail(absl::StrCat("connection to ", plan_.target.ToString(), ": ", std::string(why)));
  }

  void Fail(std::string why) {
    if (failure_.empty()) failure_ = std::move(why);
    state_ = State::kDraining;
    loop_->Stop();
  }

  // The edges between the states.
  void OnEdge() {
    switch (state_) {
      case State::kConnecting:
        state_ = State::kWarmup;
        StartLoad();
        if (plan_.warmup_ns > 0) return loop_->Arm(edge_, plan_.warmup_ns);
        [[fallthrough]];
      case State::kWarmup:
        if (state_ != State::kWarmup) return;  // the load has failed to start
        state_ = State::kMeasuring;
        measured_from_ns_ = loop_->clock().now_ns();
        Sample(&server_from_, &client_from_);
        if (plan_.duration_ns > 0) loop_->Arm(edge_, plan_.duration_ns);
        return;
      case State::kMeasuring:
        return EndMeasuring();
      case State::kDraining:
        return;
    }
  }

  void StartLoad() {
    if (plan_.rate > 0) return StartTicker();
    for (uint32_t i = 0; i < plan_.concurrency; ++i) Launch(NewExchange());
    FlushAll();
  }

  void StartTicker() {
    ticker_.Reset(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    if (!ticker_ || loop_->Watch(ticker_.get(), *this) != Code::kOk) {
      return Fail("no descriptors left for a timer");
    }
    next_due_ns_ = loop_->clock().now_ns();
    SetTicker();
  }

  void SetTicker() {
    itimerspec when = {};
    when.it_value = {.tv_sec = next_due_ns_ / kSecondNs, .tv_nsec = next_due_ns_ % kSecondNs};
    timerfd_settime(ticker_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
  }

  void OnReady(io::Ready) override {  // the ticker
    const int64_t now_ns = loop_->clock().now_ns();
    for (; next_due_ns_ <= now_ns && sends_more(); ++due_) {
      if (!idle_.empty()) {
        Exchange* exchange = idle_.back();
        idle_.pop_back();
        Launch(*exchange);
      } else if (exchanges_.size() < plan_.in_flight_max) {
        Launch(NewExchange());
      } else {
        ++result_.unsent;
      }
      next_due_ns_ += static_cast<int64_t>(static_cast<double>(kSecondNs) / plan_.rate);
    }
    FlushAll();
    if (sends_more()) SetTicker();
  }

  Exchange& NewExchange() {
    ExchangeObserver& observer = *this;
    exchanges_.push_back(
        std::make_unique<Exchange>(script_, plan_.exchange, loop_->clock(), observer));
    exchanges_.back()->connection = connections_[exchanges_.size() % connections_.size()].get();
    return *exchanges_.back();
  }

  bool sending() const { return state_ == State::kWarmup || state_ == State::kMeasuring; }
  bool all_sent() const { return plan_.requests_max > 0 && launched_ >= plan_.requests_max; }
  bool sends_more() const { return sending() && !all_sent(); }

  void Launch(Exchange& exchange) {
    exchange.Begin(plan_.seed << 40 | launched_);
    ++launched_;
    ++running_;
    if (!exchange.connection->Start(exchange)) {
      --running_;
      Fail("the connection takes no more streams");
    }
  }

  void FlushAll() {
    for (const auto& connection : connections_) connection->Flush();
  }

  void OnDecision(int64_t latency_ns) override {
    if (state_ == State::kMeasuring) result_.decision_ns.Record(latency_ns);
  }
  void OnSendable(Exchange& exchange) override { exchange.connection->Resume(exchange); }
  void OnGivenUp(Exchange& exchange) override { exchange.connection->Cancel(exchange); }

  void OnDone(Exchange& exchange, std::string_view error) override {
    --running_;
    if (!error.empty()) {
      ++result_.errors;
      ++result_.errors_by_kind[std::string(error)];
    }
    if (state_ == State::kMeasuring) {
      ++result_.requests;
      result_.exchange_ns.Record(loop_->clock().now_ns() - exchange.started_ns());
    }
    if (sends_more() && plan_.rate <= 0) return Launch(exchange);
    idle_.push_back(&exchange);
    if (all_sent() && running_ == 0 && state_ == State::kMeasuring) EndMeasuring();
    if (state_ == State::kDraining && running_ == 0) loop_->Stop();
  }

  void EndMeasuring() {
    edge_.Cancel();
    state_ = State::kDraining;
    result_.seconds =
        static_cast<double>(loop_->clock().now_ns() - measured_from_ns_) / double{kSecondNs};
    ProcessSample server, client;
    Sample(&server, &client);
    result_.server_cpu_s = server.cpu_s - server_from_.cpu_s;
    result_.client_cpu_s = client.cpu_s - client_from_.cpu_s;
    if (running_ == 0) loop_->Stop();
  }

  void Sample(ProcessSample* server, ProcessSample* client) {
    *server = weir::load::SampleProcess(server_);
    *client = weir::load::SampleProcess(self_);
    if (plan_.server_pid != 0) result_.memory.push_back({launched_, server->resident_bytes});
  }

  // Memory and time-outs.
  void OnSecond() {
    loop_->Arm(second_, kSecondNs);
    const int64_t now_ns = loop_->clock().now_ns();
    if (state_ == State::kConnecting && now_ns - started_ns_ > plan_.timeout_ns) {
      return Fail(absl::StrCat("cannot connect to ", plan_.target.ToString(), " in time"));
    }
    for (const auto& exchange : exchanges_) {
      if (exchange->running() && now_ns - exchange->started_ns() > plan_.timeout_ns) {
        exchange->GiveUp("timeout");
      }
    }
    FlushAll();
    if (plan_.server_pid == 0 || seconds_++ % memory_every_s_ != 0) return;
    result_.memory.push_back({launched_, weir::load::SampleProcess(server_).resident_bytes});
    if (result_.memory.size() < kMemorySamplesMax) return;
    for (size_t i = 0; 2 * i < result_.memory.size(); ++i)
      result_.memory[i] = result_.memory[2 * i];
    result_.memory.resize(result_.memory.size() / 2);
    memory_every_s_ *= 2;
  }

  const LoadPlan& plan_;
  const Script script_;
  const WatchedProcess server_;
  const WatchedProcess self_ = weir::load::WatchSelf();
  const std::unique_ptr<io::EventLoop> loop_;
  io::Timer edge_ = io::Timer::Calling<&Run::OnEdge>(*this);
  io::Timer second_ = io::Timer::Calling<&Run::OnSecond>(*this);
  io::UniqueFd ticker_;  // finer than the loop's timers
  std::vector<std::unique_ptr<Exchange>> exchanges_;
  std::vector<std::unique_ptr<Connection>> connections_;  // go before their streams
  std::vector<Exchange*> idle_;
  State state_ = State::kConnecting;
  uint32_t open_ = 0;
  uint64_t launched_ = 0;
  uint64_t running_ = 0;
  uint64_t due_ = 0;
  int64_t started_ns_ = 0;
  int64_t next_due_ns_ = 0;
  int64_t measured_from_ns_ = 0;
  uint64_t seconds_ = 0;
  uint64_t memory_every_s_ = 1;
  ProcessSample server_from_, client_from_;
  LoadResult result_;
  std::string failure_;
};

absl::Status Check(const LoadPlan& plan) {
  if (plan.connections < 1 || plan.connections > kConnectionsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--connections: ", plan.connections, ", expected 1..", kConnectionsMax));
  }
  if (plan.concurrency < 1 || plan.concurrency > kInFlightMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--concurrency: ", plan.concurrency, ", expected 1..", kInFlightMax));
  }
  if (plan.in_flight_max < 1 || plan.in_flight_max > kInFlightMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--in-flight: ", plan.in_flight_max, ", expected 1..", kInFlightMax));
  }
  if (plan.duration_ns <= 0 && plan.requests_max == 0) {
    return absl::InvalidArgumentError("--duration: 0, expected more, or --requests");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LoadResult> RunLoad(const LoadPlan& plan) {
  if (absl::Status status = Check(plan); !status.ok()) return status;
  auto script = Script::Make(plan.script);
  if (!script.ok()) return script.status();
  auto server = Watched(plan.server_pid);
  if (!server.ok()) return server.status();
  auto loop = io::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  Run run(plan, *std::move(script), *std::move(server), *std::move(loop));
  return run.Do();
}

absl::StatusOr<LoadResult> MeasureIdle(pid_t server_pid, int64_t duration_ns) {
  auto server = Watched(server_pid);
  if (!server.ok()) return server.status();
  LoadResult result;
  const ProcessSample from = weir::load::SampleProcess(*server);
  const int64_t from_ns = SystemClock().now_ns();
  timespec rest = {.tv_sec = duration_ns / kSecondNs, .tv_nsec = duration_ns % kSecondNs};
  while (nanosleep(&rest, &rest) != 0) {
  }
  const ProcessSample to = weir::load::SampleProcess(*server);
  result.seconds = static_cast<double>(SystemClock().now_ns() - from_ns) / double{kSecondNs};
  result.server_cpu_s = to.cpu_s - from.cpu_s;
  result.memory = {{0, from.resident_bytes}, {0, to.resident_bytes}};
  return result;
}

}  // namespace weir::bench
