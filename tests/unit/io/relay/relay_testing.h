// A relay between fake streams: a test plays client, upstreams, handler and clock.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weir/clock.h"
#include "weir/io/loop/event_loop.h"
#include "weir/io/loop/stream.h"
#include "weir/io/relay/relay.h"

namespace weir::io {

inline constexpr int64_t kSecondNs = 1'000'000'000;

// Hands out scripted upstreams in the order in which they were made.
class FakeDialer final : public UpstreamDialer {
 public:
  FakeTransport& Add() { return *transports_.emplace_back(std::make_unique<FakeTransport>()); }
  void RefuseNext() { ++refusals_; }
  size_t dialled() const { return next_; }
  const std::vector<std::string>& addresses() const { return addresses_; }

  Stream Dial(const UpstreamTarget& target) override {
    addresses_.push_back(target.address.ToString());
    if (refusals_ > 0) {
      --refusals_;
      return {};
    }
    if (next_ == transports_.size()) return {};
    return transports_[next_++]->NewStream();
  }

 private:
  std::vector<std::unique_ptr<FakeTransport>> transports_;
  std::vector<std::string> addresses_;
  size_t next_ = 0;
  int refusals_ = 0;
};

// Remembers what the relay told it, and does what the test says.
class ScriptedHandler final : public RelayHandler {
 public:
  std::function<void(RelayRequest&)> on_request;
  std::function<void()> on_response_bytes;
  std::function<void(std::string_view, bool, std::string*)> filter;
  std::function<void()> on_end;
  RelayRequest* request = nullptr;  // in flight
  std::vector<std::string> bodies;
  std::vector<std::string> failed_attempts;
  std::vector<RelayEnd> ends;
  std::string response_data;
  uint32_t requests = 0;
  uint16_t upstream_status = 0;

  void OnRequest(RelayRequest& r) override {
    EXPECT_EQ(r.context, nullptr);
    r.context = this;
    request = &r;
    ++requests;
    bodies.emplace_back(r.body());
    if (on_request) on_request(r);
  }
  void OnAttemptFailed(RelayRequest& r, uint32_t index, RelayOutcome why) override {
    EXPECT_EQ(r.context, this);
    failed_attempts.push_back(std::to_string(index) + " " + std::string(RelayOutcomeName(why)));
  }
  void OnUpstreamResponse(RelayRequest&, const ResponseHead& head) override {
    upstream_status = head.status;
  }
  void OnResponseBytes(RelayRequest&, std::string_view data) override {
    EXPECT_FALSE(data.empty());
    response_data += data;
    if (on_response_bytes) on_response_bytes();
  }
  void FilterResponse(RelayRequest& r, std::string_view data, bool last,
                      std::string* out) override {
    EXPECT_EQ(r.context, this);
    if (filter) return filter(data, last, out);
    RelayHandler::FilterResponse(r, data, last, out);
  }
  void OnEnd(RelayRequest& r, const RelayEnd& end) override {
    EXPECT_EQ(r.context, this);
    request = nullptr;
    ends.push_back(end);
    if (on_end) on_end();
  }
};

class RelayTest : public ::testing::Test {
 protected:
  RelayTest() { Restart({}); }
  ~RelayTest() override {
    relay_.reset();
    Turn();
    EXPECT_EQ(handler_.requests, handler_.ends.size()) << "OnEnd once for each OnRequest";
    EXPECT_EQ(loop_->buffers().in_use_bytes(), 0u) << "all buffers are back";
  }

  void Restart(const RelayOptions& options) {
    relay_.reset();
    if (loop_ == nullptr) loop_ = EventLoop::Create(clock_).value();
    relay_ = std::make_unique<Relay>(*loop_, handler_, options, &dialer_);
    targets_.clear();
    for (const char* address : {"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"}) {
      targets_.push_back({.address = SocketAddress::Parse(address).value()});
    }
    handler_.on_request = [this](RelayRequest& request) { request.Proxy({.targets = targets_}); };
  }

  FakeTransport& Connect() {
    FakeTransport& client = *clients_.emplace_back(std::make_unique<FakeTransport>());
    relay_->Accept(client.NewStream(), {});
    return client;
  }
  FakeTransport& AddUpstream() { return dialer_.Add(); }

  void Turn() { loop_->RunOnce(0); }
  void Advance(int64_t ns) {
    clock_.Advance(ns);
    Turn();
  }
  static void Send(FakeTransport& to, std::string_view bytes) {
    to.Deliver(bytes);
    to.Notify(kReadable);
  }
  static void SendByteWise(FakeTransport& to, std::string_view bytes) {
    for (const char& c : bytes) Send(to, std::string_view(&c, 1));
  }
  static void Leave(FakeTransport& transport) {
    transport.DeliverEof();
    transport.Notify(kReadable | kPeerClosed);
  }
  static void Reset(FakeTransport& transport) {
    transport.DeliverError(ECONNRESET);
    transport.Notify(kReadable | kPeerClosed | kBroken);
  }
  static void Accepts(FakeTransport& upstream) { upstream.Notify(kWritable); }

  // Bytes written since the last call.
  static std::string Taken(FakeTransport& transport) {
    std::string bytes;
    bytes.swap(transport.written());
    return bytes;
  }
  const RelayEnd& LastEnd() {
    static const RelayEnd kNone;
    EXPECT_FALSE(handler_.ends.empty());
    return handler_.ends.empty() ? kNone : handler_.ends.back();
  }
  uint64_t Count(RelayOutcome outcome) const {
    return relay_->counters().requests[static_cast<size_t>(outcome)].value();
  }

  ManualClock clock_{kSecondNs};
  std::unique_ptr<EventLoop> loop_;
  ScriptedHandler handler_;
  FakeDialer dialer_;
  std::vector<std::unique_ptr<FakeTransport>> clients_;
  std::vector<UpstreamTarget> targets_;
  std::unique_ptr<Relay> relay_;
};

inline constexpr std::string_view kPost =
    "POST /v1/completions HTTP/1.1\r\nHost: gw\r\nContent-Length: 4\r\n\r\nbody";
inline constexpr std::string_view kPostUpstream =
    "POST /v1/completions HTTP/1.1\r\nHost: gw\r\ncontent-length: 4\r\n\r\nbody";
inline constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
inline constexpr std::string_view kStream =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    "9\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n0\r\n\r\n";

}  // namespace weir::io
