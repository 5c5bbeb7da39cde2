// What a pipeline's data layer brings through a Fleet: pages of engines and of clusters, and the
// resources file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "testing/temp_directory.h"
#include "testing/tls_files.h"
#include "weir/io/fleet/fleet.h"
#include "weir/io/fleet/fleet_metrics.h"
#include "weir/io/fleet/sample_age.h"
#include "weir/io/http/server.h"
#include "weir/resources.h"

namespace weir::io {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kDeadlineNs = 10'000'000'000;
constexpr char kHeader[] = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";

// Answers every request with one page.
class PageServer final : private HttpHandler {
 public:
  PageServer(EventLoop& loop, std::string page, const TlsContext* tls_or_null = nullptr)
      : page_(std::move(page)),
        server_(HttpServer::Open(loop,
                                 {.address = SocketAddress::Parse("127.0.0.1:0").value(),
                                  .tls_or_null = tls_or_null},
                                 *this)
                    .value()) {}
  uint64_t connections() const { return server_->stats().connections_accepted; }
  uint16_t port() const { return server_->port(); }
  const std::string& last_path() const { return last_path_; }

 private:
  void OnRequest(const HttpRequest& request, ResponseWriter response) override {
    last_path_ = std::string(request.head.target);
    response.Send(200, {}, page_);
  }

  std::string page_;
  std::string last_path_;
  std::unique_ptr<HttpServer> server_;
};

class FeedsTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& text) {
    WriteFile(directory_ / "new", text);
    fs::rename(directory_ / "new", directory_ / name);
  }
  std::string Path(const std::string& name) const { return (directory_ / name).string(); }

  absl::Status Start(const std::string& yaml, std::vector<std::string> urls = {}) {
    auto router =
        Router::FromText(kHeader + yaml, "test.yaml", {.allow_experimental_plugins = true});
    EXPECT_TRUE(router.ok()) << router.status();
    if (!router.ok()) return router.status();
    router_ = *std::move(router);
    auto fleet = Fleet::Create(
        *loop_, router_, {.endpoint_urls = std::move(urls), .upstream_tls_or_null = upstream_tls_},
        [this](LogLevel, const std::string& text) { log_ += text + "\n"; });
    if (fleet.ok()) fleet_ = *std::move(fleet);
    return fleet.status();
  }

  // A number of the metrics page; -1 if it is not there.
  double PageValue(const std::string& name) const {
    MetricsText text;
    WriteFleetMetrics(*fleet_, text);
    const std::string page(text.Take());
    const size_t line = page.find("\n" + name + " ");
    return line == std::string::npos ? -1 : std::stod(page.substr(line + name.size() + 2));
  }

  template <typename F>
  bool RunUntil(F done) {
    const int64_t end_ns = SystemClock().now_ns() + kDeadlineNs;
    while (!done() && SystemClock().now_ns() < end_ns) loop_->RunOnce(20'000'000);
    return done();
  }

  const TempDirectory temporary_;
  const fs::path& directory_ = temporary_.path();
  const std::unique_ptr<EventLoop> loop_ = EventLoop::Create().value();
  Router router_ = Router::Default().value();
  const TlsContext* upstream_tls_ = nullptr;
  std::string log_;
  std::unique_ptr<Fleet> fleet_;
};

TEST_F(FeedsTest, AdaptersReachThePool) {
  PageServer server(*loop_,
                    "vllm:lora_requests_info{running_lora_adapters=\"a, b\",waiting_lora_adapters="
                    "\"c\",max_lora=\"4\"} 1.5\nvllm:num_requests_waiting 9\n");
  ASSERT_TRUE(Start("plugins: [{type: lora-affinity-scorer}]\n",
                    {absl::StrCat("127.0.0.1:", server.port())})
                  .ok());
  const auto adapters = [&] { return router_.pool().snapshot()->adapters(0); };
  ASSERT_TRUE(RunUntil([&] { return adapters().adapters_max == 4; })) << log_;
  EXPECT_THAT(adapters().active, ElementsAre("a", "b"));
  EXPECT_THAT(adapters().waiting, ElementsAre("c"));
  EXPECT_EQ(router_.pool().snapshot()->waiting_requests()[0], 0u) << "nobody reads it";
}

