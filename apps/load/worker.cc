#include "load/worker.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <charconv>

#include "absl/strings/str_cat.h"
#include "load/answer.h"
#include "weir/response_reader.h"

namespace weir::load {

namespace io = weir::io;

namespace {

constexpr uint64_t kAnswerBodyBytesMax = 256u << 20;

}  // namespace

// One request in flight. Reused, so that steady load does not allocate.
class Exchange final : private io::HttpCallHandler {
 public:
  explicit Exchange(Worker& worker) : worker_(worker) {}

  void Start(const Launch& launch, size_t endpoint_index) {
    launch_ = launch;
    sample_ = Sample{.due_ns = launch.due_ns, .measured = launch.measured};
    status_ = 0;
    token_events_ = 0;
    usage_ = ResponseReader(ResponseFormat::kOpenAi);
    const RunPlan& plan = worker_.plan_;
    const Target& target = plan.targets[endpoint_index];
    server_ = target.authority;
    scanner_.Start(plan.shape.streaming, plan.keep_answers);
    body_.clear();
    AppendBody(plan.shape, *worker_.source_, launch.item, body_);
    std::array<io::HeaderField, kHeadersMax + 1> headers;
    size_t header_count = 0;
    for (const auto& [name, value] : plan.headers) headers[header_count++] = {name, value};
    char number[24];
    if (!plan.conversation_header.empty()) {
      const auto end = std::to_chars(number, number + sizeof(number), launch.item.conversation);
      headers[header_count++] = {plan.conversation_header,
                                 {number, static_cast<size_t>(end.ptr - number)}};
    }
    sample_.sent_ns = worker_.run_ns();
    worker_.clients_[endpoint_index]->Start(call_,
                                            {.method = "POST",
                                             .target = target.path,
                                             .headers = {headers.data(), header_count},
                                             .body = body_,
                                             .first_byte_timeout_ns = plan.timeout_ns,
                                             .total_timeout_ns = plan.timeout_ns,
                                             .response_bytes_max = kAnswerBodyBytesMax},
                                            *this);
  }

  bool active() const noexcept { return call_.active(); }
  // Gives up an unfinished request without an outcome.
  void Abandon() {
    call_.Cancel();
    worker_.recorder_.AddUnfinished();
  }
  const Launch& launch() const noexcept { return launch_; }

 private:
  void OnHead(const io::ResponseHead& head) override {
    status_ = head.status;
    const std::string& header = worker_.plan_.server_header;
    if (header.empty()) return;
    if (const std::string_view server = head.Find(header); !server.empty()) server_ = server;
  }

  void OnBody(std::string_view bytes) override {
    usage_.Feed(bytes);
    const uint32_t events = scanner_.Feed(bytes);
    if (events == 0) return;
    const int64_t now_ns = worker_.run_ns();
    const bool measuring = worker_.Measuring(launch_, now_ns);
    CountTokens(events, measuring, now_ns);
    uint32_t gaps = events;
    if (sample_.first_token_ns < 0) {
      sample_.first_token_ns = now_ns;
      worker_.live_.ttft_us_sum.fetch_add(
          static_cast<uint64_t>(std::max<int64_t>(0, now_ns - sample_.due_ns) / 1000),
          std::memory_order_relaxed);
      worker_.live_.ttft_count.fetch_add(1, std::memory_order_relaxed);
      --gaps;
    }
    if (measuring && gaps > 0) {
      // Events that came in one read share its time: one gap, then none.
      if (token_events_ > events) {
        worker_.recorder_.AddGap(now_ns - sample_.last_token_ns);
        --gaps;
      }
      for (uint32_t i = 0; i < gaps; ++i) worker_.recorder_.AddGap(0);
    }
    sample_.last_token_ns = now_ns;
  }

  void OnEnd(io::HttpEnd end) override {
    scanner_.End();
    sample_.end_ns = worker_.run_ns();
    const ResponseUsage& usage = usage_.usage();
    sample_.prompt_tokens = usage.prompt_tokens.value_or(launch_.item.prompt_tokens);
    sample_.cached_tokens = usage.cached_tokens.value_or(0);
    sample_.output_tokens = usage.completion_tokens.value_or(token_events_);
    sample_.server = server_;
    error_.clear();
    if (end != io::HttpEnd::kComplete) {
      error_ = io::HttpEndName(end);
      if (status_ == 0 && end == io::HttpEnd::kConnectFailed) server_.clear();
    } else if (status_ < 200 || status_ > 299) {
      error_ = absl::StrCat("http ", status_);
    } else if (scanner_.error_seen()) {
      error_ = "error in the answer";
    } else if (scanner_.too_long()) {
      error_ = "answer line too long";
    } else if (!scanner_.done_seen()) {
      error_ = "stream without [DONE]";
    }
    sample_.error = error_;
    sample_.server = server_;
    worker_.recorder_.Add(sample_);
    worker_.live_.finished.fetch_add(1, std::memory_order_relaxed);
    if (!error_.empty()) worker_.live_.errors.fetch_add(1, std::memory_order_relaxed);
    worker_.Finish(*this, error_.empty() ? std::string_view(scanner_.text()) : std::string_view());
  }

  void CountTokens(uint32_t events, bool measuring, int64_t now_ns) {
    token_events_ += events;
    worker_.live_.token_events.fetch_add(events, std::memory_order_relaxed);
    if (!measuring) return;
    worker_.recorder_.AddTokenEvents(events, now_ns);
    worker_.live_.measuring.store(true, std::memory_order_relaxed);
  }

