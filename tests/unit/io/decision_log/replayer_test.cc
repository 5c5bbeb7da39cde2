#include "weir/io/decision_log/replayer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <sstream>

#include "sample_log.h"
#include "weir/io/decision_log/reader.h"
#include "weir/io/decision_log/writer.h"
#include "weir/random.h"

namespace weir::io {
namespace {

using ::testing::HasSubstr;

// Everything that remembers or draws: two producers, filters, scorers of load and prefix, a picker
// that draws.
constexpr char kDrawingPipeline[] = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: decode-filter}
- {type: approx-prefix-cache-producer, parameters: {lruCapacityPerServer: 40}}
- {type: prefix-cache-scorer}
- {type: queue-scorer}
- {type: kv-cache-utilization-scorer}
- {type: active-request-scorer}
- {type: token-load-scorer}
- {type: weighted-random-picker, parameters: {maxNumOfEndpoints: 3}}
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: decode-filter}
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - {pluginRef: queue-scorer, weight: 1}
  - {pluginRef: kv-cache-utilization-scorer, weight: 1}
  - {pluginRef: active-request-scorer, weight: 1}
  - {pluginRef: token-load-scorer, weight: 1}
  - {pluginRef: weighted-random-picker}
)";
constexpr char kRoundRobin[] = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: round-robin-picker}]
schedulingProfiles:
- {name: default, plugins: [{pluginRef: round-robin-picker}]}
)";

// A day of a small fleet in a moment: conversations that grow, flights that overlap, fail and fall
// back, samples begun and applied, servers that come, go and are relabelled.
class Day {
 public:
  Day(const std::string& path, const std::string& pipeline, uint64_t seed)
      : random_(seed), writer_(DecisionLogWriter::Create({.path = path}).value()) {
    const RouterOptions options{
        .sample_age_ns_max = 500'000'000, .seed = 3, .clock = &clock_, .recorder = writer_.get()};
    router_ = pipeline.empty() ? Router::Default(options).value()
                               : Router::FromText(pipeline, "day.yaml", options).value();
    for (uint32_t i = 0; i < 8; ++i) Add(i);
    conversations_.resize(30);
  }

  void Run(uint32_t decisions) {
    while (decided_ < decisions) {
      clock_.Advance(random_.NextBelow(5'000'000));
      const uint32_t dice = random_.NextBelow(100);
      if (dice < 45) Decide();
      if (dice >= 45 && dice < 55) Sample();
      if (dice >= 55 && dice < 56) Change();
      if (dice >= 56) Progress();
    }
    open_.clear();
    router_.reset();
    writer_->Close();
  }

  uint32_t decided() const { return decided_; }
  const std::map<std::string, uint32_t>& picked() const { return picked_; }

 private:
  struct Open {
    Decision decision;
    Flight flight;
    uint32_t target = 0;
  };

  void Add(uint32_t number) {
    const bool decodes = number % 4 != 3;
    const auto id =
        router_->pool().Upsert({.name = "server-" + std::to_string(number),
                                .address = "10.0.0." + std::to_string(number + 1) + ":8000",
                                .labels = {{"llm-d.ai/role", decodes ? "decode" : "prefill"},
                                           {"zone", std::to_string(random_.NextBelow(2))}}});
    ASSERT_TRUE(id.ok()) << id.status();
  }

  void Change() {
    const uint32_t number = random_.NextBelow(10);
    if (random_.NextBelow(2) == 0) return Add(number);
    (void)router_->pool().Remove("server-" + std::to_string(number));
  }

