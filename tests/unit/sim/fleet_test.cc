#include "weir/sim/fleet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <string>

#include "sim_testing.h"

namespace weir::sim {
namespace {

using ::testing::HasSubstr;

constexpr char kRoundRobin[] = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: round-robin-picker}]
schedulingProfiles: [{name: default, plugins: [{pluginRef: round-robin-picker}]}]
)";
constexpr char kPrefix[] = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: prefix-cache-scorer}, {type: queue-scorer}]
)";
constexpr char kNobody[] = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: label-selector-filter, parameters: {matchLabels: {no: one}}}]
)";

FleetOptions Servers(uint32_t count) {
  FleetOptions options;
  options.cluster.engine = PlainOptions();
  options.cluster.engine_count = count;
  return options;
}

// A fleet of one run: a router as new, and its clock.
struct Host {
  explicit Host(const char* config) : router(*Router::FromText(config, "test", Options())) {}
  RouterOptions Options() {
    RouterOptions options;
    options.seed = 1;
    options.clock = &clock;
    return options;
  }
  FleetRun Run(const FleetOptions& options, const Workload& workload) {
    auto run = RunFleet(options, workload, router, clock);
    EXPECT_TRUE(run.ok()) << run.status();
    return *std::move(run);
  }
  ManualClock clock{1'000'000'000};
  Router router;
};

Workload Chats(uint32_t conversations = 40) {
  return *Workload::Conversations({.conversations = conversations, .groups = 6});
}

double MeanTtftMs(const FleetRun& run) {
  double sum_ns = 0;
  for (const FleetRecord& record : run.records) {
    sum_ns += static_cast<double>(record.first_token_ns - record.arrival_ns);
  }
  return sum_ns / 1e6 / static_cast<double>(run.records.size());
}

uint64_t CachedTokens(const FleetRun& run) {
  return std::accumulate(run.records.begin(), run.records.end(), uint64_t{0},
                         [](uint64_t sum, const FleetRecord& r) { return sum + r.cached_tokens; });
}

bool SameRun(const FleetRun& a, const FleetRun& b) {
  const auto same_record = [](const FleetRecord& x, const FleetRecord& y) {
    return x.outcome == y.outcome && x.server == y.server && x.arrival_ns == y.arrival_ns &&
           x.first_token_ns == y.first_token_ns && x.end_ns == y.end_ns &&
           x.cached_tokens == y.cached_tokens && x.output_tokens == y.output_tokens;
  };
  const auto same_sample = [](const LoadSample& x, const LoadSample& y) {
    return x.time_ns == y.time_ns && x.server == y.server &&
           x.waiting_requests == y.waiting_requests && x.running_requests == y.running_requests &&
           x.kv_used_ratio == y.kv_used_ratio;
  };
  return std::ranges::equal(a.records, b.records, same_record) &&
         std::ranges::equal(a.samples, b.samples, same_sample) &&
         a.cached_tokens == b.cached_tokens && a.end_ns == b.end_ns;
}

TEST(Fleet, RunsEveryRequestOnceAndInOrderOfItsSession) {
  const Workload workload = Chats();
  const FleetRun run = Host(kPrefix).Run(Servers(4), workload);
  ASSERT_EQ(run.records.size(), workload.size());
  EXPECT_EQ(run.first_failure, "");
  for (uint32_t i = 0; i < workload.size(); ++i) {
    const FleetRecord& record = run.records[i];
    const Workload::Entry& entry = workload.entries()[i];
    EXPECT_EQ(record.outcome, Outcome::kServed);
    EXPECT_LT(record.server, 4u);
    EXPECT_EQ(record.output_tokens, entry.output_tokens);
    EXPECT_LT(record.arrival_ns, record.first_token_ns);
    EXPECT_LE(record.first_token_ns, record.end_ns);
    EXPECT_LE(record.end_ns, run.end_ns);
    EXPECT_EQ(record.arrival_ns, entry.follows == kNone
                                     ? entry.arrival_ns
                                     : run.records[entry.follows].end_ns + entry.pause_ns);
  }
}

TEST(Fleet, EqualInputsGiveEqualRuns) {
  const Workload workload = Chats();
  FleetOptions options = Servers(3);
  options.cluster.engine.jitter = Jitter::kReal;
  const FleetRun run = Host(kPrefix).Run(options, workload);
  EXPECT_TRUE(SameRun(run, Host(kPrefix).Run(options, workload)));
  options.cluster.engine.seed = 5;
  EXPECT_FALSE(SameRun(run, Host(kPrefix).Run(options, workload)));
}

TEST(Fleet, PrefixAwareRoutingHitsCachesAndAnswersSooner) {
  const Workload workload = Chats(120);
  const FleetRun blind = Host(kRoundRobin).Run(Servers(4), workload);
  const FleetRun aware = Host(kPrefix).Run(Servers(4), workload);
  EXPECT_GT(CachedTokens(aware), CachedTokens(blind));
  EXPECT_LT(MeanTtftMs(aware), 0.9 * MeanTtftMs(blind));
  // Round robin sooner or later leaves every system prompt in every cache.
  const auto cells = [](const FleetRun& run) {
    return std::ranges::count_if(run.cached_tokens, [](uint64_t tokens) { return tokens > 1000; });
  };
  EXPECT_EQ(cells(blind), 4 * 6);
  EXPECT_LT(cells(aware), 4 * 6);
  EXPECT_LT(std::reduce(aware.cached_tokens.begin(), aware.cached_tokens.end()),
            std::reduce(blind.cached_tokens.begin(), blind.cached_tokens.end()));
}

TEST(Fleet, TheRouterSeesTheFleetsLoadAndCountsEveryFlight) {
  const Workload workload = Chats();
  Host host(kPrefix);
  const FleetRun run = host.Run(Servers(2), workload);
  const auto snapshot = host.router.pool().snapshot();
  ASSERT_EQ(snapshot->count(), 2u);
  EXPECT_EQ(snapshot->name(1), "default/s1");
  EXPECT_EQ(snapshot->kv_block_tokens()[0], 16u);
  EXPECT_EQ(host.router.stats().flights_begun, workload.size());
  EXPECT_EQ(host.router.stats().flights_ended, workload.size());
  EXPECT_EQ(host.router.RecentDecisions().size(), 64u);
  const auto busy = std::ranges::max(run.samples, {}, &LoadSample::running_requests);
  EXPECT_GT(busy.running_requests, 0u);
  EXPECT_GT(busy.kv_used_ratio, 0);
  EXPECT_TRUE(std::ranges::is_sorted(run.samples, {}, &LoadSample::time_ns));
}

TEST(Fleet, DecisionsGoToWhoAsksForThem) {
  const Workload workload = Chats(5);
  Host host(kPrefix);
  std::vector<std::string> ids;
  const auto keep = [&](uint32_t request, Decision decision) {
    EXPECT_EQ(decision.explanation().request_id, std::to_string(request));
    ids.push_back(std::to_string(request));
  };
  const auto run = RunFleet(Servers(2), workload, host.router, host.clock, {.on_decision = keep});
  ASSERT_TRUE(run.ok());
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), workload.size());
  EXPECT_TRUE(host.router.RecentDecisions().empty());
}

