#include "weir/io/grpc_server/health_service.h"

#include <optional>

#include "weir/io/loop/intrusive_list.h"

namespace weir::io {
namespace {

constexpr std::string_view kCheckPath = "/grpc.health.v1.Health/Check";
constexpr std::string_view kListPath = "/grpc.health.v1.Health/List";
constexpr std::string_view kWatchPath = "/grpc.health.v1.Health/Watch";

// Of protobuf, what these messages need.
constexpr uint64_t kVarint = 0;
constexpr uint64_t kFixed64 = 1;
constexpr uint64_t kBytes = 2;
constexpr uint64_t kFixed32 = 5;
constexpr char kFirstFieldVarint = 1 << 3 | kVarint;
constexpr char kFirstFieldBytes = 1 << 3 | kBytes;
constexpr char kSecondFieldBytes = 2 << 3 | kBytes;

std::optional<uint64_t> TakeVarint(std::string_view& bytes) noexcept {
  uint64_t value = 0;
  for (uint32_t shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

// The rest of a field whose tag has been taken; for kBytes its content, else empty.
std::optional<std::string_view> TakeField(uint64_t wire_type, std::string_view& bytes) noexcept {
  uint64_t size = 0;
  if (wire_type == kVarint) {
    if (!TakeVarint(bytes).has_value()) return std::nullopt;
  } else if (wire_type == kFixed64) {
    size = 8;
  } else if (wire_type == kFixed32) {
    size = 4;
  } else if (wire_type == kBytes) {
    const std::optional<uint64_t> length = TakeVarint(bytes);
    if (!length.has_value()) return std::nullopt;
    size = *length;
  } else {
    return std::nullopt;
  }
  if (size > bytes.size()) return std::nullopt;
  const std::string_view content = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return content;
}

// The field `service` of a HealthCheckRequest; empty optional if the message is malformed.
std::optional<std::string_view> ServiceOf(std::string_view message) noexcept {
  std::string_view service;
  while (!message.empty()) {
    const std::optional<uint64_t> tag = TakeVarint(message);
    if (!tag.has_value()) return std::nullopt;
    const std::optional<std::string_view> content = TakeField(*tag & 7, message);
    if (!content.has_value()) return std::nullopt;
    if (*tag == static_cast<uint64_t>(kFirstFieldBytes)) service = *content;
  }
  return service;
}

// A HealthCheckResponse. Proto3 leaves a zero out; a reader takes it spelled out as well.
void AppendStatus(ServingStatus status, std::string& out) {
  out.push_back(kFirstFieldVarint);
  out.push_back(static_cast<char>(status));
}

void AppendLength(size_t length, std::string& out) {
  for (; length >= 0x80; length >>= 7) out.push_back(static_cast<char>(length | 0x80));
  out.push_back(static_cast<char>(length));
}

// The service that a request asks for, or the call is finished with what is wrong.
std::optional<std::string_view> TakeRequest(GrpcCall& call, std::string_view message) {
  const std::optional<std::string_view> service = ServiceOf(message);
  if (!service.has_value()) {
    call.Finish(Code::kInvalidArgument, "the message is no HealthCheckRequest");
    return std::nullopt;
  }
  if (service->size() > kHealthServiceBytesMax) {
    call.Finish(Code::kInvalidArgument, "the service's name is too long");
    return std::nullopt;
  }
  return service;
}

// One request, one answer.
class UnaryHandler : public GrpcHandler {
 public:
  void OnCall(GrpcCall&) override {}
  void OnHalfClose(GrpcCall& call) override {
    call.Finish(Code::kInvalidArgument, "the call ended without a request");
  }
  void OnEnd(GrpcCall&, GrpcEnd) override {}
};

}  // namespace

class HealthService::Impl {
 public:
  Impl(HealthSource& source, const HealthOptions& options) : source_(&source), options_(options) {}
  ~Impl() { DropWatches(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Code Register(GrpcServer& server) {
    if (const Code code = server.Register(kCheckPath, check_); code != Code::kOk) return code;
    if (const Code code = server.Register(kListPath, list_); code != Code::kOk) return code;
    return server.Register(kWatchPath, watch_);
  }

  void Update() {
    for (Watch* one = watches_.front(); one != nullptr; one = watches_.Next(*one)) {
      SendIfChanged(*one);
    }
  }

  void EndWatches() {
    ended_ = true;
    for (Watch* one = watches_.front(); one != nullptr; one = watches_.Next(*one)) {
      one->call->Finish(Code::kUnavailable, "the server is shutting down");
    }
  }

  uint32_t watch_count() const noexcept { return watch_count_; }

 private:
  struct Watch : ListNode {
    GrpcCall* call;
    std::string service;
    std::optional<ServingStatus> told;
  };

  class CheckHandler final : public UnaryHandler {
   public:
    explicit CheckHandler(Impl& impl) noexcept : impl_(&impl) {}
    void OnMessage(GrpcCall& call, std::string_view message) override {
      const std::optional<std::string_view> service = TakeRequest(call, message);
      if (!service.has_value()) return;
      const ServingStatus status = impl_->source_->StatusOf(*service);
      if (status == ServingStatus::kServiceUnknown && !impl_->options_.unknown_as_status) {
        call.Finish(Code::kNotFound, "unknown service");
        return;
      }
      std::string out;
      AppendStatus(status, out);
      call.Send(out);
      call.Finish(Code::kOk);
    }

   private:
    Impl* impl_;
  };

  class ListHandler final : public UnaryHandler {
   public:
    explicit ListHandler(Impl& impl) noexcept : impl_(&impl) {}
    void OnMessage(GrpcCall& call, std::string_view) override {
      std::vector<std::string> names;
      impl_->source_->ListServices(names);
      if (names.size() > kHealthListMax) names.resize(kHealthListMax);
      std::string out;
      for (const std::string& name : names) AppendEntry(name, out);
      call.Send(out);
      call.Finish(Code::kOk);
    }

   private:
    // An entry of the map: key 1, value 2.
    void AppendEntry(const std::string& name, std::string& out) {
      std::string status;
      AppendStatus(impl_->source_->StatusOf(name), status);
      std::string entry(1, kFirstFieldBytes);
      AppendLength(name.size(), entry);
      entry += name;
      entry.push_back(kSecondFieldBytes);
      AppendLength(status.size(), entry);
      entry += status;
      out.push_back(kFirstFieldBytes);
      AppendLength(entry.size(), out);
      out += entry;
    }

    Impl* impl_;
  };

  class WatchHandler final : public GrpcHandler {
   public:
    explicit WatchHandler(Impl& impl) noexcept : impl_(&impl) {}
    void OnCall(GrpcCall&) override {}
    void OnMessage(GrpcCall& call, std::string_view message) override {
      if (call.context != nullptr) {
        call.Finish(Code::kInvalidArgument, "a watch has one request");
        return;
      }
      const std::optional<std::string_view> service = TakeRequest(call, message);
      if (service.has_value()) impl_->StartWatch(call, *service);
    }
    void OnHalfClose(GrpcCall& call) override {
      if (call.context == nullptr) {
        call.Finish(Code::kInvalidArgument, "the call ended without a request");
      }
    }
    void OnEnd(GrpcCall& call, GrpcEnd) override {
      if (call.context == nullptr) return;
      --impl_->watch_count_;
      delete static_cast<Watch*>(call.context);
    }

   private:
    Impl* impl_;
  };

  void StartWatch(GrpcCall& call, std::string_view service) {
    if (ended_) {
      call.Finish(Code::kUnavailable, "the server is shutting down");
      return;
    }
    if (watch_count_ >= options_.watches_max) {
      call.Finish(Code::kResourceExhausted, "too many watches");
      return;
    }
    auto* watch = new Watch;
    watch->call = &call;
    watch->service = service;
    call.context = watch;
    ++watch_count_;
    watches_.PushBack(*watch);
    SendIfChanged(*watch);
  }

  void SendIfChanged(Watch& watch) {
    const ServingStatus status = source_->StatusOf(watch.service);
    if (watch.told == status) return;
    watch.told = status;
    std::string out;
    AppendStatus(status, out);
    watch.call->Send(out);
  }

  void DropWatches() {
    while (Watch* one = watches_.PopFront()) delete one;
  }

  HealthSource* source_;
  HealthOptions options_;
  CheckHandler check_{*this};
  ListHandler list_{*this};
  WatchHandler watch_{*this};
  IntrusiveList<Watch> watches_;  // owned
  uint32_t watch_count_ = 0;
  bool ended_ = false;
};

HealthService::HealthService(HealthSource& source, const HealthOptions& options)
    : impl_(std::make_unique<Impl>(source, options)) {}
HealthService::~HealthService() = default;
Code HealthService::Register(GrpcServer& server) { return impl_->Register(server); }
void HealthService::Update() { impl_->Update(); }
void HealthService::EndWatches() { impl_->EndWatches(); }
uint32_t HealthService::watch_count() const noexcept { return impl_->watch_count(); }

}  // namespace weir::io
