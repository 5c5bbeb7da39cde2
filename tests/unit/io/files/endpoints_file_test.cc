#include "weir/io/files/endpoints_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "weir/limits.h"

namespace weir::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

EndpointsFile Parse(const std::string& text) {
  auto file = ParseEndpointsFile(text, "endpoints.yaml");
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *std::move(file) : EndpointsFile();
}

std::string Error(const std::string& text) {
  return std::string(ParseEndpointsFile(text, "endpoints.yaml").status().message());
}

// The problem of the only entry, without file and line.
std::string Problem(const std::string& entry) {
  const EndpointsFile file = Parse("endpoints:\n- " + entry + "\n");
  if (file.problems.size() != 1) return "no problem";
  std::string text = file.problems[0];
  EXPECT_EQ(text.rfind("endpoints.yaml:2: endpoints[0]", 0), 0u) << text;
  return text.substr(std::string("endpoints.yaml:2: endpoints[0]").size());
}

TEST(EndpointsFileTest, ReadsTheDocumentedExample) {
  const EndpointsFile file = Parse(R"(endpoints:
- {name: a0, address: 10.1.0.4, port: "8000", labels: {llm-d.ai/role: decode, llm-d.ai/engine-type: sglang}}
- {name: a1, namespace: gpu, address: 10.1.0.5, port: "8001"}
)");
  EXPECT_THAT(file.problems, IsEmpty());
  ASSERT_EQ(file.endpoints.size(), 2u);
  EXPECT_EQ(file.endpoints[0].name, "a0");
  EXPECT_EQ(file.endpoints[0].namespace_name, "default");
  EXPECT_EQ(file.endpoints[0].address, "10.1.0.4:8000");
  EXPECT_EQ(file.endpoints[0].host, "10.1.0.4");
  EXPECT_EQ(file.endpoints[0].port, 8000);
  EXPECT_EQ(file.endpoints[0].metrics_address, "10.1.0.4:8000");
  EXPECT_THAT(file.endpoints[0].labels,
              ElementsAre(Pair("llm-d.ai/engine-type", "sglang"), Pair("llm-d.ai/role", "decode")));
  EXPECT_EQ(file.endpoints[1].namespace_name, "gpu");
}

TEST(EndpointsFileTest, ReadsJson) {
  const EndpointsFile file = Parse(
      "{\n\t\"endpoints\": [\n\t\t{\"name\": \"a\", \"address\": \"h\\u006fst\", \"port\": 80, "
      "\"labels\": {\"a\\/b\": \"c\"}}]}");
  ASSERT_EQ(file.endpoints.size(), 1u);
  EXPECT_EQ(file.endpoints[0].address, "host:80");
  EXPECT_EQ(file.endpoints[0].labels.at("a/b"), "c");
}

TEST(EndpointsFileTest, AcceptsIntegersIpv6AndHostNames) {
  const EndpointsFile file = Parse(R"(endpoints:
- {name: a, address: "fd00::1", port: 8000}
- {name: b, address: "[fd00::2]", port: 1}
- {name: c, address: gpu-1.cluster.local, port: 65535}
- {name: d, address: my_host., port: "80"}
- {name: 7, address: h, port: 80, unknown: {x: [1]}, labels: {size: 70, empty: , flag: true}}
)");
  EXPECT_THAT(file.problems, IsEmpty());
  ASSERT_EQ(file.endpoints.size(), 5u);
  EXPECT_EQ(file.endpoints[0].address, "[fd00::1]:8000");
  EXPECT_EQ(file.endpoints[0].host, "fd00::1");
  EXPECT_EQ(file.endpoints[1].address, "[fd00::2]:1");
  EXPECT_EQ(file.endpoints[2].address, "gpu-1.cluster.local:65535");
  EXPECT_EQ(file.endpoints[4].name, "7");
  EXPECT_THAT(file.endpoints[4].labels,
              ElementsAre(Pair("empty", ""), Pair("flag", "true"), Pair("size", "70")));
}

