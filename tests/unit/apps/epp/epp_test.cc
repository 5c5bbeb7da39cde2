#include "epp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <future>

#include "testing/http_exchange.h"

namespace weir::epp {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int64_t kTurnNs = 5'000'000;
constexpr int kTurnsMax = 4000;  // 20 s: a test that waits longer has failed

// A picker on free ports of loopback whose only endpoint nobody listens on.
EppOptions Local() {
  EppOptions options;
  options.bind_address = "127.0.0.1";
  options.grpc_port = options.health_port = options.metrics_port = 0;
  options.threads = 2;
  options.fleet.endpoint_urls = {"http://127.0.0.1:1"};
  options.fleet.scrape = false;
  options.router.seed = 1;
  return options;
}

class EppTest : public ::testing::Test {
 protected:
  absl::Status Start(const EppOptions& options) {
    auto started = Epp::Start(*loop_, options,
                              [this](LogLevel, const std::string& text) { log_ += text + "\n"; });
    if (!started.ok()) return started.status();
    epp_ = *std::move(started);
    return absl::OkStatus();
  }
  template <class Done>
  void RunUntil(const Done& done) {
    for (int turn = 0; turn < kTurnsMax && !done(); ++turn) loop_->RunOnce(kTurnNs);
    EXPECT_TRUE(done());
  }
  std::string Get(const std::string& path, const std::string& method = "GET") {
    auto answer =
        std::async(std::launch::async, Exchange, epp_->metrics_address(),
                   method + " " + path + " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    RunUntil([&] { return answer.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    return answer.get();
  }
  static std::string Message(const absl::Status& status) { return std::string(status.message()); }

  const std::unique_ptr<io::EventLoop> loop_ = io::EventLoop::Create().value();
  std::string log_;
  std::unique_ptr<Epp> epp_;
};

TEST_F(EppTest, ServesItsPages) {
  ASSERT_TRUE(Start(Local()).ok());
  EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Get("/readyz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Get("/debug/decisions"), HasSubstr("\r\n\r\n[]"));
  EXPECT_THAT(Get("/debug/plugins/state"), HasSubstr("\"queue-scorer\""));
  EXPECT_THAT(Get("/debug/plugins/state", "POST"), StartsWith("HTTP/1.1 405 "));
  const std::string metrics = Get("/metrics");
  EXPECT_THAT(metrics, HasSubstr("\nllm_d_epp_ready_endpoints{name=\"epp\"} 0\n"));
  EXPECT_THAT(metrics, HasSubstr("\nllm_d_epp_info{commit=\""));
  EXPECT_THAT(metrics, HasSubstr("\nweir_endpoints 1\n"));
  EXPECT_THAT(metrics, HasSubstr("\nweir_epp_connections 0\n"));
}

TEST_F(EppTest, DrainsInTwoSteps) {
  EppOptions options = Local();
  options.drain_ns = 20'000'000;
  ASSERT_TRUE(Start(options).ok());
  epp_->Drain();
  epp_->Drain();
  EXPECT_FALSE(epp_->drained());
  EXPECT_THAT(Get("/readyz"), StartsWith("HTTP/1.1 503 "));
  RunUntil([&] { return epp_->drained(); });
  EXPECT_THAT(log_, HasSubstr("draining"));
  EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(EppTest, EndsAtOnceWhenDestroyed) {
  ASSERT_TRUE(Start(Local()).ok());
  epp_.reset();
}

TEST_F(EppTest, EndpointsMustComeFromSomewhere) {
  EppOptions options = Local();
  options.fleet.endpoint_urls.clear();
  EXPECT_THAT(Message(Start(options)),
              StartsWith("either pool-name or endpoint-selector must be set"));
  options.pool_named = true;
  EXPECT_THAT(Message(Start(options)), HasSubstr("Kubernetes are not part of this version"));
}

TEST_F(EppTest, DiscoveryOfTheConfigurationNeedsNoPool) {
  const std::string path = ::testing::TempDir() + "epp_test_endpoints.yaml";
  std::ofstream(path) << "endpoints:\n- {name: a, address: 127.0.0.1, port: 1}\n";
  EppOptions options = Local();
  options.fleet.endpoint_urls.clear();
  options.config_text =
      "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n"
      "- {type: queue-scorer}\n- {name: servers, type: file-discovery, parameters: {path: " +
      path +
      "}}\ndataLayer: {discovery: {pluginRef: servers}}\nschedulingProfiles:\n"
      "- {name: default, plugins: [{pluginRef: queue-scorer}]}\n";
  const absl::Status status = Start(options);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(epp_->fleet().endpoint_count(), 1u);
  EXPECT_THAT(Get("/debug/plugins/state"), HasSubstr("\"endpoints\":[\"default/a\"]"));
}

TEST_F(EppTest, ErrorsNameTheFlag) {
  EppOptions options = Local();
  options.bind_address = "nowhere";
  EXPECT_THAT(Message(Start(options)), HasSubstr("--bind-address nowhere"));
  options = Local();
  options.threads = 65;
  EXPECT_THAT(Message(Start(options)), HasSubstr("--threads 65: expected 1..64"));
  options = Local();
  options.cert_path = "/no/such";
  EXPECT_THAT(Message(Start(options)), HasSubstr("/no/such/tls.crt"));
  options = Local();
  options.config_text = "kind: Nothing";
  EXPECT_THAT(Message(Start(options)), HasSubstr("--config-text"));
  ASSERT_TRUE(Start(Local()).ok());
  options = Local();
  options.grpc_port = epp_->grpc_address().port();
  auto second = Epp::Start(*loop_, options, nullptr);
  EXPECT_THAT(Message(second.status()), StartsWith("--grpc-port: "));
}

TEST_F(EppTest, WithoutAnAddressItListensEverywhere) {
  EppOptions options = Local();
  options.bind_address.clear();
  ASSERT_TRUE(Start(options).ok());
  const std::string address = epp_->grpc_address().ToString();
  EXPECT_TRUE(address.starts_with("[::]:") || address.starts_with("0.0.0.0:")) << address;
}

}  // namespace
}  // namespace weir::epp