  Worker& worker_;
  io::HttpCall call_;
  Launch launch_;
  Sample sample_;
  uint16_t status_ = 0;
  uint64_t token_events_ = 0;
  std::string body_, server_, error_;
  AnswerScanner scanner_;
  ResponseReader usage_{ResponseFormat::kOpenAi};
};

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(const RunPlan& plan,
                                                       const std::vector<Endpoint>& endpoints,
                                                       Shard shard, int64_t start_ns) {
  auto loop = io::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  io::UniqueFd timer(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (timer.get() < 0) return absl::ResourceExhaustedError("no descriptor left for a timer");
  std::unique_ptr<Worker> worker(
      new Worker(plan, endpoints, shard, start_ns, *std::move(loop), std::move(timer)));
  if (worker->loop_->Watch(worker->timer_.get(), *worker) != Code::kOk) {
    return absl::ResourceExhaustedError("no memory left to watch a timer");
  }
  return worker;
}

Worker::Worker(const RunPlan& plan, const std::vector<Endpoint>& endpoints, Shard shard,
               int64_t start_ns, std::unique_ptr<io::EventLoop> loop, io::UniqueFd timer)
    : plan_(plan),
      shard_(shard),
      start_ns_(start_ns),
      loop_(std::move(loop)),
      timer_(std::move(timer)),
      source_(plan.make_source(shard)),
      dispatcher_(ShareOf(plan.dispatch, shard), *source_),
      recorder_(plan.slo),
      drain_ns_(plan.drain_ns) {
  for (const Endpoint& endpoint : endpoints) {
    clients_.push_back(std::make_unique<io::HttpClient>(
        *loop_, io::HttpClientOptions{.address = endpoint.address,
                                      .tls_or_null = endpoint.tls_or_null,
                                      .host = endpoint.target->authority,
                                      .server_name = endpoint.target->host,
                                      .connect_timeout_ns = plan.connect_timeout_ns,
                                      .idle_connections_max = plan.dispatch.in_flight_max}));
  }
}

Worker::~Worker() {
  exchanges_.clear();  // calls end before their clients
  clients_.clear();
  loop_->Unwatch(timer_.get(), *this);
}

int64_t Worker::run_ns() const noexcept { return loop_->clock().now_ns() - start_ns_; }

bool Worker::Measuring(const Launch& launch, int64_t now_ns) const noexcept {
  if (plan_.dispatch.warmup_requests > 0) return launch.measured;
  return now_ns >= plan_.dispatch.warmup_ns;
}

void Worker::Run() {
  const Code code = loop_->PostCall([this] { Pump(); });
  if (code != Code::kOk) return;
  loop_->Run();
}

void Worker::StopSoon(int64_t drain_ns) {
  const Code code = loop_->PostCall([this, drain_ns] {
    stopping_ = true;
    drain_ns_ = drain_ns;
    drain_.Cancel();
    Pump();
  });
  (void)code;  // a full queue means that the loop is stopping anyway
}

void Worker::OnReady(io::Ready) {
  uint64_t expirations = 0;
  while (::read(timer_.get(), &expirations, sizeof(expirations)) > 0) {
  }
  armed_ns_ = -1;
  Pump();
}

void Worker::WakeAt(int64_t run_ns) noexcept {
  if (armed_ns_ == run_ns) return;
  armed_ns_ = run_ns;
  const int64_t at_ns = std::max<int64_t>(1, start_ns_ + run_ns);
  const itimerspec when = {.it_interval = {},
                           .it_value = {.tv_sec = at_ns / 1'000'000'000,
                                        .tv_nsec = static_cast<long>(at_ns % 1'000'000'000)}};
  timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

void Worker::Pump() {
  if (run_ns() < 0) return WakeAt(0);
  Launch launch;
  Step step{Step::Kind::kDone};
  while (!stopping_) {
    step = dispatcher_.Next(run_ns(), &launch);
    if (step.kind != Step::Kind::kSend) break;
    Send(launch);
  }
  if (step.kind == Step::Kind::kWaitUntil) return WakeAt(step.until_ns);
  if (step.kind == Step::Kind::kWaitForFinish) {
    // Requests without end never finish, so the end of the run needs a time of its own.
    const DispatchPlan& plan = plan_.dispatch;
    const int64_t end_ns =
        plan.duration_ns + (plan.arrival == Arrival::kClosed ? 0 : kArrivalGraceNs);
    if (plan.duration_ns > 0) WakeAt(end_ns);
    return;
  }
  stopping_ = true;
  if (dispatcher_.in_flight() == 0) {
    loop_->Stop();
  } else if (drain_ns_ == 0) {
    DrainOver();
  } else if (drain_ns_ > 0 && !drain_.armed()) {
    loop_->Arm(drain_, drain_ns_);
  }
}

void Worker::Send(const Launch& launch) {
  if (idle_.empty()) {
    exchanges_.push_back(std::make_unique<Exchange>(*this));
    idle_.push_back(exchanges_.back().get());
  }
  Exchange* exchange = idle_.back();
  idle_.pop_back();
  live_.launched.fetch_add(1, std::memory_order_relaxed);
  if (launch.measured) live_.measuring.store(true, std::memory_order_relaxed);
  const uint64_t number = sent_++ * shard_.count + shard_.index;
  exchange->Start(launch, number % plan_.targets.size());
}

void Worker::Finish(Exchange& exchange, std::string_view escaped_answer) {
  dispatcher_.Finish(exchange.launch(), escaped_answer, run_ns());
  idle_.push_back(&exchange);
  Pump();
}

void Worker::DrainOver() {
  for (const auto& exchange : exchanges_) {
    if (exchange->active()) exchange->Abandon();
  }
  loop_->Stop();
}

}  // namespace weir::load