TEST_F(FeedsTest, ClustersReportWhereTheFileSays) {
  PageServer east(*loop_, "llm_d_epp_average_kv_cache_utilization 0.5\nhouse_queue 2.5\n");
  PageServer west(*loop_, "llm_d_epp_average_kv_cache_utilization 0.25\n");
  Write(
      "clusters.yaml",
      absl::StrCat("endpoints:\n- {name: east, address: 127.0.0.1, port: 1, labels: {metricsPort: "
                   "\"",
                   east.port(), "\"}}\n- {name: west, address: '::1', port: 1, labels: {",
                   "metricsAddress: localhost, metricsPort: \"", west.port(), "\"}}\n"));
  ASSERT_TRUE(
      Start(absl::StrCat(
                "plugins:\n- {type: multicluster-file-discovery, parameters: {path: ",
                Path("clusters.yaml"),
                "}}\n- {type: multicluster-metrics-data-source, parameters: {scheme: http, path: "
                "/pages, port: 2, interval: 20ms}}\n"
                "- {type: multicluster-metrics-extractor, parameters: {queueSizeMetric: "
                "house_queue}}\n"
                "- type: multicluster-queue-scorer\n"
                "- type: multicluster-kv-cache-utilization-scorer\n"
                "dataLayer:\n  injectDefaults: false\n"
                "  discovery: {pluginRef: multicluster-file-discovery}\n  sources:\n"
                "  - {pluginRef: multicluster-metrics-data-source, extractors: [{pluginRef: "
                "multicluster-metrics-extractor}]}\n"))
          .ok());
  uint32_t queue = 0;
  while (router_.needs().attributes[queue].name != "llm-d.ai/multicluster-queue-size") ++queue;
  const auto value = [&](uint32_t attribute, uint32_t endpoint) {
    return router_.pool().snapshot()->attribute(attribute)[endpoint];
  };
  ASSERT_TRUE(RunUntil([&] { return value(1 - queue, 0) == 0.5 && value(1 - queue, 1) == 0.25; }))
      << log_;
  EXPECT_EQ(value(queue, 0), 2.5);
  EXPECT_TRUE(std::isnan(value(queue, 1))) << "its page has no queue";
  EXPECT_EQ(east.last_path(), "/pages");
  EXPECT_GT(fleet_->scrape_totals().samples.load(), 0u);
  EXPECT_EQ(router_.pool().snapshot()->sample_time_ns()[0], INT64_MIN) << "no load columns";
}

TEST_F(FeedsTest, AClusterIsAskedOverTlsUnlessToldOtherwise) {
  EXPECT_THAT(std::string(Start("plugins:\n- {type: multicluster-metrics-data-source, parameters: "
                                "{caCertPath: /no/such.pem}}\n"
                                "- type: multicluster-metrics-extractor\n"
                                "- type: multicluster-queue-scorer\n"
                                "dataLayer:\n  injectDefaults: false\n  sources:\n"
                                "  - {pluginRef: multicluster-metrics-data-source, extractors: "
                                "[{pluginRef: multicluster-metrics-extractor}]}\n",
                                {"127.0.0.1:1"})
                              .message()),
              HasSubstr("/no/such.pem"));
}

TEST_F(FeedsTest, AnHttpsEndpointsPageIsReadOverTls) {
  const TlsFiles files;
  const auto server_tls =
      TlsContext::Server({.cert_file = files.cert(), .key_file = files.key()}).value();
  const auto client_tls = TlsContext::Client({.ca_file = files.cert()}).value();
  PageServer server(*loop_, "vllm:num_requests_waiting 9\n", server_tls.get());
  upstream_tls_ = client_tls.get();
  ASSERT_TRUE(Start("plugins: [{type: queue-scorer}]\n",
                    {absl::StrCat("https://127.0.0.1:", server.port())})
                  .ok());
  EXPECT_TRUE(RunUntil([&] { return router_.pool().snapshot()->waiting_requests()[0] == 9; }));
  fleet_.reset();
}

TEST_F(FeedsTest, AChangedListLeavesOtherScrapesAlone) {
  PageServer server(*loop_, "vllm:num_requests_waiting 9\n");
  const std::string first =
      absl::StrCat("endpoints:\n- {name: a, address: 127.0.0.1, port: ", server.port(), "}\n");
  Write("endpoints.yaml", first);
  ASSERT_TRUE(Start(absl::StrCat("plugins:\n- {type: file-discovery, parameters: {path: ",
                                 Path("endpoints.yaml"),
                                 ", watchFile: true}}\n- {type: queue-scorer}\n"
                                 "dataLayer: {discovery: {pluginRef: file-discovery}}\n"))
                  .ok());
  const auto samples = [&] { return fleet_->scrape_totals().samples.load(); };
  ASSERT_TRUE(RunUntil([&] { return samples() >= 2; })) << log_;
  Write("endpoints.yaml", first + "- {name: b, address: 127.0.0.1, port: 1}\n");
  ASSERT_TRUE(RunUntil([&] { return fleet_->endpoint_count() == 2; })) << log_;
  const uint64_t before = samples();
  ASSERT_TRUE(RunUntil([&] { return samples() >= before + 2; }));
  EXPECT_EQ(server.connections(), 1u);
}

