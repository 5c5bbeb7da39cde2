#include "server.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weir::sim {
namespace {

// A request whose bytes are kept, with the answer still to come.
class HttpCall final : public WebCall, public io::ResponseObserver {
 public:
  // Told when the call ends, whoever ended it.
  class Owner {
   public:
    virtual void OnCallEnded(HttpCall& call) = 0;
    virtual void OnCallGone(HttpCall& call) = 0;

   protected:
    ~Owner() = default;
  };

  HttpCall(Owner& owner, const io::HttpRequest& request, io::ResponseWriter response)
      : owner_(owner), request_(&request), response_(std::move(response)) {
    response_.Observe(this);
  }

  // After the handler has returned, the views of the request are gone.
  void ForgetRequest() { request_ = nullptr; }

  std::string_view method() const override { return request_->head.method; }
  std::string_view path() const override { return request_->head.path(); }
  std::string_view body() const override { return request_->body; }
  std::string_view header(std::string_view name) const override {
    return request_->head.Find(name);
  }

  void AddHeader(std::string_view name, std::string_view value) override {
    headers_.emplace_back(name, value);
  }
  void Answer(int status, std::string_view content_type, std::string_view body) override {
    response_.Send(static_cast<uint16_t>(status), Fields(content_type), body);
    owner_.OnCallEnded(*this);
  }
  void Start(int status, std::string_view content_type) override {
    response_.Begin(static_cast<uint16_t>(status), Fields(content_type));
  }
  // A client that reads slowly is cut off by the server's limit of unsent bytes.
  void Write(std::string_view bytes) override { response_.Write(bytes); }
  void End() override {
    response_.End();
    owner_.OnCallEnded(*this);
  }
  void Abort() override {
    response_.Reset();
    owner_.OnCallEnded(*this);
  }

 private:
  void OnClientGone() override { owner_.OnCallGone(*this); }

  std::vector<io::HeaderField> Fields(std::string_view content_type) const {
    std::vector<io::HeaderField> fields = {{"content-type", content_type}};
    for (const auto& [name, value] : headers_) fields.push_back({name, value});
    return fields;
  }

  Owner& owner_;
  const io::HttpRequest* request_;
  io::ResponseWriter response_;
  std::vector<std::pair<std::string, std::string>> headers_;
};

}  // namespace

// One instance with its port and its clock.
class SimServer::Port final : public io::HttpHandler, public HttpCall::Owner {
 public:
  Port(io::EventLoop& loop, double time_scale)
      : loop_(loop), time_scale_(time_scale), start_ns_(loop.now_ns()) {}

  absl::Status Open(const SimOptions& options, uint32_t index, int64_t unix_s) {
    io::HttpServerOptions http;
    const uint32_t port = options.port == 0 ? 0 : options.port + index;
    const bool ipv6 = options.host.find(':') != std::string::npos;
    auto address = io::SocketAddress::Parse(ipv6 ? absl::StrCat("[", options.host, "]:", port)
                                                 : absl::StrCat(options.host, ":", port));
    if (!address.ok()) return address.status();
    http.address = *address;
    http.body_bytes_max = uint64_t{options.body_mib_max} << 20;
    auto server = io::HttpServer::Open(loop_, http, *this);
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    auto instance =
        Instance::Create(options, {.index = index, .port = server_->port(), .unix_s = unix_s});
    if (!instance.ok()) return instance.status();
    instance_ = *std::move(instance);
    return absl::OkStatus();
  }

  ~Port() {
    server_.reset();  // tells the calls that are left
  }

  void OnRequest(const io::HttpRequest& request, io::ResponseWriter response) override {
    auto made = std::make_unique<HttpCall>(*this, request, std::move(response));
    HttpCall& call = *made;
    calls_.push_back(std::move(made));
    handling_ = &call;
    instance_->Handle(call, VirtualNow());
    if (handling_ != nullptr) call.ForgetRequest();
    handling_ = nullptr;
    ended_.clear();
    Rearm();
  }
  void OnCallEnded(HttpCall& call) override { Release(call); }
  void OnCallGone(HttpCall& call) override {
    instance_->AdvanceTo(VirtualNow());
    instance_->ClientGone(call);
    Release(call);
    ended_.clear();
    Rearm();
  }

  uint16_t port() const noexcept { return server_->port(); }
  Instance& instance() noexcept { return *instance_; }
  void Drain() {
    instance_->Drain();
    server_->Drain();
  }
  bool drained() const { return server_->drained(); }

 private:
  int64_t VirtualNow() const {
    return static_cast<int64_t>(static_cast<double>(loop_.now_ns() - start_ns_) * time_scale_);
  }

  // The call is inside one of its own members, so it goes when the loop is back here.
  void Release(HttpCall& call) {
    if (handling_ == &call) handling_ = nullptr;
    const auto found = std::find_if(calls_.begin(), calls_.end(),
                                    [&](const auto& each) { return each.get() == &call; });
    if (found == calls_.end()) return;
    ended_.push_back(std::move(*found));
    *found = std::move(calls_.back());
    calls_.pop_back();
  }

  void OnTime() {
    instance_->AdvanceTo(VirtualNow());
    ended_.clear();
    Rearm();
  }

  void Rearm() {
    const int64_t next_ns = instance_->NextEventTime();
    if (next_ns == Engine::kNever) return timer_.Cancel();
    const double wait_ns = static_cast<double>(next_ns - VirtualNow()) / time_scale_;
    loop_.Arm(timer_, std::max<int64_t>(0, static_cast<int64_t>(wait_ns)));
  }

  io::EventLoop& loop_;
  const double time_scale_;
  const int64_t start_ns_;
  std::vector<std::unique_ptr<HttpCall>> calls_;
  std::vector<std::unique_ptr<HttpCall>> ended_;
  HttpCall* handling_ = nullptr;  // in OnRequest() and not ended yet
  std::unique_ptr<Instance> instance_;
  std::unique_ptr<io::HttpServer> server_;
  io::Timer timer_ = io::Timer::Calling<&Port::OnTime>(*this);
};

absl::StatusOr<std::unique_ptr<SimServer>> SimServer::Start(io::EventLoop& loop,
                                                            const SimOptions& options,
                                                            int64_t unix_s) {
  std::unique_ptr<SimServer> server(new SimServer);
  for (uint32_t i = 0; i < options.instances; ++i) {
    auto port = std::make_unique<Port>(loop, options.time_scale);
    if (absl::Status status = port->Open(options, i, unix_s); !status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat("instance ", i, ": ", std::string(status.message())));
    }
    server->ports_.push_back(std::move(port));
  }
  return server;
}

SimServer::~SimServer() = default;

uint16_t SimServer::port(size_t index) const noexcept { return ports_[index]->port(); }

const Instance& SimServer::instance(size_t index) const noexcept {
  return ports_[index]->instance();
}

void SimServer::Drain() {
  for (const auto& port : ports_) port->Drain();
}

bool SimServer::drained() const {
  return std::all_of(ports_.begin(), ports_.end(),
                     [](const auto& port) { return port->drained(); });
}

bool SimServer::exit_requested() const {
  return std::any_of(ports_.begin(), ports_.end(),
                     [](const auto& port) { return port->instance().exit_requested(); });
}

}  // namespace weir::sim
