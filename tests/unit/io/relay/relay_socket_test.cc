// The relay over real sockets on loopback: what fakes cannot show.
#include <poll.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <vector>

#include "relay_testing.h"
#include "testing/tls_files.h"
#include "weir/io/loop/socket.h"
#include "weir/io/loop/tls.h"

namespace weir::io {
namespace {

constexpr int64_t kDeadlineNs = 20 * kSecondNs;

// A peer of the relay: keeps what it receives, sends what the test says, on the same loop.
class Peer final : public EventHandler {
 public:
  Peer(EventLoop& loop, Stream stream) : loop_(loop), stream_(std::move(stream)) {
    EXPECT_EQ(loop_.Watch(stream_, *this), Code::kOk);
  }
  ~Peer() { Close(); }

  void Send(std::string_view bytes) {
    outgoing_ += bytes;
    Flush();
  }
  void Close() {
    if (stream_.open()) loop_.Close(stream_, *this);
  }
  void Reset() {
    if (!stream_.open()) return;
    stream_.Abort();
    loop_.Close(stream_, *this);
  }
  void StopReading(bool stop) {
    stopped_ = stop;
    if (!stop) Read();
  }
  std::string& received() { return received_; }
  bool ended() const { return ended_; }
  bool sent_all() const { return outgoing_.empty(); }

  void OnReady(Ready ready) override {
    ready = stream_.Widen(ready);
    if ((ready & kWritable) != 0) Flush();
    if ((ready & (kReadable | kPeerClosed | kBroken)) != 0) Read();
  }

 private:
  void Flush() {
    while (stream_.open() && !outgoing_.empty()) {
      const IoResult result = stream_.TryWrite(outgoing_);
      if (!result.ok()) return;
      outgoing_.erase(0, result.bytes);
    }
  }
  void Read() {
    char buffer[65536];
    while (stream_.open() && !stopped_ && !ended_) {
      const IoResult result = stream_.TryRead(buffer);
      if (result.would_block()) return;
      if (result.ok()) received_.append(buffer, result.bytes);
      if (!result.ok()) ended_ = true;
    }
  }

  EventLoop& loop_;
  Stream stream_;
  std::string outgoing_;
  std::string received_;
  bool stopped_ = false;
  bool ended_ = false;
};

class PeerListener final : public AcceptHandler {
 public:
  PeerListener(EventLoop& loop, const TlsContext* tls) : loop_(loop), tls_(tls) {
    listener_ =
        Listener::Open(loop, {.address = SocketAddress::Parse("127.0.0.1:0").value()}, *this)
            .value();
  }
  void OnAccept(UniqueFd socket, const SocketAddress&) override {
    Stream stream =
        tls_ != nullptr ? tls_->NewStream(std::move(socket)) : Stream::Plain(std::move(socket));
    peers.push_back(std::make_unique<Peer>(loop_, std::move(stream)));
  }
  SocketAddress address() const { return listener_->address(); }

  std::vector<std::unique_ptr<Peer>> peers;

 private:
  EventLoop& loop_;
  const TlsContext* tls_;
  std::unique_ptr<Listener> listener_;
};

class RelaySocketTest : public ::testing::Test {
 protected:
  void Start(const RelayOptions& options = {}, const TlsContext* client_side = nullptr,
             const TlsContext* upstream_server = nullptr,
             const TlsContext* upstream_client = nullptr) {
    loop_ = EventLoop::Create().value();
    upstreams_ = std::make_unique<PeerListener>(*loop_, upstream_server);
    relay_ = std::make_unique<Relay>(*loop_, handler_, options);
    relay_->set_tls(client_side);
    front_ =
        Listener::Open(*loop_, {.address = SocketAddress::Parse("127.0.0.1:0").value()}, *relay_)
            .value();
    targets_ = {{.address = upstreams_->address(), .tls = upstream_client}};
    handler_.on_request = [this](RelayRequest& request) { request.Proxy({.targets = targets_}); };
  }
  ~RelaySocketTest() override {
    clients_.clear();
    if (upstreams_ != nullptr) upstreams_->peers.clear();
    front_.reset();
    upstreams_.reset();
    relay_.reset();
    EXPECT_EQ(handler_.requests, handler_.ends.size());
  }