constexpr char kEverySecond[] =
    "plugins:\n- {type: queue-scorer}\n- {type: core-metrics-extractor}\n"
    "- {type: metrics-data-source, parameters: {interval: 1s}}\ndataLayer:\n  sources:\n"
    "  - {pluginRef: metrics-data-source, extractors: [{pluginRef: core-metrics-extractor}]}\n";

TEST_F(FeedsTest, TheIntervalOfASourceGoesBeforeThatOfTheFlag) {
  const auto interval_ms = [&](const std::string& yaml, int64_t flag_ms) {
    const Router router = Router::FromText(kHeader + yaml, "test.yaml").value();
    const auto feeds =
        MetricsFeed::CreateAll(*loop_, router, {.scrape_interval_ns = flag_ms * 1'000'000});
    return feeds.ok() && feeds->size() == 1 ? (*feeds)[0]->interval_ns() / 1'000'000 : -1;
  };
  EXPECT_EQ(interval_ms(kEverySecond, 50), 1000);
  EXPECT_EQ(interval_ms(kEverySecond, 0), 1000);
  EXPECT_EQ(interval_ms("plugins: [{type: queue-scorer}]\n", 200), 200);
  EXPECT_EQ(interval_ms("plugins: [{type: queue-scorer}]\n", 0), 50);
}

TEST_F(FeedsTest, SamplesExpireAfterFortyScrapes) {
  const auto age_ms = [](const std::string& yaml, int64_t flag_ms) {
    int64_t age_ns = -1;
    const auto router = LoadWithSampleAge(
        {}, {.scrape_interval_ns = flag_ms * 1'000'000}, [&](const RouterOptions& options) {
          age_ns = options.sample_age_ns_max;
          return Router::FromText(kHeader + yaml, "test.yaml", options);
        });
    EXPECT_TRUE(router.ok()) << router.status();
    return age_ns / 1'000'000;
  };
  EXPECT_EQ(age_ms("plugins: [{type: queue-scorer}]\n", 0), 2000);
  EXPECT_EQ(age_ms("plugins: [{type: queue-scorer}]\n", 20), 2000);
  EXPECT_EQ(age_ms("plugins: [{type: queue-scorer}]\n", 200), 8000);
  EXPECT_EQ(age_ms(kEverySecond, 50), 40'000);
  EXPECT_FALSE(LoadWithSampleAge({}, {}, [](const RouterOptions& options) {
                 return Router::FromText("plugins: 1", "test.yaml", options);
               }).ok());
}

std::string Objective(std::string_view name, int priority) {
  return absl::StrCat("---\napiVersion: llm-d.ai/v1alpha2\nkind: InferenceObjective\n",
                      "metadata: {name: ", std::string(name), "}\nspec: {priority: ", priority,
                      "}\n");
}

TEST_F(FeedsTest, ResourcesFollowTheirFile) {
  Write("resources.yaml", Objective("chat", 1));
  const std::string yaml = absl::StrCat(
      "plugins: [{type: queue-scorer}]\nresources:\n  objectives: [{name: own, ",
      "priority: 3}]\n  file: {path: ", Path("resources.yaml"), ", watchFile: true}\n");
  ASSERT_TRUE(Start(yaml).ok());
  ResourceReader reader(router_.resources());
  EXPECT_EQ(reader.table().Priority("chat"), 1);
  EXPECT_EQ(reader.table().Priority("own"), 3);
  Write("resources.yaml", Objective("chat", 2) + Objective("chat", 9));
  ASSERT_TRUE(RunUntil([&] { return reader.table().Priority("chat") == 2; })) << log_;
  EXPECT_THAT(log_, HasSubstr("\"chat\" occurs twice"));
  EXPECT_EQ(PageValue("weir_resources_rejected_total"), 1);
  EXPECT_EQ(PageValue("weir_resource_files_unusable_total"), 0);
  Write("resources.yaml", "[");
  ASSERT_TRUE(RunUntil([&] { return log_.find("of before stay in use") != std::string::npos; }));
  EXPECT_EQ(reader.table().Priority("chat"), 2);
  EXPECT_EQ(PageValue("weir_resource_files_unusable_total"), 1);

  fs::remove(directory_ / "resources.yaml");
  EXPECT_EQ(Start(yaml).code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace weir::io
