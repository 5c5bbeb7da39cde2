#include "gateway.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "metrics_page.h"
#include "weir/io/fleet/sample_age.h"

namespace weir::gateway {
namespace {

constexpr uint32_t kThreadsMax = 64;
// Descriptors for listeners, files, pages and plugins, beside one scrape of each endpoint.
constexpr uint32_t kOtherDescriptors = 256;
// Of /debug/decisions where any client may ask for it, on a thread that serves requests.
constexpr size_t kPublicDecisionsBytesMax = 1 << 20;

constexpr std::string_view kDefaultPipeline = R"(apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
- type: max-score-picker
  parameters: {maxNumOfEndpoints: 3}
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - {pluginRef: max-score-picker}
)";

absl::StatusOr<io::SocketAddress> ParseListen(std::string_view flag, const std::string& value) {
  auto address = io::SocketAddress::Parse(value);
  if (address.ok()) return address;
  return absl::InvalidArgumentError(absl::StrCat(
      std::string(flag), " ", value,
      ": expected a numeric address with a port, such as 127.0.0.1:8080, [::1]:8080 or :8080"));
}

// As many clients and upstreams per thread as the process has descriptors for: without one, an
// accepted client could only be told that no server can be reached.
void FitToDescriptors(uint64_t descriptors, uint32_t threads, io::RelayOptions* relay) {
  const uint64_t others = std::min<uint64_t>(descriptors / 4, kEndpointsMax + kOtherDescriptors);
  const uint64_t each = (descriptors - others) / threads;
  const uint64_t idle = std::min<uint64_t>(relay->idle_upstreams_max, each / 8);
  const uint64_t clients = std::max<uint64_t>(1, (each - idle) / 2);
  relay->idle_upstreams_max = static_cast<uint32_t>(idle);
  relay->connections_max =
      static_cast<uint32_t>(std::min<uint64_t>(relay->connections_max, clients));
}

}  // namespace

std::string_view DefaultGatewayPipeline() { return kDefaultPipeline; }

absl::StatusOr<Router> LoadRouter(const GatewayOptions& options) {
  const auto load = [&](const RouterOptions& router) {
    if (!options.config_file.empty()) return Router::FromFile(options.config_file, router);
    return Router::FromText(kDefaultPipeline, "default pipeline", router);
  };
  if (!options.samples_expire) return load(options.router);
  return io::LoadWithSampleAge(options.router, options.fleet, load);
}

Gateway::Gateway(std::unique_ptr<io::DecisionLogWriter> recorder_or_null, Router router,
                 const GatewayOptions& options)
    : recorder_(std::move(recorder_or_null)), router_(std::move(router)), options_(options) {}

absl::StatusOr<std::unique_ptr<Gateway>> Gateway::Start(io::EventLoop& control_loop,
                                                        const GatewayOptions& options,
                                                        io::Fleet::Log log) {
  GatewayOptions recorded = options;
  recorded.record.log = log;
  auto recorder = io::RecordDecisions(recorded.record, &recorded.router);
  if (!recorder.ok()) return recorder.status();
  auto router = LoadRouter(recorded);
  if (!router.ok()) return router.status();
  std::unique_ptr<Gateway> gateway(new Gateway(*std::move(recorder), *std::move(router), options));
  if (absl::Status status = gateway->Open(control_loop, std::move(log)); !status.ok()) {
    return status;
  }
  return gateway;
}