  Peer& Connect(const TlsContext* tls = nullptr) {
    int error = 0;
    UniqueFd socket = StartConnect(front_->address(), error);
    EXPECT_EQ(error, 0);
    Stream stream = tls != nullptr ? tls->NewStream(std::move(socket), "localhost")
                                   : Stream::Plain(std::move(socket));
    return *clients_.emplace_back(std::make_unique<Peer>(*loop_, std::move(stream)));
  }
  template <typename Done>
  bool Until(Done done) {
    const int64_t deadline_ns = SystemClock().now_ns() + kDeadlineNs;
    while (!done()) {
      if (SystemClock().now_ns() > deadline_ns) return false;
      loop_->RunOnce(5'000'000);
    }
    return true;
  }
  // The connection on which the relay has sent a whole kPostUpstream.
  Peer* UpstreamWithRequest() {
    EXPECT_TRUE(Until([this] {
      return !upstreams_->peers.empty() &&
             upstreams_->peers.back()->received().size() >= kPostUpstream.size();
    }));
    Peer* peer = upstreams_->peers.back().get();
    EXPECT_EQ(peer->received(), kPostUpstream);
    peer->received().clear();
    return peer;
  }
  bool Ended(RelayOutcome outcome) {
    const bool ended = Until([this] { return !handler_.ends.empty(); });
    return ended && handler_.ends.back().outcome == outcome;
  }
  // A request ends in 502, and the upstream sees nothing of it.
  void ExpectUntrusted() {
    Peer& client = Connect();
    client.Send(kPost);
    ASSERT_TRUE(Until([&] { return client.received().ends_with("}}"); }));
    EXPECT_TRUE(client.received().starts_with("HTTP/1.1 502 "));
    EXPECT_TRUE(Ended(RelayOutcome::kUpstreamConnectFailed));
    EXPECT_EQ(upstreams_->peers[0]->received(), "");
  }

