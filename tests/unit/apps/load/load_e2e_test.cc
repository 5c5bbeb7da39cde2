#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <set>
#include <sstream>

#include "fake_openai.h"
#include "load/files.h"
#include "load/runner.h"
#include "load/summary.h"

namespace weir::load {
namespace {

using ::testing::HasSubstr;

ConversationPlan SmallConversations() {
  ConversationPlan plan;
  plan.conversations = 6;
  plan.groups = 2;
  plan.system_tokens = Distribution::Fixed(20);
  plan.turns = Distribution::Fixed(3);
  plan.input_tokens = Distribution::Fixed(5);
  plan.output_tokens = Distribution::Fixed(4);
  return plan;
}

RunPlan PlanFor(const std::vector<std::string>& urls, const ConversationPlan& conversations) {
  RunPlan plan;
  plan.quiet = true;
  for (const std::string& url : urls) plan.targets.push_back(*ParseTarget(url, conversations.api));
  plan.shape.api = conversations.api;
  plan.headers = {{"content-type", "application/json"}};
  plan.dispatch.concurrency = 2;
  plan.keep_answers = conversations.answer_history;
  plan.make_source = [conversations](Shard shard) {
    return CreateConversationSource(conversations, shard);
  };
  return plan;
}

Summary MustRun(const RunPlan& plan) {
  auto summary = Run(plan);
  EXPECT_TRUE(summary.ok()) << summary.status();
  return summary.ok() ? *summary : Summary();
}

TEST(LoadEndToEnd, StreamsConversationsAndCountsWhatComesBack) {
  FakeOpenAi server(FakeAnswer::kGood, "pod-a");
  ConversationPlan conversations = SmallConversations();
  conversations.active_max = 2;
  RunPlan plan = PlanFor({server.url()}, conversations);
  plan.conversation_header = "x-conversation";
  const Summary summary = MustRun(plan);
  EXPECT_EQ(summary.requests, 18u);
  EXPECT_EQ(summary.errors, 0u);
  EXPECT_EQ(summary.prompt_tokens, 1800u);
  EXPECT_EQ(summary.cached_tokens, 720u);
  EXPECT_DOUBLE_EQ(summary.prefix_hit_ratio, 0.4);
  EXPECT_EQ(summary.output_tokens, 72u);
  EXPECT_EQ(summary.token_events, 72u);
  EXPECT_EQ(summary.ttft_ms.count, 18u);
  EXPECT_EQ(summary.itl_ms.count, 54u);
  EXPECT_GT(summary.ttft_ms.min, 0);
  EXPECT_LE(summary.ttft_ms.max, summary.e2e_ms.max);
  ASSERT_EQ(summary.servers.size(), 1u);
  EXPECT_EQ(summary.servers[0], (std::pair<std::string, uint64_t>("pod-a", 18)));
  size_t longest = 0;
  for (const auto& body : server.bodies()) {
    ASSERT_TRUE(body.is_object());
    longest = std::max(longest, body["messages"].size());
    if (body["messages"].size() > 3) {
      EXPECT_EQ(body["messages"][2]["content"], " w0 w1 w2 w3");
    }
  }
  EXPECT_EQ(longest, 6u);  // system, three questions, two answers
  std::set<std::string> numbers;
  for (const std::string& number : server.conversation_headers()) numbers.insert(number);
  EXPECT_EQ(numbers.size(), 6u);
}

TEST(LoadEndToEnd, TurnsFromTargetToTargetOnEveryThread) {
  FakeOpenAi one(FakeAnswer::kGood), two(FakeAnswer::kGood);
  RunPlan plan = PlanFor({one.url(), two.url()}, SmallConversations());
  plan.threads = 2;
  const Summary summary = MustRun(plan);
  EXPECT_EQ(summary.requests, 18u);
  ASSERT_EQ(summary.servers.size(), 2u);
  EXPECT_EQ(one.bodies().size() + two.bodies().size(), 18u);
  EXPECT_EQ(one.bodies().size(), 9u);
}

TEST(LoadEndToEnd, ReadsWholeAnswersAndCompletions) {
  FakeOpenAi server(FakeAnswer::kGood);
  ConversationPlan conversations = SmallConversations();
  conversations.api = Api::kCompletions;
  RunPlan plan = PlanFor({server.url()}, conversations);
  plan.shape.streaming = false;
  const Summary summary = MustRun(plan);
  EXPECT_EQ(summary.errors, 0u);
  EXPECT_DOUBLE_EQ(summary.prefix_hit_ratio, 0.75);
  EXPECT_EQ(summary.output_tokens, 36u);
  bool quoted = false;
  for (const auto& body : server.bodies()) {
    quoted =
        quoted || body["prompt"].get<std::string>().find("whole \"answer\"") != std::string::npos;
  }
  EXPECT_TRUE(quoted);
}

TEST(LoadEndToEnd, NamesErrors) {
  const struct {
    FakeAnswer answer;
    const char* kind;
  } kCases[] = {{FakeAnswer::kStatus503, "http 503"},
                {FakeAnswer::kNoDone, "stream without [DONE]"},
                {FakeAnswer::kCut, "closed"},
                {FakeAnswer::kError, "error in the answer"},
                {FakeAnswer::kSilence, "timed_out"}};
  for (const auto& bad : kCases) {
    FakeOpenAi server(bad.answer);
    RunPlan plan = PlanFor({server.url()}, SmallConversations());
    plan.dispatch.requests_max = 4;
    if (bad.answer == FakeAnswer::kSilence) plan.timeout_ns = 20'000'000;
    const Summary summary = MustRun(plan);
    EXPECT_EQ(summary.requests, 4u);
    EXPECT_EQ(summary.errors, 4u);
    ASSERT_EQ(summary.errors_by_kind.size(), 1u) << bad.kind;
    EXPECT_EQ(summary.errors_by_kind[0].first, bad.kind);
    EXPECT_EQ(summary.ttft_ms.count, 0u);
  }
}

TEST(LoadEndToEnd, CountsAServerThatIsNotThere) {
  std::string url;
  {
    FakeOpenAi gone(FakeAnswer::kGood);
    url = gone.url();
  }
  RunPlan plan = PlanFor({url}, SmallConversations());
  plan.dispatch.requests_max = 3;
  const Summary summary = MustRun(plan);
  EXPECT_EQ(summary.errors, 3u);
  ASSERT_EQ(summary.errors_by_kind.size(), 1u);
  EXPECT_EQ(summary.errors_by_kind[0].first, "connect_failed");
}

TEST(LoadEndToEnd, ReplaysATraceAtItsTimes) {
  FakeOpenAi server(FakeAnswer::kGood);
  std::istringstream in(
      "{\"timestamp\":0,\"input_length\":600,\"output_length\":3,\"hash_ids\":[1,2]}\n"
      "{\"timestamp\":4000,\"input_length\":512,\"output_length\":2,\"hash_ids\":[1]}\n"
      "{\"timestamp\":8000,\"input_length\":10,\"output_length\":1,\"hash_ids\":[3]}\n");
  const Trace trace = *Trace::Read(in, "trace", {});
  RunPlan plan = PlanFor({server.url()}, SmallConversations());
  plan.threads = 2;
  plan.dispatch.arrival = Arrival::kRecorded;
  plan.dispatch.due_ns = {0, 4'000'000, 8'000'000};  // a thousand times faster
  plan.make_source = [&trace](Shard shard) { return CreateTraceSource(trace, {}, shard); };
  const Summary summary = MustRun(plan);
  EXPECT_EQ(summary.requests, 3u);
  EXPECT_EQ(summary.errors, 0u);
  EXPECT_EQ(summary.output_tokens, 6u);
  EXPECT_NEAR(summary.offered_requests_per_s, 250, 1);
  EXPECT_EQ(summary.lateness_ms.count, 3u);
}

TEST(LoadEndToEnd, OpenLoopSendsAtItsRateAndLeavesWarmUpOut) {
  FakeOpenAi server(FakeAnswer::kGood);
  RunPlan plan = PlanFor({server.url()}, SmallConversations());
  plan.dispatch.arrival = Arrival::kFixed;
  plan.dispatch.rate_per_s = 1000;
  plan.dispatch.warmup_requests = 8;
  const Summary summary = MustRun(plan);
  EXPECT_EQ(summary.requests, 10u);
  EXPECT_EQ(summary.warmup_requests, 8u);
  EXPECT_NEAR(summary.offered_requests_per_s, 1000, 1);
}

TEST(LoadEndToEnd, CutsStreamsThatOutlastTheRun) {
  FakeOpenAi server(FakeAnswer::kEndless);
  RunPlan plan = PlanFor({server.url()}, SmallConversations());
  plan.make_source = [](Shard) { return CreateFixedSource(Api::kChat, 100, 1000); };
  plan.dispatch.concurrency = plan.dispatch.in_flight_max = 400;
  plan.dispatch.ramp_ns = 100'000'000;
  plan.dispatch.duration_ns = 500'000'000;
  plan.drain_ns = 0;
  plan.threads = 2;
  const Summary summary = MustRun(plan);
  EXPECT_EQ(summary.requests, 0u);
  EXPECT_EQ(summary.unfinished, 400u);
  EXPECT_EQ(summary.token_events, 800u);
  EXPECT_EQ(summary.processes.at(0).name, "weir-load");
}

TEST(LoadEndToEnd, SpeaksTlsAndVerifies) {
  FakeOpenAi server(FakeAnswer::kGood, "", /*tls=*/true);
  RunPlan plan = PlanFor({server.url()}, SmallConversations());
  plan.tls_verify = false;
  EXPECT_EQ(MustRun(plan).errors, 0u);
  // The server's certificate is its own work, so a client that verifies must not talk to it.
  plan.tls_verify = true;
  plan.dispatch.requests_max = 2;
  const Summary refused = MustRun(plan);
  EXPECT_EQ(refused.errors, 2u);
  EXPECT_EQ(refused.errors_by_kind.at(0).first, "connect_failed");
}

TEST(LoadEndToEnd, RefusesAHostThatDoesNotExist) {
  RunPlan plan = PlanFor({"http://127.0.0.1:1"}, SmallConversations());
  plan.targets[0].authority = "no-such-host.invalid:80";
  EXPECT_FALSE(load::Run(plan).ok());
}

class Program : public ::testing::Test {
 protected:
  // Runs weir-load with `arguments`; returns its exit code and fills output_.
  int RunProgram(const std::string& arguments) {
    const std::string out = directory_ + "/out";
    const int status = std::system(
        (std::string(WEIR_BIN_DIR) + "/weir-load " + arguments + " >" + out + " 2>&1").c_str());
    output_ = *ReadFile(out, 1 << 20);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string File(const std::string& name) const { return directory_ + "/" + name; }

  std::string output_;
  const std::string directory_ = [] {
    std::string made = ::testing::TempDir() + "weir-load-XXXXXX";
    EXPECT_NE(mkdtemp(made.data()), nullptr);
    return made;
  }();
};

TEST_F(Program, RunsComparesAndReports) {
  FakeOpenAi server(FakeAnswer::kGood, "pod-a");
  const std::string common = " --target " + server.url() +
                             " --conversations 5 --turns 2 --system-tokens 30 --output-tokens 3";
  EXPECT_EQ(RunProgram("run" + common + " --name 'round robin' --json " + File("a.json")), 0)
      << output_;
  EXPECT_THAT(output_, HasSubstr("round robin"));
  EXPECT_THAT(output_, HasSubstr("10 done"));
  EXPECT_THAT(output_, HasSubstr("pod-a"));
  EXPECT_EQ(RunProgram("run" + common + " --quiet --name prefix --json " + File("b.json")), 0);
  EXPECT_EQ(output_, "");
  EXPECT_EQ(
      RunProgram("compare " + File("a.json") + " " + File("b.json") + " --html " + File("r.html") +
                 " --json " + File("r.json") +
                 " --servers prefix=6,4 --servers 'round robin=1000,2000,3000,4000,5000,6000'"),
      0)
      << output_;
  EXPECT_THAT(output_, HasSubstr("   6 4\n"));
  EXPECT_THAT(output_, HasSubstr("policy         TTFT p50"));
  const auto report = nlohmann::json::parse(*ReadFile(File("r.json"), 1 << 20));
  EXPECT_EQ(report["policies"][0]["requests_per_server"].size(), 6u);
  EXPECT_EQ(report["policies"][0]["requests_per_server"][5], 6000);
  EXPECT_DOUBLE_EQ(report["policies"][1]["prefix_hit_ratio"], 0.4);
  EXPECT_EQ(report["policies"][1]["requests_per_server"], nlohmann::json({6, 4}));
  for (const char* bad : {"prefix", "other=1", "prefix=", "prefix=1,x"}) {
    EXPECT_EQ(RunProgram("compare " + File("b.json") + " --servers " + bad), 2);
    EXPECT_THAT(output_, HasSubstr(std::string("--servers: \"") + bad + "\", expected"));
  }
  EXPECT_THAT(*ReadFile(File("r.html"), 1 << 20), HasSubstr("\"server 6\""));
}

TEST_F(Program, GeneratesATraceThatItReplays) {
  FakeOpenAi server(FakeAnswer::kGood);
  EXPECT_EQ(
      RunProgram("generate --conversations 3 --turns 2 --system-tokens 600 --rate 100 --out " +
                 File("t.jsonl")),
      0)
      << output_;
  EXPECT_EQ(RunProgram("run --target " + server.url() + " --trace " + File("t.jsonl") +
                       " --speed 1000 --json " + File("t.json")),
            0)
      << output_;
  const auto summary = ParseSummary(*ReadFile(File("t.json"), 1 << 20));
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->requests, 6u);
}

TEST_F(Program, MeasuresAProxyWithItsOwnAndAnothersCpu) {
  FakeOpenAi server(FakeAnswer::kGood);
  EXPECT_EQ(RunProgram("proxy --target " + server.url() +
                       " --concurrency 4 --requests 50 --warmup 0 --no-stream --watch test=" +
                       std::to_string(getpid())),
            0)
      << output_;
  EXPECT_THAT(output_, HasSubstr("50 done"));
  EXPECT_THAT(output_, HasSubstr("cpu weir-load"));
  EXPECT_THAT(output_, HasSubstr("cpu test"));
}

TEST_F(Program, EndsEarlyOnASignalAndStillReports) {
  FakeOpenAi server(FakeAnswer::kSilence);
  // Made before the fork: the child of a process with threads must not allocate.
  const std::string program = std::string(WEIR_BIN_DIR) + "/weir-load";
  const std::string url = server.url(), json = File("s.json");
  const pid_t pid = fork();
  if (pid == 0) {
    execl(program.c_str(), "weir-load", "run", "--target", url.c_str(), "--quiet", "--concurrency",
          "3", "--json", json.c_str(), nullptr);
    _exit(127);
  }
  ASSERT_GT(pid, 0);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (server.bodies().size() < 3 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  // The first asks it to wait for the answers, which never come; the second not to wait. Sent until
  // it has ended, for two that come as one count once.
  int status = 0;
  while (waitpid(pid, &status, WNOHANG) == 0 && std::chrono::steady_clock::now() < deadline) {
    kill(pid, SIGINT);
    std::this_thread::yield();
  }
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  const auto text = ReadFile(json, 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status();
  const auto summary = ParseSummary(*text);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->requests, 0u);
  EXPECT_EQ(summary->unfinished, 3u);
}

TEST_F(Program, ExitsWithOneOnErrorsAndTwoOnUsage) {
  FakeOpenAi server(FakeAnswer::kStatus503);
  const std::string run = "run --target " + server.url() + " --requests 4";
  EXPECT_EQ(RunProgram(run), 1);
  EXPECT_THAT(output_, HasSubstr("100.0 % of the requests failed"));
  EXPECT_THAT(output_, HasSubstr("4 x http 503"));
  EXPECT_EQ(RunProgram(run + " --errors-max 1"), 0);
  const struct {
    const char* arguments;
    const char* complaint;
  } kCases[] = {
      {"run", "--target is required"},
      {"run --target localhost:1", "--target: \"localhost:1\", expected http://"},
      {"run --target http://h --turns x", "--turns: \"x\", expected N, uniform"},
      {"run --target http://h --preset x", "--preset: \"x\", expected chat"},
      {"run --target http://h --api x", "--api: \"x\", expected chat or completions"},
      {"run --target http://h --slo x=1", "--slo: \"x=1\", expected ttft=TIME"},
      {"run --target http://h --duration 5x", "--duration: \"5x\", expected a time"},
      {"run --target http://h --header x", "--header: \"x\", expected NAME: VALUE"},
      {"run --target http://h --extra-body x", "--extra-body: \"x\", expected a JSON object"},
      {"run --target http://h --repeat", "--repeat: never ends"},
      {"run --target http://h --history x", "--history: \"x\", expected answer or planned"},
      {"run --target http://h --trace /no/such", "/no/such: cannot read"},
      {"run --target http://h --rate 1 --arrival x", "--arrival: \"x\", expected poisson or fixed"},
      {"run --target http://h --watch x", "--watch: \"x\", expected NAME=PID"},
      {"compare /no/such", "/no/such: No such file"},
      {"compare /proc/self/stat", "/proc/self/stat: not a JSON object"},
      {"generate --rate 0", "--rate"},
      {"nothing", "subcommand is required"},
  };
  for (const auto& bad : kCases) {
    EXPECT_EQ(RunProgram(bad.arguments), 2) << bad.arguments << "\n" << output_;
    EXPECT_THAT(output_, HasSubstr(bad.complaint));
  }
}

TEST_F(Program, ValidatesWithoutSending) {
  const std::string run = "run --target http://127.0.0.1:1 --quiet --validate";
  EXPECT_EQ(RunProgram(run), 0) << output_;
  EXPECT_EQ(RunProgram(run + " --trace " + File("none.jsonl")), 2);
  EXPECT_EQ(RunProgram(run + " --slo ttft=soon"), 2);
}

TEST_F(Program, TeachesByItsHelp) {
  for (const char* command : {"run", "proxy", "generate", "compare"}) {
    EXPECT_EQ(RunProgram(std::string(command) + " --help"), 0);
    EXPECT_THAT(output_, HasSubstr("Examples:\n  weir-load " + std::string(command)));
  }
}

}  // namespace
}  // namespace weir::load
