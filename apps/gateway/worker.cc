#include "worker.h"

#include <algorithm>

#include "weir/clock.h"

namespace weir::gateway {
namespace {

// Exchanges kept for reuse by one worker.
constexpr size_t kFreeExchangesMax = 4096;
constexpr int64_t kDrainCheckNs = 20'000'000;
// The server did not serve the request; below, it was the client's mistake or wish.
constexpr uint16_t kServerErrorStatusMin = 500;

constexpr std::string_view kDestinationHeader = "x-gateway-destination-endpoint";
constexpr std::string_view kEndpointHeader = "x-weir-endpoint";
constexpr std::string_view kRequestIdHeader = "x-request-id";
constexpr std::string_view kDropReasonHeader = "x-llm-d-request-dropped-reason";

// Headers that steer requests between routers and servers; a client must not send them.
constexpr std::string_view kStrippedRequestHeaders[] = {
    kDestinationHeader,          "x-gateway-destination-endpoint-scores",
    "x-prefiller-host-port",     "x-encoder-hosts-ports",
    "x-data-parallel-host-port", "x-kv-cache-source-host-port"};
constexpr std::string_view kStrippedResponseHeaders[] = {kEndpointHeader};

char LowerCase(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// Whether requests of this method are about their body.
bool CarriesBody(io::Method method) {
  return method == io::Method::kPost || method == io::Method::kPut || method == io::Method::kPatch;
}

std::string_view DropReason(absl::StatusCode code) {
  return code == absl::StatusCode::kUnavailable ? "rejected-no-endpoints" : "rejected-saturated";
}

End EndOf(const io::RelayEnd& end) {
  switch (end.outcome) {
    case io::RelayOutcome::kComplete:
      return end.status < kServerErrorStatusMin ? End::kCompleted : End::kFailed;
    case io::RelayOutcome::kClientGone:
    case io::RelayOutcome::kClientTimeout:
    case io::RelayOutcome::kBuffersFull:  // nor is this the server's fault
      return End::kClientGone;
    default:
      return End::kFailed;
  }
}

int64_t TokensOr(const std::optional<uint64_t>& tokens, int64_t or_else) {
  return tokens ? static_cast<int64_t>(std::min<uint64_t>(*tokens, INT64_MAX)) : or_else;
}

}  // namespace

Worker::Worker(const Router& router, const io::LocalPages& pages, const Options& options,
               std::unique_ptr<io::EventLoop> loop)
    : router_(router),
      pages_(pages),
      options_(options),
      loop_(std::move(loop)),
      routes_(router_.pool()),
      intake_(router_),
      relay_(std::make_unique<io::Relay>(*loop_, *this, options.relay)) {
  relay_->set_tls(options.server_tls);
  free_exchanges_.reserve(kFreeExchangesMax);
}

Worker::~Worker() {
  listener_.reset();
  relay_.reset();
}

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(const Router& router,
                                                       const io::LocalPages& pages,
                                                       const Options& options) {
  auto loop = io::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  std::unique_ptr<Worker> worker(new Worker(router, pages, options, *std::move(loop)));
  auto listener = io::Listener::Open(*worker->loop_, options.listener, *worker->relay_);
  if (!listener.ok()) return listener.status();
  worker->listener_ = *std::move(listener);
  return worker;
}

void Worker::Run() { loop_->Run(); }

void Worker::Drain(int64_t deadline_ns) {
  (void)loop_->PostCall([this, deadline_ns] {
    listener_->Close();
    relay_->Drain(deadline_ns);
    CheckDrained();
  });
}

void Worker::CheckDrained() {
  if (relay_->idle()) {
    loop_->Stop();
  } else {
    loop_->Arm(drain_check_, kDrainCheckNs);
  }
}

void Worker::OnRequest(io::RelayRequest& request) {
  const io::RequestHead& head = request.head();
  if (ServeLocally(request, head)) return;
  ListHeaders(head);
  const IntakeInput input{
      .headers = headers_, .path = head.path(), .body = request.body(), .model_optional = true};
  if (request.body().empty() && !CarriesBody(head.method_id)) {
    intake_.ReadHeadersOnly(input, &request_, &intake_result_);
  } else if (const absl::Status status = intake_.Read(input, &request_, &intake_result_);
             !status.ok()) {
    counters_.requests_refused_body.Add(1);
    const bool too_large = status.code() == absl::StatusCode::kOutOfRange;
    request.RespondError({.status = static_cast<uint16_t>(too_large ? 413 : 400),
                          .message = {status.message().data(), status.message().size()}});
    return;
  }
  const int64_t before_ns = SystemClock().now_ns();
  absl::StatusOr<Decision> decision = router_.Decide(request_);
  counters_.decision_latency.Add(SystemClock().now_ns() - before_ns);
  if (!decision.ok()) {
    RefuseUndecided(request, decision.status());
    return;
  }
  StartProxy(request, *std::move(decision));
}

bool Worker::ServeLocally(io::RelayRequest& request, const io::RequestHead& head) {
  if (head.method_id != io::Method::kGet && head.method_id != io::Method::kHead) return false;
  io::Page page;
  if (!ServeRequest(pages_, head, &page)) return false;
  request.Respond({.status = page.status, .content_type = page.content_type, .body = page.body});
  return true;
}

void Worker::ListHeaders(const io::RequestHead& head) {
  size_t name_bytes = 0;
  for (const io::HeaderView& header : head.headers()) name_bytes += header.name.size();
  header_names_.clear();
  header_names_.reserve(name_bytes);
  headers_.clear();
  for (const io::HeaderView& header : head.headers()) {
    const size_t begin = header_names_.size();
    for (const char c : header.name) header_names_.push_back(LowerCase(c));
    headers_.push_back({{header_names_.data() + begin, header.name.size()}, header.value});
  }
}

void Worker::RefuseUndecided(io::RelayRequest& request, const absl::Status& status) {
  const std::string_view message(status.message().data(), status.message().size());
  io::ErrorReply reply;
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      counters_.requests_no_endpoint.Add(1);
      reply = {.status = 503, .message = message, .code = "no_endpoints"};
      break;
    case absl::StatusCode::kResourceExhausted:
      counters_.requests_all_dropped.Add(1);
      reply = {.status = 429,
               .message = message,
               .type = "rate_limit_error",
               .code = "all_endpoints_filtered"};
      break;
    case absl::StatusCode::kFailedPrecondition:
      counters_.requests_not_cached.Add(1);
      request.RespondError({.status = 412, .message = message, .code = "not_cached"});
      return;
    default:
      counters_.requests_unscheduled.Add(1);
      request.RespondError({.status = 500, .message = "the request could not be scheduled"});
      return;
  }
  const io::HeaderField reason[] = {{kDropReasonHeader, DropReason(status.code())}};
  request.RespondError(reply, reason);
}

// Maps the decision's targets to addresses; those that cannot be used are left out.
bool Worker::PlanTargets(Exchange& exchange, uint32_t* target_count) {
  *target_count = 0;
  const auto targets = exchange.decision.targets();
  for (uint32_t i = 0; i < targets.size() && *target_count < kRequestTargetsMax; ++i) {
    const io::Route* route = routes_.Find(targets[i]);
    if (route == nullptr || (route->tls && options_.upstream_tls == nullptr)) continue;
    const uint32_t target = (*target_count)++;
    exchange.decision_targets[target] = i;
    exchange.hosts[target] = route->host;
    exchange.targets[target] = {.address = route->address,
                                .tls = route->tls ? options_.upstream_tls : nullptr,
                                .server_name = exchange.hosts[target],
                                .host = exchange.hosts[target]};
  }
  return *target_count > 0;
}

void Worker::StartProxy(io::RelayRequest& request, Decision decision) {
  Exchange* exchange = TakeExchange();
  exchange->decision = std::move(decision);
  uint32_t target_count = 0;
  if (!PlanTargets(*exchange, &target_count)) {
    counters_.requests_unroutable.Add(1);
    RecordDecision(*exchange);
    ReturnExchange(exchange);
    request.RespondError({.status = 502, .message = "no chosen model server has a usable address"});
    return;
  }
  const uint32_t first = exchange->decision_targets[0];
  exchange->flight = router_.Begin(exchange->decision, first);
  exchange->decision.ReleaseRequest();
  exchange->endpoint = exchange->decision.targets()[first].name;
  exchange->destination = exchange->decision.headers()[0].value;
  exchange->started_ns = loop_->now_ns();
  exchange->request_headers[0] = {kDestinationHeader, exchange->destination};
  exchange->response_headers[0] = {kEndpointHeader, exchange->endpoint};
  exchange->response = ResponseReader(intake_result_.response_format);
  request.context = exchange;
  io::ProxyPlan plan;
  plan.targets = {exchange->targets.data(), target_count};
  plan.add = {exchange->request_headers.data(), 1};
  plan.strip = kStrippedRequestHeaders;
  plan.response_strip = kStrippedResponseHeaders;
  if (options_.endpoint_header) plan.response_add = {exchange->response_headers.data(), 1};
  if (intake_result_.body_changed) {
    exchange->new_model = intake_result_.body[1];
    exchange->body = intake_result_.body;
    exchange->body[1] = exchange->new_model;
    plan.body = exchange->body;
    exchange->model_filter.Start(intake_result_.target_model, intake_result_.incoming_model);
    plan.filter_response = exchange->model_filter.active();
  }
  request.Proxy(plan);
}

void Worker::OnAttemptFailed(io::RelayRequest& request, uint32_t target_index, io::RelayOutcome) {
  auto* exchange = static_cast<Exchange*>(request.context);
  const uint32_t next = target_index + 1;
  exchange->flight.Finish({}, End::kFailed);
  if (next >= kRequestTargetsMax || exchange->targets[next].address.valid() == false) return;
  const uint32_t target = exchange->decision_targets[next];
  exchange->flight = router_.Begin(exchange->decision, target);
  exchange->endpoint = exchange->decision.targets()[target].name;
  exchange->response_headers[0].value = exchange->endpoint;
}

void Worker::OnUpstreamResponse(io::RelayRequest& request, const io::ResponseHead& head) {
  auto* exchange = static_cast<Exchange*>(request.context);
  exchange->server_failed = head.status >= kServerErrorStatusMin;
  RecordDecision(*exchange);
}

void Worker::OnResponseBytes(io::RelayRequest& request, std::string_view data) {
  auto* exchange = static_cast<Exchange*>(request.context);
  if (!exchange->first_byte_seen) {
    exchange->first_byte_seen = true;
    if (!exchange->server_failed) exchange->flight.FirstToken();
    counters_.first_byte_latency.Add(loop_->now_ns() - exchange->started_ns);
  }
  exchange->response.Feed(data);
}

void Worker::FilterResponse(io::RelayRequest& request, std::string_view data, bool last,
                            std::string* out) {
  static_cast<Exchange*>(request.context)->model_filter.Feed(data, last, out);
}

void Worker::OnEnd(io::RelayRequest& request, const io::RelayEnd& end) {
  auto* exchange = static_cast<Exchange*>(request.context);
  if (exchange == nullptr) return;
  counters_.request_latency.Add(loop_->now_ns() - exchange->started_ns);
  const ResponseUsage& usage = exchange->response.usage();
  counters_.prompt_tokens.Add(usage.prompt_tokens.value_or(0));
  counters_.cached_tokens.Add(usage.cached_tokens.value_or(0));
  counters_.output_tokens.Add(usage.completion_tokens.value_or(0));
  exchange->flight.Finish({.prompt_tokens = TokensOr(usage.prompt_tokens, -1),
                           .cached_tokens = TokensOr(usage.cached_tokens, -1),
                           .output_tokens = TokensOr(usage.completion_tokens, -1)},
                          EndOf(end));
  RecordDecision(*exchange);
  request.context = nullptr;
  ReturnExchange(exchange);
}

void Worker::RecordDecision(Exchange& exchange) {
  if (exchange.decision) router_.Record(std::move(exchange.decision));
}

Exchange* Worker::TakeExchange() {
  if (free_exchanges_.empty()) return new Exchange;
  Exchange* exchange = free_exchanges_.back().release();
  free_exchanges_.pop_back();
  return exchange;
}

void Worker::ReturnExchange(Exchange* exchange) {
  std::unique_ptr<Exchange> owned(exchange);
  if (free_exchanges_.size() >= kFreeExchangesMax) return;
  owned->first_byte_seen = owned->server_failed = false;
  owned->targets.fill({});
  free_exchanges_.push_back(std::move(owned));
}

}  // namespace weir::gateway