  std::unique_ptr<EventLoop> loop_;
  ScriptedHandler handler_;
  std::unique_ptr<PeerListener> upstreams_;
  std::unique_ptr<Relay> relay_;
  std::unique_ptr<Listener> front_;
  std::vector<std::unique_ptr<Peer>> clients_;
  std::vector<UpstreamTarget> targets_;
};

TEST_F(RelaySocketTest, StreamsAndReuses) {
  Start();
  Peer& client = Connect();
  for (int round = 0; round < 3; ++round) {
    client.Send(kPost);
    Peer* upstream = UpstreamWithRequest();
    upstream->Send(kStream.substr(0, 94));
    ASSERT_TRUE(Until([&] { return client.received().size() == 94; }));
    upstream->Send(kStream.substr(94));
    ASSERT_TRUE(Until([&] { return client.received().size() == kStream.size(); }));
    EXPECT_EQ(client.received(), kStream);
    client.received().clear();
  }
  EXPECT_EQ(upstreams_->peers.size(), 1u);
  EXPECT_EQ(relay_->counters().upstream_reuses.value(), 2u);
}

TEST_F(RelaySocketTest, LargeBodiesPassBothWaysUnderBackpressure) {
  Start();
  const std::string body(4u << 20, 'q');
  Peer& client = Connect();
  client.StopReading(true);
  client.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n\r\n" + body);
  ASSERT_TRUE(Until([&] {
    return !upstreams_->peers.empty() && upstreams_->peers[0]->received().size() > body.size();
  }));
  std::string answer(24u << 20, 'r');
  upstreams_->peers[0]->Send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(answer.size()) +
                             "\r\n\r\n");
  upstreams_->peers[0]->Send(answer);
  ASSERT_TRUE(Until([&] { return relay_->counters().client_bytes_out.value() > 0; }));
  for (int turn = 0; turn < 20; ++turn) loop_->RunOnce(1'000'000);
  EXPECT_FALSE(upstreams_->peers[0]->sent_all()) << "the relay must not swallow what nobody takes";
  EXPECT_LE(loop_->buffers().in_use_bytes(), 256u * 1024);
  client.StopReading(false);
  ASSERT_TRUE(Until([&] { return client.received().size() > answer.size(); }));
  EXPECT_TRUE(client.received().ends_with(answer));
  EXPECT_TRUE(Ended(RelayOutcome::kComplete));
}

TEST_F(RelaySocketTest, AClientThatLeavesCancelsItsUpstream) {
  Start();
  for (const bool reset : {false, true}) {
    handler_.ends.clear();
    handler_.requests = 0;
    Peer& client = Connect();
    client.Send(kPost);
    Peer* upstream = UpstreamWithRequest();
    upstream->Send(kStream.substr(0, 94));
    ASSERT_TRUE(Until([&] { return client.received().size() == 94; }));
    reset ? client.Reset() : client.Close();
    EXPECT_TRUE(Until([&] { return upstream->ended(); })) << "without a byte from upstream";
    EXPECT_TRUE(Ended(RelayOutcome::kClientGone));
  }
}

TEST_F(RelaySocketTest, UpstreamsThatEndEarlyAreSeen) {
  Start();
  for (const bool reset : {false, true}) {
    handler_.ends.clear();
    handler_.requests = 0;
    Peer& client = Connect();
    client.Send(kPost);
    Peer* upstream = UpstreamWithRequest();
    upstream->Send(kStream.substr(0, 94));
    ASSERT_TRUE(Until([&] { return client.received().size() == 94; }));
    reset ? upstream->Reset() : upstream->Close();
    EXPECT_TRUE(Until([&] { return client.ended(); }));
    EXPECT_TRUE(Ended(RelayOutcome::kUpstreamTruncated));
  }
}

TEST_F(RelaySocketTest, ARefusedConnectionFallsBack) {
  Start();
  SocketAddress closed;
  {
    PeerListener gone(*loop_, nullptr);
    closed = gone.address();
  }
  targets_.insert(targets_.begin(), {.address = closed});
  Peer& client = Connect();
  client.Send(kPost);
  UpstreamWithRequest()->Send(kOk);
  ASSERT_TRUE(Until([&] { return client.received().size() == kOk.size(); }));
  EXPECT_EQ(client.received(), kOk);
  EXPECT_EQ(handler_.failed_attempts, std::vector<std::string>{"0 upstream_connect_failed"});
  targets_.pop_back();
  client.received().clear();
  client.Send(kPost);
  ASSERT_TRUE(Until([&] { return client.received().ends_with("}}"); }));
  EXPECT_TRUE(client.received().starts_with("HTTP/1.1 502 "));
}

TEST_F(RelaySocketTest, AConnectionTheUpstreamClosedIdleIsReplaced) {
  Start();
  Peer& client = Connect();
  client.Send(kPost);
  UpstreamWithRequest()->Send(kOk);
  ASSERT_TRUE(Until([&] { return client.received().size() == kOk.size(); }));
  upstreams_->peers[0]->Close();
  client.Send(kPost);  // before the relay's loop has seen the end
  ASSERT_TRUE(Until([&] { return upstreams_->peers.size() == 2; }));
  UpstreamWithRequest()->Send(kOk);
  ASSERT_TRUE(Until([&] { return client.received().size() == 2 * kOk.size(); }));
}

TEST_F(RelaySocketTest, ARefusalIsReadThoughTheClientStillSends) {
  Start({.body_bytes_max = 1000});
  Peer& client = Connect();
  client.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" +
              std::string(1'000'000, 'x'));
  ASSERT_TRUE(Until([&] { return client.ended(); }));
  EXPECT_TRUE(client.received().starts_with("HTTP/1.1 413 "));
  EXPECT_TRUE(client.received().ends_with("}}"));
}