absl::Status Gateway::Open(io::EventLoop& control_loop, io::Fleet::Log log) {
  if (options_.tls_cert_file.empty() != options_.tls_key_file.empty()) {
    return absl::InvalidArgumentError("--tls-cert and --tls-key: expected both or none");
  }
  if (!options_.tls_cert_file.empty()) {
    auto tls = io::TlsContext::Server(
        {.cert_file = options_.tls_cert_file, .key_file = options_.tls_key_file});
    if (!tls.ok()) return tls.status();
    server_tls_ = *std::move(tls);
  }
  auto upstream_tls = io::TlsContext::Client(
      {.verify = !options_.upstream_insecure, .ca_file = options_.upstream_ca_file});
  if (!upstream_tls.ok()) return upstream_tls.status();
  upstream_tls_ = *std::move(upstream_tls);
  io::FleetOptions fleet_options = options_.fleet;
  fleet_options.upstream_tls_or_null = upstream_tls_.get();
  auto fleet = io::Fleet::Create(control_loop, router_, fleet_options, log);
  if (!fleet.ok()) return fleet.status();
  fleet_ = *std::move(fleet);

  const auto is_ready = [this] { return fleet_->has_endpoints() && !draining_.load(); };
  health_pages_ = std::make_unique<io::HealthPages>(is_ready);
  admin_pages_ = std::make_unique<io::AdminPages>(
      router_, is_ready,
      [this] { return WriteMetrics(workers_, router_, *fleet_, recorder_.get()); },
      options_.admin_listen.empty() ? kPublicDecisionsBytesMax : io::kDecisionsPageBytesMax);
  if (absl::Status status = OpenWorkers(log); !status.ok()) return status;
  if (!options_.admin_listen.empty()) {
    auto address = ParseListen("--admin-listen", options_.admin_listen);
    if (!address.ok()) return address.status();
    auto server = io::AdminServer::Open(control_loop, {.address = *address}, *admin_pages_);
    if (!server.ok()) return server.status();
    admin_server_ = *std::move(server);
  }
  running_workers_.store(static_cast<uint32_t>(workers_.size()));
  for (const auto& worker : workers_) {
    threads_.emplace_back([this, one = worker.get()] {
      one->Run();
      running_workers_.fetch_sub(1);
    });
  }
  return absl::OkStatus();
}

absl::Status Gateway::OpenWorkers(const io::Fleet::Log& log) {
  auto address = ParseListen("--listen", options_.listen);
  if (!address.ok()) return address.status();
  if (absl::Status status = io::Listener::CheckFree(*address); !status.ok()) return status;
  const uint32_t cores = std::max(1u, std::thread::hardware_concurrency());
  const uint32_t threads = options_.threads > 0 ? options_.threads : std::min(4u, cores);
  if (threads > kThreadsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--threads ", threads, ": expected 1..", kThreadsMax));
  }
  const io::LocalPages& pages = options_.admin_listen.empty()
                                    ? static_cast<const io::LocalPages&>(*admin_pages_)
                                    : *health_pages_;
  io::RelayOptions relay = options_.relay;
  const uint64_t descriptors = io::DescriptorLimit();
  FitToDescriptors(descriptors, threads, &relay);
  if (relay.connections_max < options_.relay.connections_max) {
    log(LogLevel::kWarning,
        absl::StrCat("at most ", relay.connections_max, " clients per thread, not ",
                     options_.relay.connections_max, ": this process may open ", descriptors,
                     " descriptors (ulimit -n)"));
  }
  for (uint32_t i = 0; i < threads; ++i) {
    Worker::Options worker{.relay = relay,
                           .listener = {.address = *address, .reuse_port = true},
                           .server_tls = server_tls_.get(),
                           .upstream_tls = upstream_tls_.get(),
                           .endpoint_header = options_.endpoint_header};
    auto made = Worker::Create(router_, pages, worker);
    if (!made.ok()) return made.status();
    workers_.push_back(*std::move(made));
    address->set_port(workers_.front()->address().port());
  }
  return absl::OkStatus();
}

Gateway::~Gateway() {
  admin_server_.reset();
  if (!threads_.empty()) {
    for (const auto& worker : workers_) worker->Drain(0);
    for (std::thread& thread : threads_) thread.join();
  }
  workers_.clear();
}

void Gateway::Drain() {
  if (draining_.exchange(true)) return;
  for (const auto& worker : workers_) worker->Drain(options_.drain_ns);
}

std::string Gateway::admin_address() const {
  return admin_server_ == nullptr ? address() : admin_server_->address().ToString();
}

}  // namespace weir::gateway