TEST(EndpointsFileTest, MetricsMayLiveElsewhere) {
  const EndpointsFile file = Parse(R"(endpoints:
- {name: a, address: h, port: 80, metricsPort: 9090}
- {name: b, address: h, port: 80, metricsAddress: "fd00::1"}
- {name: c, address: h, port: 80, labels: {metricsAddress: 10.0.0.1, metricsPort: "81"}}
- {name: d, address: h, port: 80, metricsPort: 9090, labels: {metricsPort: 81}}
)");
  EXPECT_THAT(file.problems, IsEmpty());
  ASSERT_EQ(file.endpoints.size(), 4u);
  EXPECT_EQ(file.endpoints[0].metrics_address, "h:9090");
  EXPECT_EQ(file.endpoints[1].metrics_address, "[fd00::1]:80");
  EXPECT_EQ(file.endpoints[2].metrics_address, "10.0.0.1:81");
  EXPECT_EQ(file.endpoints[3].metrics_address, "h:9090");
}

TEST(EndpointsFileTest, OneBadEntryLeavesTheOthersInUse) {
  std::string text = "# servers\n\nendpoints:\n";
  for (int i = 0; i < 12; ++i) {
    absl::StrAppend(&text, "- {name: a", i, ", address: h,\n   port: ", i == 2 ? 70000 : 8000,
                    "}\n");
  }
  const EndpointsFile file = Parse(text);
  EXPECT_EQ(file.entry_count, 12u);
  EXPECT_EQ(file.endpoints.size(), 11u);
  EXPECT_THAT(
      file.problems,
      ElementsAre("endpoints.yaml:9: endpoints[2].port: 70000, expected 1..65535; the other "
                  "11 endpoints are in use"));
}

TEST(EndpointsFileTest, ProblemsNameFieldValueAndExpectation) {
  EXPECT_EQ(Problem("7"), ": 7, expected a map");
  EXPECT_EQ(Problem("{address: h, port: 80}"),
            ".name: missing, expected a name of 1..512 bytes without '/'");
  EXPECT_THAT(Problem("{name: a/b, address: h, port: 80}"), HasSubstr(".name: \"a/b\", expected"));
  EXPECT_THAT(Problem("{name: \"a\\n\", address: h, port: 80}"),
              HasSubstr(".name: \"a?\", expected"));
  EXPECT_THAT(Problem("{name: [], address: h, port: 80}"), HasSubstr(".name: a list, expected"));
  EXPECT_THAT(Problem("{name: a, namespace: x/y, address: h, port: 80}"),
              HasSubstr(".namespace: "));
  EXPECT_EQ(Problem("{name: a, port: 80}"),
            ".address: missing, expected an IPv4 or IPv6 address or a host name");
  for (const char* address : {"10.0.0", "300.1.1.1", "\"fe80::1%eth0\"", "\"a b\"", "a..b", "-a",
                              "a-", "http://h", "\"h:80\"", "\"\"", "\"a\\0b\"", "[h]", "{}"}) {
    EXPECT_THAT(Problem(absl::StrCat("{name: a, port: 80, address: ", address, "}")),
                HasSubstr("expected an IPv4"))
        << address;
  }
  for (const char* port :
       {"0", "65536", "-1", "80.0", "0x50", "080", "\" 80\"", "\"\"", "http", "[80]"}) {
    EXPECT_THAT(Problem(absl::StrCat("{name: a, address: h, port: ", port, "}")),
                HasSubstr(", expected 1..65535"))
        << port;
  }
  EXPECT_EQ(Problem("{name: a, address: h}"), ".port: missing, expected 1..65535");
  EXPECT_EQ(Problem("{name: a, address: h, port: 1, port: 2}"),
            ".port: given twice, expected once");
  EXPECT_EQ(Problem("{name: a, address: h, port: 1, labels: x}"),
            ".labels: \"x\", expected a map of texts");
  EXPECT_THAT(Problem("{name: a, address: h, port: 1, labels: {k: [1]}}"),
              HasSubstr(".labels[\"k\"]: a list, expected a text"));
  EXPECT_EQ(Problem("{name: a, address: h, port: 1, metricsPort: 0}"),
            ".metricsPort: 0, expected 1..65535");
  EXPECT_EQ(Problem("{name: a, address: h, port: 1, labels: {metricsPort: no}}"),
            ".labels.metricsPort: \"no\", expected 1..65535");
}

