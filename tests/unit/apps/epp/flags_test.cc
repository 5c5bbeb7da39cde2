#include "flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_replace.h"
#include "testing/temp_directory.h"

namespace weir::epp {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMs = 1'000'000;

// What the golden cases may expect.
nlohmann::json Shown(const Flags& flags) {
  const EppOptions& options = flags.options;
  return {{"grpc_port", options.grpc_port},
          {"health_port", options.health_port},
          {"metrics_port", options.metrics_port},
          {"threads", options.threads},
          {"endpoints", options.fleet.endpoint_urls},
          {"plugins", options.router.plugin_files},
          {"secure_serving", options.secure_serving},
          {"cert_reload", options.cert_reload},
          {"tls_version_min", static_cast<int>(options.tls_version_min)},
          {"ciphers", options.ciphers},
          {"health_checking", options.health_checking},
          {"leader_election", options.leader_election},
          {"pool_name", options.pool_name},
          {"pool_named", options.pool_named},
          {"drain_ms", options.drain_ns / kMs},
          {"staleness_ms", options.staleness_ns / kMs},
          {"scrape_ms", options.fleet.scrape_interval_ns / kMs},
          {"message_bytes_max", options.grpc.message_bytes_max},
          {"unsent_bytes_max", options.grpc.unsent_bytes_max},
          {"emit_scores", options.ext_proc.emit_scores},
          {"ignore_subset", options.ext_proc.ignore_subset},
          {"stream_metrics", options.stream_metrics},
          {"config_file", options.config_file},
          {"config_text", options.config_text},
          {"allow_experimental_plugins", options.router.allow_experimental_plugins},
          {"log_level", static_cast<int>(flags.log_level)},
          {"log_json", flags.log_json},
          {"notices", flags.notices}};
}

class FlagsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder_ + "/full");
    std::filesystem::create_directories(folder_ + "/empty");
    for (const char* name : {"tls.crt", "tls.key", "ca.crt"}) {
      std::ofstream(folder_ + "/full/" + name) << "some bytes";
    }
  }
  std::string Filled(const std::string& text) const {
    return absl::StrReplaceAll(text,
                               {{"$FULL", folder_ + "/full"}, {"$EMPTY", folder_ + "/empty"}});
  }

  const TempDirectory temporary_;
  const std::string folder_ = temporary_.path().string();
};

TEST_F(FlagsTest, GoldenCases) {
  std::ifstream file(WEIR_SOURCE_DIR "/tests/golden/epp/flags.json");
  const auto cases = nlohmann::json::parse(file);
  ASSERT_GT(cases.size(), 50u);
  for (const auto& one : cases) {
    SCOPED_TRACE(one["name"]);
    std::vector<std::string> arguments;
    for (const std::string argument : one["args"]) arguments.push_back(Filled(argument));
    const auto flags = ParseFlags(arguments);
    if (one.contains("error")) {
      ASSERT_FALSE(flags.ok());
      EXPECT_THAT(std::string(flags.status().message()), HasSubstr(Filled(one["error"])));
      continue;
    }
    ASSERT_TRUE(flags.ok()) << flags.status();
    const auto shown = Shown(*flags);
    for (const auto& [name, value] : one["expect"].items()) {
      ASSERT_TRUE(shown.contains(name)) << name;
      EXPECT_EQ(shown[name], value) << name;
    }
  }
}

TEST_F(FlagsTest, HelpNamesAllFlagsOfThePeer) {
  const auto flags = ParseFlags({"--help"});
  ASSERT_TRUE(flags.ok());
  for (const char* name : {"--grpc-port",
                           "--grpc-health-port",
                           "--metrics-port",
                           "--ha-enable-leader-election",
                           "--drain-timeout",
                           "--grpc-max-recv-msg-size",
                           "--grpc-max-send-msg-size",
                           "--pool-group",
                           "--pool-namespace",
                           "--pool-name",
                           "--endpoint-selector",
                           "--endpoint-target-ports",
                           "--disable-endpoint-subset-filter",
                           "--emit-endpoint-scores",
                           "--refresh-metrics-interval",
                           "--refresh-prometheus-metrics-interval",
                           "--metrics-staleness-threshold",
                           "--total-queued-requests-metric",
                           "--total-running-requests-metric",
                           "--kv-cache-usage-percentage-metric",
                           "--lora-info-metric",
                           "--cache-info-metric",
                           "-v,--v",
                           "--zap-devel",
                           "--zap-encoder",
                           "--zap-log-level",
                           "--zap-stacktrace-level",
                           "--zap-time-encoding",
                           "--tracing",
                           "--health-checking",
                           "--enable-pprof",
                           "--secure-serving",
                           "--cert-path",
                           "--enable-cert-reload",
                           "--tls-min-version",
                           "--tls-cipher-suites",
                           "--enable-grpc-stream-metrics",
                           "--metrics-endpoint-auth",
                           "--metrics-cert-dir",
                           "--metrics-client-ca-file",
                           "--config-file",
                           "--config-text",
                           "--allow-experimental-plugins"}) {
    EXPECT_THAT(flags->help, HasSubstr(name));
  }
}

}  // namespace
}  // namespace weir::epp
