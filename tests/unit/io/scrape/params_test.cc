#include "weir/io/scrape/params.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace weir::io {
namespace {

TEST(CoreMetricsOptionsTest, EmptyMeansDefaults) {
  for (const char* text : {"", "{}"}) {
    const auto options = ParseCoreMetricsOptions(text);
    ASSERT_TRUE(options.ok()) << options.status();
    EXPECT_EQ(options->engine_label_key, "llm-d.ai/engine-type");
    EXPECT_EQ(options->default_engine, "vllm");
    EXPECT_TRUE(options->engine_configs.empty());
  }
}

TEST(CoreMetricsOptionsTest, ReadsEveryMember) {
  const auto options = ParseCoreMetricsOptions(R"({"engineLabelKey": "l", "defaultEngine": "e",
    "engineConfigs": [{"name": "e", "queuedRequestsSpec": "a", "runningRequestsSpec": "b",
      "kvUsageSpec": "c", "loraSpec": "d", "cacheInfoSpec": "f", "cacheBlockSizeLabelName": "g",
      "cacheNumBlocksLabelName": "h", "cacheBlockSizeSpec": "i", "cacheNumBlocksSpec": "j", "aggregate": "max",
      "customMetrics": [{"attributeKey": "k", "metricSpec": "m", "aggregate": "sum"}]}]})");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->engine_label_key, "l");
  EXPECT_EQ(options->default_engine, "e");
  ASSERT_EQ(options->engine_configs.size(), 1u);
  const EngineConfig& e = options->engine_configs[0];
  EXPECT_EQ(e.name + e.waiting_spec + e.running_spec + e.kv_used_spec + e.lora_spec +
                e.cache_info_spec + e.block_tokens_label + e.block_count_label +
                e.block_tokens_spec + e.block_count_spec,
            "eabcdfghij");
  EXPECT_EQ(e.aggregate, Aggregate::kMax);
  ASSERT_EQ(e.custom_metrics.size(), 1u);
  EXPECT_EQ(e.custom_metrics[0].attribute_key, "k");
  EXPECT_EQ(e.custom_metrics[0].aggregate, Aggregate::kSum);
}

TEST(CoreMetricsOptionsTest, ErrorsNameFieldValueAndExpectation) {
  const auto error = [](const char* text) {
    return std::string(ParseCoreMetricsOptions(text).status().message());
  };
  EXPECT_EQ(error("{"), "parameters: not JSON, expected a JSON object");
  EXPECT_EQ(error("[]"), "parameters: [], expected an object");
  EXPECT_EQ(error(R"({"defaultEngin": 1})"),
            "defaultEngin: unknown parameter, expected one of engineLabelKey, defaultEngine, "
            "engineConfigs");
  EXPECT_EQ(error(R"({"defaultEngine": 1})"), "defaultEngine: 1, expected a string");
  EXPECT_EQ(error(R"({"engineConfigs": {}})"), "engineConfigs: {}, expected a list");
  EXPECT_EQ(error(R"({"engineConfigs": [3]})"), "engineConfigs[0]: 3, expected an object");
  EXPECT_EQ(error(R"({"engineConfigs": [{"aggregate": "avg"}]})"),
            "engineConfigs[0].aggregate: \"avg\", expected sum, max or first");
  EXPECT_EQ(error(R"({"engineConfigs": [{"customMetrics": [{"attributeKey": true}]}]})"),
            "engineConfigs[0].customMetrics[0].attributeKey: true, expected a string");
}

TEST(MetricsSourceOptionsTest, ReadsEveryMember) {
  const auto options = ParseMetricsSourceOptions(R"({"scheme": "https", "path": "/m", "port": 65535,
    "interval": "200ms", "insecureSkipVerify": false, "caCertPath": "ca", "clientCertPath": "c",
    "clientKeyPath": "k"})");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->scheme + options->path + options->ca_cert_path + options->client_cert_path +
                options->client_key_path,
            "https/mcack");
  EXPECT_EQ(options->port, 65535);
  EXPECT_EQ(options->interval, absl::Milliseconds(200));
  EXPECT_FALSE(options->insecure_skip_verify);
  EXPECT_TRUE(ParseMetricsSourceOptions("")->insecure_skip_verify);
}

TEST(MetricsSourceOptionsTest, ErrorsNameFieldValueAndExpectation) {
  const auto error = [](const char* text) {
    return std::string(ParseMetricsSourceOptions(text).status().message());
  };
  EXPECT_EQ(error(R"({"port": 0})"), "port: 0, expected 1..65535");
  EXPECT_EQ(error(R"({"port": 65536})"), "port: 65536, expected 1..65535");
  EXPECT_EQ(error(R"({"port": -1})"), "port: -1, expected 1..65535");
  EXPECT_EQ(error(R"({"scheme": "ftp"})"), "scheme: \"ftp\", expected http or https");
  EXPECT_THAT(error(R"({"path": "metrics"})"), testing::HasSubstr("path: \"metrics\", expected"));
  EXPECT_THAT(error(R"({"path": "/a\r\nx: y"})"), testing::HasSubstr("expected a path"));
  for (const char* interval : {"9ms", "0", "inf", "2h", "fast"}) {
    EXPECT_THAT(error((std::string(R"({"interval": ")") + interval + "\"}").c_str()),
                testing::HasSubstr("expected a duration of 10ms..1h"))
        << interval;
  }
  EXPECT_THAT(error(R"({"clientCertPath": "c"})"),
              testing::HasSubstr("clientKeyPath: \"\", expected"));
  EXPECT_THAT(error(R"({"clientKeyPath": "k"})"),
              testing::HasSubstr("clientCertPath: \"\", expected"));
}

TEST(ClusterSourceOptionsTest, ChecksCertificatesByDefault) {
  const auto options = ParseClusterSourceOptions("");
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->scheme, "https");
  EXPECT_FALSE(options->insecure_skip_verify);
  EXPECT_EQ(ParseClusterSourceOptions(R"({"port": 9090})")->port, 0) << "the file says where";
  EXPECT_EQ(ParseClusterSourceOptions(R"({"scheme": "http"})")->scheme, "http");
  EXPECT_THAT(std::string(ParseClusterSourceOptions(R"({"scheme": 1})").status().message()),
              testing::HasSubstr("scheme: 1, expected a string"));
}

TEST(ClusterMetricsOptionsTest, AreAnEngineWithTwoMetrics) {
  const auto engine = ParseClusterMetricsOptions(R"({"queueSizeMetric": "q{a=b}"})");
  ASSERT_TRUE(engine.ok());
  ASSERT_EQ(engine->custom_metrics.size(), 2u);
  EXPECT_EQ(engine->custom_metrics[0].attribute_key, kClusterKvUsedAttribute);
  EXPECT_EQ(engine->custom_metrics[0].metric_spec, "llm_d_epp_average_kv_cache_utilization");
  EXPECT_EQ(engine->custom_metrics[1].attribute_key, kClusterQueueSizeAttribute);
  EXPECT_EQ(engine->custom_metrics[1].metric_spec, "q{a=b}");
  EXPECT_THAT(std::string(ParseClusterMetricsOptions(R"({"queue": 1})").status().message()),
              testing::HasSubstr("queue: unknown parameter"));
}

}  // namespace
}  // namespace weir::io