  void Sample() {
    const auto ids = router_->pool().snapshot()->ids();
    std::vector<MetricsUpdate> updates;
    for (const EndpointId id : ids) {
      if (random_.NextBelow(3) == 0) continue;
      router_->pool().SampleStarted(id);
      if (random_.NextBelow(4) == 0) continue;  // fails
      updates.push_back({id,
                         {.waiting_requests = random_.NextBelow(6),
                          .running_requests = random_.NextBelow(40),
                          .kv_used_ratio = random_.NextUniform(),
                          .kv_block_tokens = 16,
                          .kv_block_count = 500}});
    }
    clock_.Advance(1'000);
    router_->pool().ApplySamples(updates);
  }

  void Decide() {
    std::string& text = conversations_[random_.NextBelow(30)];
    if (text.size() > 6'000) text.clear();
    const uint32_t words = 20 + random_.NextBelow(100);
    for (uint32_t i = 0; i < words; ++i) text += "word" + std::to_string(random_.NextBelow(1'000));
    // As a parser leaves it: aligned, with zeros up to a whole token.
    std::vector<uint32_t> words_of(text.size() / 4 + 1, 0);
    std::copy(text.begin(), text.end(), reinterpret_cast<char*>(words_of.data()));
    const PromptPart part{PromptPart::Kind::kText,
                          {reinterpret_cast<const char*>(words_of.data()), text.size()}};
    const Prompt prompt{{&part, 1}, {}};
    const std::string id = "request-" + std::to_string(decided_);
    Request request;
    request.api = Api::kChatCompletions;
    request.id = id;
    request.model = random_.NextBelow(4) == 0 ? "adapter" : "base";
    request.prompts = {&prompt, 1};
    auto decision = router_->Decide(request);
    ++decided_;
    if (!decision.ok()) return;
    ++picked_[std::string(decision->primary().name)];
    if (random_.NextBelow(20) == 0) return;  // the client left meanwhile
    Open open{*std::move(decision), {}};
    open.flight = router_->Begin(open.decision);
    open.decision.ReleaseRequest();
    open_.push_back(std::move(open));
  }

  void Progress() {
    if (open_.empty()) return;
    const uint32_t which = random_.NextBelow(static_cast<uint32_t>(open_.size()));
    Open& open = open_[which];
    switch (random_.NextBelow(8)) {
      case 0:  // the server fails, the next one takes over
        open.flight.Finish({}, End::kFailed);
        if (++open.target < open.decision.targets().size()) {
          open.flight = router_->Begin(open.decision, open.target);
          return;
        }
        break;
      case 1:
      case 2:
        return open.flight.FirstToken();
      default:
        open.flight.Finish({.prompt_tokens = 100, .output_tokens = 20},
                           random_.NextBelow(10) == 0 ? End::kClientGone : End::kCompleted);
    }
    open_.erase(open_.begin() + which);
  }

  Random random_;
  ManualClock clock_{5'000'000'000};
  std::unique_ptr<DecisionLogWriter> writer_;
  std::optional<Router> router_;
  std::vector<std::string> conversations_;
  std::vector<Open> open_;
  uint32_t decided_ = 0;
  std::map<std::string, uint32_t> picked_;
};

class DecisionReplayerTest : public ::testing::Test {
 protected:
  DecisionReplayerTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = ::testing::TempDir() + "/" + test->name() + ".log";
  }
  ~DecisionReplayerTest() override { std::filesystem::remove(path_); }

  struct Totals {
    uint64_t decisions = 0, same_targets = 0, same_scores = 0, refused = 0, begins = 0, first = 0;
  };
  Totals Replay(const ReplayOptions& options = {}) {
    Totals totals;
    auto reader = DecisionLogReader::Open(path_);
    EXPECT_TRUE(reader.ok()) << reader.status();
    auto replayer = DecisionReplayer::Create((*reader)->header(), options);
    EXPECT_TRUE(replayer.ok()) << replayer.status();
    while (true) {
      const auto record = (*reader)->Next();
      EXPECT_TRUE(record.ok()) << record.status();
      if (!record.ok() || *record == nullptr) break;
      const auto result = (*replayer)->Apply(**record);
      EXPECT_TRUE(result.ok()) << result.status();
      if (!result.ok()) break;
      totals.begins += std::holds_alternative<LoggedBegin>(**record) ? 1 : 0;
      totals.first += std::holds_alternative<LoggedFirstToken>(**record) ? 1 : 0;
      if (*result == nullptr) continue;
      ExpectSamePool((*reader)->pool(), *(*replayer)->router().pool().snapshot());
      ++totals.decisions;
      totals.same_targets += (*result)->same_targets ? 1 : 0;
      totals.same_scores += (*result)->same_scores ? 1 : 0;
      totals.refused += (*result)->code == Code::kOk ? 0 : 1;
    }
    EXPECT_TRUE((*reader)->closed());
    EXPECT_EQ((*replayer)->decisions(), totals.decisions);
    EXPECT_EQ((*replayer)->different(), totals.decisions - totals.same_targets);
    EXPECT_EQ((*replayer)->missing(), 0u);
    return totals;
  }
  // Versions and slots are of the new router's own making.
  static void ExpectSamePool(const LoggedPool& pool, const PoolSnapshot& snapshot) {
    ASSERT_EQ(pool.endpoints.size(), snapshot.count());
    for (uint32_t i = 0; i < snapshot.count(); ++i) {
      const LoggedEndpoint& endpoint = pool.endpoints[i];
      ASSERT_EQ(endpoint.name, snapshot.name(i));
      ASSERT_EQ(endpoint.address, snapshot.address(i));
      ASSERT_EQ(endpoint.labels, snapshot.labels(i));
      ASSERT_EQ(endpoint.waiting_requests, snapshot.waiting_requests()[i]);
      ASSERT_EQ(endpoint.running_requests, snapshot.running_requests()[i]);
      ASSERT_EQ(endpoint.kv_used_ratio, snapshot.kv_used_ratio()[i]);
      ASSERT_EQ(endpoint.kv_block_tokens, snapshot.kv_block_tokens()[i]);
      ASSERT_EQ(endpoint.kv_block_count, snapshot.kv_block_count()[i]);
      ASSERT_EQ(endpoint.sample_time_ns, snapshot.sample_time_ns()[i]);
      ASSERT_EQ(endpoint.adapters, snapshot.adapters(i));
    }
  }

  std::string path_;
};

TEST_F(DecisionReplayerTest, TheDefaultPipelineDecidesAsItDid) {
  Day day(path_, "", 11);
  day.Run(2'000);
  EXPECT_GE(day.picked().size(), 8u) << "a run in which one server wins everything shows nothing";
  const Totals totals = Replay();
  EXPECT_EQ(totals.decisions, day.decided());
  EXPECT_EQ(totals.same_targets, totals.decisions);
  EXPECT_EQ(totals.same_scores, totals.decisions);
  EXPECT_GT(totals.begins, 1'500u);
  EXPECT_GT(totals.first, 300u);
}

TEST_F(DecisionReplayerTest, DrawsFiltersAndMemoryOfPluginsComeAgain) {
  Day day(path_, kDrawingPipeline, 12);
  day.Run(1'500);
  const Totals totals = Replay();
  EXPECT_EQ(totals.decisions, day.decided());
  EXPECT_EQ(totals.same_targets, totals.decisions);
  EXPECT_EQ(totals.same_scores, totals.decisions);
}

TEST_F(DecisionReplayerTest, AnotherPipelineDecidesOtherwise) {
  Day day(path_, "", 13);
  day.Run(1'000);
  const Totals totals = Replay({.pipeline_text = kRoundRobin});
  EXPECT_EQ(totals.decisions, 1'000u);
  EXPECT_LT(totals.same_targets, 500u);
}

// A run under a pipeline that wants no tokens still tells what prefix matching would have done.
TEST_F(DecisionReplayerTest, EstimatesTokensForAPipelineThatWantsThem) {
  Day day(path_, kRoundRobin, 14);
  day.Run(400);
  EXPECT_EQ(Replay().same_targets, 400u);
  const auto prefix_scores = [this](bool estimated_tokens) {
    auto reader = DecisionLogReader::Open(path_).value();
    auto replayer =
        DecisionReplayer::Create(reader->header(), {.pipeline_text = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: prefix-cache-scorer}]
schedulingProfiles:
- {name: default, plugins: [{pluginRef: prefix-cache-scorer}]}
)",
                                                    .estimated_tokens = estimated_tokens})
            .value();
    uint32_t found = 0;
    while (const LogRecord* record = reader->Next().value()) {
      const ReplayedDecision* result = replayer->Apply(*record).value();
      if (result != nullptr && result->code == Code::kOk) {
        found += result->profiles[0].picks[0].score > 0 ? 1 : 0;
      }
    }
    return found;
  };
  EXPECT_EQ(prefix_scores(false), 0u);
  EXPECT_GT(prefix_scores(true), 200u);
}

TEST_F(DecisionReplayerTest, FailsClearlyOnWhatNoPoolTakes) {
  const auto header = [] {
    LogHeader header = SampleHeader();
    header.plugin_files.clear();
    header.pipeline_text = kRoundRobin;
    return header;
  }();
  const auto apply = [&](const std::vector<LogRecord>& records) {
    auto replayer = DecisionReplayer::Create(header, {}).value();
    for (const LogRecord& record : records) {
      if (auto result = replayer->Apply(record); !result.ok()) return result.status();
    }
    return absl::OkStatus();
  };
  PoolDelta delta;
  delta.added = {{.name = "default/a", .address = "nowhere"}};
  EXPECT_THAT(std::string(apply({delta}).message()), HasSubstr("no port"));
  delta.added = {{.name = "nameless", .address = "h:1"}};
  EXPECT_FALSE(apply({delta}).ok());
  delta.added = {{.name = "n/a", .address = "h:1"}, {.name = "n/a", .address = "h:2"}};
  EXPECT_THAT(std::string(apply({delta}).message()), HasSubstr("two of them of one name"));
  delta.added = {{.name = "n/a", .address = "h:1"}};
  LoggedDecision decision{.number = 1};
  decision.request.prompts = {{.token_count = kReplayTokensMax + 1}};
  EXPECT_THAT(std::string(apply({delta, decision}).message()), HasSubstr("not made up again"));
  // Feedback that fits nothing is left aside.
  EXPECT_TRUE(apply({delta, LoggedBegin{.flight = 1, .decision = 9}, LoggedFirstToken{.flight = 5},
                     LoggedEnd{.flight = 6}, LogEnd{}})
                  .ok());
  EXPECT_FALSE(DecisionReplayer::Create(header, {.pipeline_text = "kind: None"}).ok());
}

TEST_F(DecisionReplayerTest, ForgetsDecisionsThatNeverBegin) {
  LogHeader header = SampleHeader();
  header.plugin_files.clear();
  header.pipeline_text = kRoundRobin;
  auto replayer = DecisionReplayer::Create(header, {}).value();
  PoolDelta delta;
  delta.added = {{.name = "n/a", .address = "h:1"}};
  ASSERT_TRUE(replayer->Apply(delta).ok());
  for (uint64_t number = 1; number <= kReplayDecisionsKept + 1; ++number) {
    ASSERT_TRUE(replayer->Apply(LoggedDecision{.number = number}).ok());
  }
  ASSERT_TRUE(replayer->Apply(LoggedBegin{.flight = 1, .decision = 1}).ok());
  EXPECT_EQ(replayer->router().stats().flights_begun, 0u) << "the first is forgotten";
  ASSERT_TRUE(replayer->Apply(LoggedBegin{.flight = 2, .decision = 2}).ok());
  EXPECT_EQ(replayer->router().stats().flights_begun, 1u);
}

}  // namespace
}  // namespace weir::io
