// The server on loopback, spoken to over plain sockets.
#include "server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <functional>
#include <string>

#include "fake_call.h"
#include "weir/io/loop/socket.h"

namespace weir::sim {
namespace {

using ::testing::HasSubstr;

// A client that never blocks: the test runs the loop between its reads.
class Client {
 public:
  explicit Client(uint16_t port) {
    int error = 0;
    auto address = io::SocketAddress::Parse("127.0.0.1:" + std::to_string(port));
    fd_ = io::StartConnect(*address, error);
    EXPECT_EQ(error, 0);
  }
  void Send(const std::string& bytes) { unsent_ += bytes; }
  // Moves what can be moved. [serial]
  void Turn() {
    while (!unsent_.empty()) {
      const ssize_t sent = ::send(fd_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
      if (sent <= 0) break;
      unsent_.erase(0, static_cast<size_t>(sent));
    }
    std::array<char, 4096> buffer;
    for (;;) {
      const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
      if (got > 0) {
        received.append(buffer.data(), static_cast<size_t>(got));
        continue;
      }
      closed = closed || got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOTCONN);
      return;
    }
  }
  void Close() { fd_.Reset(); }

  std::string received;
  bool closed = false;

 private:
  io::UniqueFd fd_;
  std::string unsent_;
};

std::string HttpPost(const std::string& path, const std::string& body,
                     const std::string& more = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: h\r\n" + more +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

class ServerTest : public ::testing::Test {
 protected:
  void Start(SimOptions options) {
    options.host = "127.0.0.1";
    options.port = 0;
    const absl::Status resolved = Resolve(options);
    ASSERT_TRUE(resolved.ok()) << resolved;
    auto server = SimServer::Start(*loop_, options, 1'700'000'000);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  // Runs the loop until `done`, for ten seconds at most.
  bool RunUntil(const std::vector<Client*>& clients, const std::function<bool()>& done) {
    const int64_t until_ns = loop_->now_ns() + 10'000'000'000;
    while (loop_->now_ns() < until_ns) {
      for (Client* client : clients) client->Turn();
      if (done()) return true;
      loop_->RunOnce(1'000'000);
    }
    return false;
  }

  std::unique_ptr<io::EventLoop> loop_ = *io::EventLoop::Create();
  std::unique_ptr<SimServer> server_;
};

constexpr char kLong[] = R"({"prompt":"a","max_tokens":100000,"ignore_eos":true,"stream":true})";

TEST_F(ServerTest, AnswersAndStreamsOverKeepAlive) {
  SimOptions options = TestOptions();
  options.time_scale = 100;
  Start(options);
  Client client(server_->port(0));
  client.Send(HttpPost("/v1/completions", R"({"prompt":"a","max_tokens":5,"ignore_eos":true})"));
  ASSERT_TRUE(RunUntil({&client}, [&] {
    return client.received.find("\"completion_tokens\":5") != std::string::npos;
  }));
  EXPECT_THAT(client.received, HasSubstr("HTTP/1.1 200"));
  EXPECT_THAT(client.received, HasSubstr("content-type: application/json"));
  EXPECT_THAT(client.received, HasSubstr("\"created\":1700000000"));
  client.received.clear();
  client.Send(HttpPost("/v1/completions",
                       R"({"prompt":"a","max_tokens":5,"ignore_eos":true,"stream":true})"));
  ASSERT_TRUE(
      RunUntil({&client}, [&] { return client.received.find("0\r\n\r\n") != std::string::npos; }));
  EXPECT_THAT(client.received, HasSubstr("text/event-stream"));
  EXPECT_THAT(client.received, HasSubstr("data: [DONE]"));
}

TEST_F(ServerTest, EachInstanceHasItsPortAndItsState) {
  SimOptions options = TestOptions();
  options.instances = 3;
  options.time_scale = 100;
  Start(options);
  ASSERT_EQ(server_->instance_count(), 3u);
  EXPECT_NE(server_->port(0), server_->port(1));
  Client client(server_->port(1));
  client.Send(HttpPost("/v1/completions", R"({"prompt":"a","max_tokens":2,"ignore_eos":true})"));
  ASSERT_TRUE(RunUntil({&client}, [&] { return server_->instance(1).stats().steps >= 2; }));
  EXPECT_EQ(server_->instance(0).stats().steps, 0u);
  EXPECT_EQ(server_->instance(2).stats().steps, 0u);
}

TEST_F(ServerTest, ALeavingClientFreesBlocks) {
  Start(TestOptions());
  Client client(server_->port(0));
  client.Send(HttpPost("/v1/completions", kLong));
  ASSERT_TRUE(
      RunUntil({&client}, [&] { return client.received.find("data: ") != std::string::npos; }));
  EXPECT_GT(server_->instance(0).stats().used_blocks, 0u);
  client.Close();
  EXPECT_TRUE(RunUntil({}, [&] { return server_->instance(0).open_requests() == 0; }));
  EXPECT_EQ(server_->instance(0).stats().used_blocks, 0u);
}

TEST_F(ServerTest, FaultsReachTheWire) {
  Start(TestOptions());
  Client reset(server_->port(0));
  Client truncated(server_->port(0));
  Client hanging(server_->port(0));
  reset.Send(HttpPost("/v1/completions", kLong, "X-Sim-Fault: reset:100\r\n"));
  truncated.Send(HttpPost("/v1/completions", kLong, "X-Sim-Fault: truncate:2\r\n"));
  hanging.Send(HttpPost("/v1/completions", kLong, "X-Sim-Fault: hang\r\n"));
  EXPECT_TRUE(RunUntil({&reset, &truncated, &hanging}, [&] {
    return reset.closed && truncated.received.find("0\r\n\r\n") != std::string::npos;
  }));
  EXPECT_EQ(truncated.received.find("[DONE]"), std::string::npos);
  EXPECT_TRUE(hanging.received.empty() && !hanging.closed);
  EXPECT_EQ(server_->instance(0).open_requests(), 1u);
  hanging.Close();
  EXPECT_TRUE(RunUntil({}, [&] { return server_->instance(0).open_requests() == 0; }));
}

TEST_F(ServerTest, RestartCutsStreams) {
  Start(TestOptions());
  Client stream(server_->port(0));
  Client admin(server_->port(0));
  stream.Send(HttpPost("/v1/completions", kLong));
  ASSERT_TRUE(
      RunUntil({&stream}, [&] { return stream.received.find("data: ") != std::string::npos; }));
  admin.Send(HttpPost("/admin/config", R"({"restart":true})"));
  EXPECT_TRUE(RunUntil({&stream, &admin}, [&] { return stream.closed; }));
  EXPECT_THAT(admin.received, HasSubstr("HTTP/1.1 200"));
}

TEST_F(ServerTest, BodiesOverTheLimitAreRefused) {
  SimOptions options = TestOptions();
  options.body_mib_max = 1;
  Start(options);
  Client client(server_->port(0));
  client.Send(HttpPost("/v1/completions", std::string((1 << 20) + 1, 'x')));
  ASSERT_TRUE(
      RunUntil({&client}, [&] { return client.received.find("\r\n\r\n") != std::string::npos; }));
  EXPECT_THAT(client.received, HasSubstr("HTTP/1.1 413"));
}

TEST_F(ServerTest, DrainEndsWhenAnswersAreGiven) {
  SimOptions options = TestOptions();
  options.time_scale = 20;
  Start(options);
  Client client(server_->port(0));
  client.Send(HttpPost("/v1/completions", R"({"prompt":"a","max_tokens":100,"ignore_eos":true})"));
  ASSERT_TRUE(RunUntil({&client}, [&] { return server_->instance(0).open_requests() == 1; }));
  server_->Drain();
  EXPECT_FALSE(server_->drained());
  EXPECT_TRUE(RunUntil({&client}, [&] { return server_->drained(); }));
  EXPECT_THAT(client.received, HasSubstr("\"completion_tokens\":100"));
}

TEST_F(ServerTest, DestructionWithOpenRequestsIsClean) {
  Start(TestOptions());
  Client client(server_->port(0));
  client.Send(HttpPost("/v1/completions", kLong));
  ASSERT_TRUE(
      RunUntil({&client}, [&] { return client.received.find("data: ") != std::string::npos; }));
  server_.reset();
  EXPECT_TRUE(RunUntil({&client}, [&] { return client.closed; }));
}

}  // namespace
}  // namespace weir::sim
