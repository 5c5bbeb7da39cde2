#include "flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

namespace weir::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Outcome {
  int status = 0;
  CommandLine line;
  std::string output;
};

Outcome Read(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "weir-sim");
  Outcome outcome;
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  outcome.status =
      ReadCommandLine(static_cast<int>(arguments.size()), arguments.data(), outcome.line);
  outcome.output = testing::internal::GetCapturedStdout() + testing::internal::GetCapturedStderr();
  return outcome;
}

TEST(Flags, DefaultsAreThoseOfTheEngineModel) {
  const Outcome outcome = Read({"--model", "m"});
  EXPECT_EQ(outcome.status, -1) << outcome.output;
  const SimOptions& options = outcome.line.options;
  EXPECT_EQ(options.port, 8000u);
  EXPECT_EQ(options.instances, 1u);
  EXPECT_FALSE(options.legacy);
  EXPECT_EQ(options.model_tokens_max, 131072u);
  EXPECT_EQ(options.waiting_requests_max, 1000u);
  EXPECT_EQ(options.body_mib_max, 4u);
  EXPECT_EQ(options.model_shape, "llama-3.1-8b");
  EXPECT_THAT(options.served_names, ElementsAre("m"));
}

TEST(Flags, LegacyLatencyBringsItsOwnDefaults) {
  const Outcome outcome = Read(
      {"--model=m", "--time-to-first-token=200ms", "--inter-token-latency=15", "--enable-kvcache"});
  EXPECT_EQ(outcome.status, -1) << outcome.output;
  const SimOptions& options = outcome.line.options;
  EXPECT_TRUE(options.legacy);
  EXPECT_EQ(options.model_tokens_max, 1024u);
  EXPECT_EQ(options.running_requests_max, 5u);
  EXPECT_EQ(options.legacy_kv_blocks, 1024u);
  EXPECT_EQ(options.latency.time_to_first_token.mean_ns, 200'000'000);
  EXPECT_EQ(options.latency.inter_token.mean_ns, 15'000'000);
}

TEST(Flags, ReadsAdaptersNamesAndShapes) {
  const Outcome outcome =
      Read({"--model", "Qwen/Qwen3-32B", "--served-model-name", "a", "b", "--lora-modules",
            R"({"name":"l1","path":"/p","base_model_name":"a"})", R"({"name":"l2"})",
            "--tensor-parallel-size", "2", "--engine", "sglang", "--schedule-policy", "lpm"});
  EXPECT_EQ(outcome.status, -1) << outcome.output;
  const SimOptions& options = outcome.line.options;
  EXPECT_THAT(options.served_names, ElementsAre("a", "b"));
  ASSERT_EQ(options.loras.size(), 2u);
  EXPECT_EQ(options.loras[0].name, "l1");
  EXPECT_EQ(options.model_shape, "qwen3-32b");
  EXPECT_TRUE(options.longest_prefix_first);
  EXPECT_EQ(options.personality, Personality::kSglang);
}

TEST(Flags, AcceptsFlagsThatChangeNothingAndSaysSo) {
  const Outcome outcome = Read({"--model=m", "--zmq-endpoint=tcp://x:1", "--enforce-eager",
                                "--data-parallel-size=2", "--skip-tool-validation"});
  EXPECT_EQ(outcome.status, -1) << outcome.output;
  EXPECT_THAT(outcome.line.notes,
              ElementsAre("--zmq-endpoint comes with a later version",
                          "--data-parallel-size comes with a later version",
                          "--skip-tool-validation comes with a later version",
                          "--enforce-eager has no meaning for a simulated server"));
}

