// The HTTP front: a script of bytes and events from client and upstream drives a relay over fake
// streams. Whatever happens, each request ends once, all memory comes back, and what an upstream
// has received is a sequence of well-formed requests, so nothing can be smuggled behind one.
//
// Script: an op byte, and for deliveries a length byte and that many bytes. An op with its high bit
// set delivers all that is left of the script to the client, in steps of its low bits.
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "script.h"
#include "weir/clock.h"
#include "weir/io/http/head.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/relay/relay.h"

namespace weir::io {
namespace {

constexpr size_t kUpstreamsMax = 16;

void Require(bool condition) {
  if (!condition) std::abort();
}

class Dialer final : public UpstreamDialer {
 public:
  std::vector<std::unique_ptr<FakeTransport>> transports;
  FakeTransport* last() { return transports.empty() ? nullptr : transports.back().get(); }
  Stream Dial(const UpstreamTarget&) override {
    if (transports.size() == kUpstreamsMax) return {};
    return transports.emplace_back(std::make_unique<FakeTransport>())->NewStream();
  }
};

class Handler final : public RelayHandler {
 public:
  std::vector<UpstreamTarget> targets;
  RelayRequest* waiting = nullptr;
  uint64_t requests = 0;
  uint64_t ends = 0;
  std::array<std::string_view, 3> pieces = {"new ", "", "body"};

  void Answer(RelayRequest& request) {
    const bool rewrites = request.head().path() == "/rw";
    request.Proxy({.targets = targets,
                   .filter_response = rewrites,
                   .body = rewrites ? std::span<const std::string_view>(pieces)
                                    : std::span<const std::string_view>()});
  }
  // Keeps half of each piece, as if the rest had to wait; what is lost is nobody's business here.
  void FilterResponse(RelayRequest&, std::string_view data, bool last, std::string* out) override {
    out->append(data.substr(0, last ? data.size() : data.size() / 2));
  }
  void OnRequest(RelayRequest& request) override {
    ++requests;
    const std::string_view path = request.head().path();
    if (path == "/local") return request.Respond({.body = request.body()});
    if (path == "/wait") {
      waiting = &request;
      return;
    }
    Answer(request);
  }
  void OnEnd(RelayRequest& request, const RelayEnd&) override {
    ++ends;
    if (waiting == &request) waiting = nullptr;
  }
};

// Whole requests, then at most one that was cut off.
void RequireRequests(std::string_view bytes) {
  static RequestHead head;
  while (!bytes.empty()) {
    HeadCursor cursor;
    const HeadError error = ParseRequestHead(bytes, cursor, head);
    if (error == HeadError::kIncomplete) return;
    Require(error == HeadError::kNone && head.framing != BodyFraming::kChunked);
    bytes.remove_prefix(head.size_bytes);
    if (head.framing == BodyFraming::kNone) continue;
    if (head.content_length > bytes.size()) return;
    bytes.remove_prefix(static_cast<size_t>(head.content_length));
  }
}

class Script {
 public:
  explicit Script(std::string_view bytes) : script_(bytes) {
    handler_.targets = {{.address = SocketAddress::Parse("10.0.0.1:1").value()},
                        {.address = SocketAddress::Parse("10.0.0.2:1").value()}};
    relay_ = std::make_unique<Relay>(*loop_, handler_, RelayOptions{.body_bytes_max = 1 << 16},
                                     &dialer_);
    relay_->Accept(client_.NewStream(), {});
  }

  void Run() {
    while (!script_.empty() && !client_.closed()) Step(script_.Byte());
    loop_->RunOnce(0);
    for (const auto& upstream : dialer_.transports) RequireRequests(upstream->written());
    relay_.reset();
    loop_->RunOnce(0);
    Require(handler_.requests == handler_.ends);
    Require(loop_->buffers().in_use_bytes() == 0);
    Require(client_.closed());
    for (const auto& upstream : dialer_.transports) Require(upstream->closed());
  }

 private:
  void Deliver(FakeTransport* to, std::string_view bytes) {
    if (to == nullptr) return;
    to->Deliver(bytes);
    to->Notify(kReadable);
  }
  static void End(FakeTransport* transport, bool reset) {
    if (transport == nullptr) return;
    reset ? transport->DeliverError(ECONNRESET) : transport->DeliverEof();
    transport->Notify(kReadable | kPeerClosed | (reset ? kBroken : 0));
  }

  void Step(uint8_t op) {
    FakeTransport* upstream = dialer_.last();
    if ((op & 0x80) != 0) {
      for (const size_t step = (op & 0x7f) + 1u; !script_.empty() && !client_.closed();) {
        Deliver(&client_, script_.Take(step));
        if (FakeTransport* last = dialer_.last()) last->Notify(kWritable);
      }
      return;
    }
    switch (op % 13) {
      case 0:
        return Deliver(&client_, script_.Bytes());
      case 1:
        return Deliver(upstream, script_.Bytes());
      case 2:
        return Deliver(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      case 3:
        if (upstream != nullptr) upstream->Notify(kWritable);
        return;
      case 4:
        return End(&client_, false);
      case 5:
        return End(upstream, (op & 0x40) != 0);
      case 6:
        return client_.AllowWrite(script_.Byte());
      case 7:
        return client_.Notify(kWritable);
      case 8:
        if (upstream != nullptr) upstream->AllowWrite(script_.Byte());
        return;
      case 9:
        clock_.Advance(int64_t{script_.Byte()} * 50'000'000);
        loop_->RunOnce(0);
        return;
      case 10:
        if (handler_.waiting != nullptr) handler_.Answer(*std::exchange(handler_.waiting, nullptr));
        return;
      case 11:
        if (upstream != nullptr) upstream->FailWrites(EPIPE);
        return;
      case 12:
        return Deliver(&client_, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    }
  }

  ScriptReader script_;
  ManualClock clock_{1'000'000'000};
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(clock_).value();
  FakeTransport client_;
  Dialer dialer_;
  Handler handler_;
  std::unique_ptr<Relay> relay_;
};

}  // namespace
}  // namespace weir::io

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weir::io::Script(std::string_view(reinterpret_cast<const char*>(data), size)).Run();
  return 0;
}