// What an earlier run taught the router must not count for new servers with empty caches.
TEST(Fleet, ARouterThatRanBeforeMeetsNewServers) {
  const Workload workload = Chats();
  Host host(kPrefix);
  host.Run(Servers(2), workload);
  const int64_t first_end_ns = host.clock.now_ns();
  const FleetRun again = host.Run(Servers(2), workload);
  EXPECT_EQ(again.records[0].cached_tokens, 0u);
  EXPECT_EQ(again.records[0].arrival_ns, workload.entries()[0].arrival_ns);
  EXPECT_GT(host.clock.now_ns(), first_end_ns);
}

TEST(Fleet, RefusedAndRejectedRequestsAreReportedAndTheSessionGoesOn) {
  const Workload workload = Chats(3);
  const FleetRun refused = Host(kNobody).Run(Servers(2), workload);
  for (const FleetRecord& record : refused.records) {
    EXPECT_EQ(record.outcome, Outcome::kRefused);
    EXPECT_EQ(record.server, kNone);
    EXPECT_EQ(record.first_token_ns, -1);
  }
  EXPECT_NE(refused.first_failure, "");

  FleetOptions tiny = Servers(2);
  tiny.cluster.engine.block_count = 10;
  Host host(kPrefix);
  const FleetRun rejected = host.Run(tiny, workload);
  for (const FleetRecord& record : rejected.records) {
    EXPECT_EQ(record.outcome, Outcome::kRejected);
    EXPECT_LT(record.server, 2u);
  }
  EXPECT_THAT(rejected.first_failure, HasSubstr("KV blocks"));
  EXPECT_EQ(host.router.stats().flights_ended, workload.size());
}

TEST(Fleet, LongRunsKeepAThinnedLoad) {
  Workload workload;
  const std::vector<uint32_t> prompt = TokensOf(1, 100);
  ASSERT_TRUE(workload.Add({.prompt = prompt, .output_tokens = 1}).ok());
  ASSERT_TRUE(
      workload.Add({.arrival_ns = 40'000'000'000, .prompt = prompt, .output_tokens = 1}).ok());
  FleetOptions options = Servers(3);
  options.cluster.scrape_interval_ns = 1'000'000;  // 120,000 samples in all
  const FleetRun run = Host(kRoundRobin).Run(options, workload);
  EXPECT_LE(run.samples.size(), kLoadSamplesMax);
  EXPECT_GT(run.samples.size(), kLoadSamplesMax / 2);
  for (size_t i = 0; i < run.samples.size(); ++i) {
    ASSERT_EQ(run.samples[i].server, i % 3);
    if (i >= 3) {
      ASSERT_EQ(run.samples[i].time_ns - run.samples[i - 3].time_ns, 2'000'000);
    }
  }
}

TEST(Fleet, RefusesWhatItCannotRunAndStopsWhenAsked) {
  const Workload workload = Chats(3);
  Host host(kPrefix);
  const auto code = [&](const FleetOptions& options, const Workload& requests) {
    return RunFleet(options, requests, host.router, host.clock).status().code();
  };
  EXPECT_EQ(code(Servers(0), workload), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Servers(2), Workload()), absl::StatusCode::kInvalidArgument);
  FleetOptions delayed = Servers(2);
  delayed.cluster.scrape_delay_ns = 1;
  EXPECT_EQ(code(delayed, workload), absl::StatusCode::kInvalidArgument);
  Workload grouped;
  const std::vector<uint32_t> prompt = TokensOf(1, 10);
  ASSERT_TRUE(
      grouped.Add({.group = kWorkloadGroupsMax - 1, .prompt = prompt, .output_tokens = 1}).ok());
  EXPECT_EQ(code(Servers(257), grouped), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Servers(256), grouped), absl::StatusCode::kOk);

  uint32_t questions = 0;
  const auto stopped = RunFleet(Servers(2), workload, host.router, host.clock,
                                {.keep_going = [&] { return ++questions < 2; }});
  EXPECT_EQ(stopped.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(questions, 2u);
  EXPECT_EQ(host.router.stats().flights_begun, host.router.stats().flights_ended);
}

}  // namespace
}  // namespace weir::sim