TEST(Flags, RefusesWithFlagValueAndExpectation) {
  const auto error = [](std::vector<const char*> arguments) {
    arguments.push_back("--model=m");
    const Outcome outcome = Read(std::move(arguments));
    EXPECT_GT(outcome.status, 0);
    return outcome.output;
  };
  EXPECT_THAT(error({"--port=70000"}), HasSubstr("--port: 70000, expected 0..65535"));
  EXPECT_THAT(error({"--instances=0"}), HasSubstr("--instances: 0, expected 1..512"));
  EXPECT_THAT(error({"--port=65535", "--instances=2"}), HasSubstr("--instances: 2"));
  EXPECT_THAT(error({"--time-scale=0"}), HasSubstr("--time-scale: 0"));
  EXPECT_THAT(error({"--time-to-first-token=soon"}), HasSubstr("\"soon\", expected a duration"));
  EXPECT_THAT(error({"--time-to-first-token=10ms", "--time-to-first-token-std-dev=4ms"}),
              HasSubstr("at most 30 % of the mean"));
  EXPECT_THAT(error({"--time-factor-under-load=0.5"}), HasSubstr("expected >= 1"));
  EXPECT_THAT(error({"--latency-calculator=magic"}), HasSubstr("constant or per-token"));
  EXPECT_THAT(error({"--max-num-seqs=0"}), HasSubstr("--max-num-seqs: 0, expected 1..16384"));
  EXPECT_THAT(error({"--failure-types=boom"}), HasSubstr("expected one of rate_limit"));
  EXPECT_THAT(error({"--lora-modules=x"}), HasSubstr("--lora-modules: x, expected"));
  EXPECT_THAT(error({R"(--lora-modules={"name":"l","base_model_name":"other"})"}),
              HasSubstr("expected a served model"));
  EXPECT_THAT(error({"--hardware=tpu"}), HasSubstr("hardware \"tpu\": expected one of a100"));
  EXPECT_THAT(error({"--model-shape=llama-3.1-70b"}), HasSubstr("leaves no memory"));
  EXPECT_THAT(error({"--no-such-flag"}), HasSubstr("no-such-flag"));
  EXPECT_GT(Read({}).status, 0);
}

TEST(Flags, HelpShowsGroupsDefaultsAndExamples) {
  const Outcome outcome = Read({"--help"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.output, HasSubstr("Hardware and memory"));
  EXPECT_THAT(outcome.output, HasSubstr("--time-scale"));
  EXPECT_THAT(outcome.output, HasSubstr("Examples:"));
}

TEST(Flags, TheFileGivesWhatTheCommandLineDoesNot) {
  const std::string path = testing::TempDir() + "/weir_sim_flags_test.yaml";
  std::ofstream(path) << "model: from-file\nport: 9000\ninstances: 3\n"
                         "served-model-name: [x, y]\nenforce-eager: true\n"
                         "lora-modules:\n  - '{\"name\":\"l1\"}'\n  - {name: l2, path: /p}\n";
  const std::string flag = "--config=" + path;
  const Outcome outcome = Read({flag.c_str(), "--port=9100"});
  std::remove(path.c_str());
  EXPECT_EQ(outcome.status, -1) << outcome.output;
  EXPECT_EQ(outcome.line.options.model, "from-file");
  EXPECT_EQ(outcome.line.options.port, 9100u);
  EXPECT_EQ(outcome.line.options.instances, 3u);
  EXPECT_THAT(outcome.line.options.served_names, ElementsAre("x", "y"));
  ASSERT_EQ(outcome.line.options.loras.size(), 2u);
  EXPECT_EQ(outcome.line.options.loras[1].name, "l2");
}

TEST(Flags, ABadFileIsRefused) {
  const std::string path = testing::TempDir() + "/weir_sim_flags_bad.yaml";
  for (const char* text : {"- a\n- b\n", "model: [\n", "model: m\nno-such-key: 1\n"}) {
    std::ofstream(path) << text;
    const std::string flag = "--config=" + path;
    EXPECT_GT(Read({flag.c_str()}).status, 0) << text;
  }
  std::remove(path.c_str());
  EXPECT_GT(Read({"--model=m", "--config=/no/such/file.yaml"}).status, 0);
}

TEST(Flags, Durations) {
  EXPECT_EQ(*ParseDurationNs("0"), 0);
  EXPECT_EQ(*ParseDurationNs("250"), 250'000'000);
  EXPECT_EQ(*ParseDurationNs("250us"), 250'000);
  EXPECT_EQ(*ParseDurationNs("250\xC2\xB5s"), 250'000);
  EXPECT_EQ(*ParseDurationNs("1m30s"), 90'000'000'000);
  for (const char* bad : {"", "-1", "-1s", "inf", "25h", "1 s", "x"}) {
    EXPECT_FALSE(ParseDurationNs(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace weir::sim