TEST_F(RelaySocketTest, SpeaksTlsOnBothSides) {
  auto server = TlsContext::Server({}).value();
  auto trusting = TlsContext::Client({.verify = false}).value();
  Start({}, server.get(), server.get(), trusting.get());
  Peer& client = Connect(trusting.get());
  for (int round = 0; round < 2; ++round) {
    client.Send(kPost);
    UpstreamWithRequest()->Send(kStream);
    ASSERT_TRUE(Until([&] { return client.received().size() == kStream.size(); }));
    EXPECT_EQ(client.received(), kStream);
    client.received().clear();
  }
  const std::string large(1u << 20, 't');
  client.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(large.size()) +
              "\r\n\r\n" + large);
  ASSERT_TRUE(Until([&] { return upstreams_->peers.back()->received().size() > large.size(); }));
  upstreams_->peers.back()->Send(
      "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(large.size()) + "\r\n\r\n" + large);
  ASSERT_TRUE(Until([&] { return client.received().size() > large.size(); }));
  EXPECT_TRUE(client.received().ends_with(large));
  handler_.ends.clear();
  handler_.requests = 0;
  client.Send(kPost);
  ASSERT_TRUE(Until([&] { return handler_.requests == 1; }));
  client.Close();
  EXPECT_TRUE(Ended(RelayOutcome::kClientGone));
}

TEST_F(RelaySocketTest, AnUntrustedUpstreamIsNotUsed) {
  auto server = TlsContext::Server({}).value();
  auto strict = TlsContext::Client({}).value();
  Start({}, nullptr, server.get(), strict.get());
  targets_[0].server_name = "localhost";
  ExpectUntrusted();
}

TEST_F(RelaySocketTest, ACertificateForTheAddressServesATargetWithoutAName) {
  const TlsFiles files("IP:127.0.0.1");
  auto server = TlsContext::Server({.cert_file = files.cert(), .key_file = files.key()}).value();
  auto strict = TlsContext::Client({.ca_file = files.cert()}).value();
  Start({}, nullptr, server.get(), strict.get());
  Peer& client = Connect();
  client.Send(kPost);
  UpstreamWithRequest()->Send(kStream);
  EXPECT_TRUE(Until([&] { return client.received() == kStream; }));
}

TEST_F(RelaySocketTest, ACertificateForAnotherHostServesNoTargetWithoutAName) {
  const TlsFiles files("DNS:other.example");
  auto server = TlsContext::Server({.cert_file = files.cert(), .key_file = files.key()}).value();
  auto strict = TlsContext::Client({.ca_file = files.cert()}).value();
  Start({}, nullptr, server.get(), strict.get());
  ExpectUntrusted();
}

TEST_F(RelaySocketTest, CountsHandshakesThatFail) {
  auto server = TlsContext::Server({}).value();
  Start({}, server.get());
  Connect().Send(kPost);  // no TLS
  const RelayCounters& counters = relay_->counters();
  EXPECT_TRUE(Until([&] { return counters.client_handshakes_failed.value() == 1; }));
  auto trusting = TlsContext::Client({.verify = false}).value();
  Peer& client = Connect(trusting.get());
  client.Send(kPost);
  UpstreamWithRequest()->Send(kStream);
  EXPECT_TRUE(Until([&] { return client.received() == kStream; }));
  client.Close();
  EXPECT_TRUE(Until([&] { return relay_->idle(); }));
  EXPECT_EQ(counters.client_handshakes_failed.value(), 1u);
}

TEST_F(RelaySocketTest, DrainsWhileStreaming) {
  Start();
  Peer& client = Connect();
  client.Send(kPost);
  Peer* upstream = UpstreamWithRequest();
  upstream->Send(kStream.substr(0, 94));
  ASSERT_TRUE(Until([&] { return client.received().size() == 94; }));
  relay_->Drain(10 * kSecondNs);
  upstream->Send(kStream.substr(94));
  ASSERT_TRUE(Until([&] { return client.ended(); }));
  EXPECT_EQ(client.received(), kStream);
  EXPECT_TRUE(relay_->idle());
  EXPECT_TRUE(Ended(RelayOutcome::kComplete));
}

}  // namespace
}  // namespace weir::io