TEST(EndpointsFileTest, DuplicatesAreReportedAndTheFirstCounts) {
  const EndpointsFile file = Parse(R"(endpoints:
- {name: a, address: h1, port: 80}
- {name: a, namespace: other, address: h2, port: 80}
- {name: a, address: h3, port: 80}
)");
  ASSERT_EQ(file.endpoints.size(), 2u);
  EXPECT_EQ(file.endpoints[0].host, "h1");
  EXPECT_THAT(
      file.problems,
      ElementsAre("endpoints.yaml:4: endpoints[2].name: \"default/a\" appears twice, expected "
                  "unique names; the other 2 endpoints are in use"));
}

TEST(EndpointsFileTest, AFileWithoutListIsAnError) {
  EXPECT_EQ(Error(""), "endpoints.yaml: endpoints: missing, expected a list of endpoints");
  EXPECT_EQ(Error("[]"), "endpoints.yaml: endpoints: missing, expected a list of endpoints");
  EXPECT_EQ(Error("a: 1\nendpoints: 7"),
            "endpoints.yaml:2: endpoints: 7, expected a list; [] for one without endpoints");
  EXPECT_EQ(Error("endpoints:\n"),
            "endpoints.yaml:1: endpoints: nothing, expected a list; [] for one without endpoints");
  EXPECT_THAT(Error("a: b: c\n"), HasSubstr("endpoints.yaml:1: not YAML or JSON: "));
  EXPECT_THAT(Error("a: 1\nendpoints: [\n"), HasSubstr("not YAML or JSON: "));
  EXPECT_TRUE(Parse("endpoints: []").endpoints.empty());
}

TEST(EndpointsFileTest, LimitsHold) {
  const std::string entry = "endpoints: [{name: a, address: h, port: 80}]\n#";
  const std::string full = entry + std::string(kEndpointsFileBytesMax - entry.size(), 'x');
  EXPECT_EQ(Parse(full).endpoints.size(), 1u);
  EXPECT_EQ(Error(full + "x"), "endpoints file endpoints.yaml exceeds 1 MiB limit");

  std::string text = "endpoints:\n";
  for (uint32_t i = 0; i < kEndpointsMax + 1; ++i) {
    absl::StrAppend(&text, "- {name: a", i, ", address: h, port: 80}\n");
  }
  const EndpointsFile many = Parse(text);
  EXPECT_EQ(many.endpoints.size(), kEndpointsMax);
  EXPECT_THAT(many.problems,
              ElementsAre(HasSubstr("endpoints[4096]: expected at most 4096 endpoints")));

  text = "endpoints:\n";
  for (uint32_t i = 0; i < kFileProblemsMax + 5; ++i) text += "- 1\n";
  const EndpointsFile bad = Parse(text);
  EXPECT_EQ(bad.problems.size(), kFileProblemsMax + 1);
  EXPECT_EQ(bad.problems.back(), "endpoints.yaml: 5 more bad entries");

  std::string labels;
  for (uint32_t i = 0; i < kLabelsPerEndpointMax; ++i) absl::StrAppend(&labels, "k", i, ": v, ");
  EXPECT_EQ(Problem("{name: a, address: h, port: 80, labels: {" + labels + "}}"), "no problem");
  EXPECT_THAT(Problem("{name: a, address: h, port: 80, labels: {" + labels + "x: y}}"),
              HasSubstr("65 labels, expected at most 64"));
}

TEST(EndpointsFileTest, HostileYamlIsAnErrorNotACrash) {
  EXPECT_THAT(Error("endpoints: " + std::string(100000, '[')), HasSubstr("not YAML or JSON"));
  EXPECT_THAT(Error("endpoints: " + std::string(100000, '{')), HasSubstr("not YAML or JSON"));
  const EndpointsFile aliases =
      Parse("endpoints: &a [*a, *a, {name: x, address: h, port: 1, labels: *a}]");
  EXPECT_TRUE(aliases.endpoints.empty());
  EXPECT_EQ(aliases.problems.size(), 3u);
}

}  // namespace
}  // namespace weir::io
