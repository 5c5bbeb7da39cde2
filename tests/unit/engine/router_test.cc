#include "weir/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "testing/allocation_guard.h"
#include "weir/decision.h"
#include "weir/endpoint.h"
#include "weir/flight.h"
#include "weir/options.h"
#include "weir/request.h"

namespace weir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Pipeline(const std::string& plugins, const std::string& refs) {
  return "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n" + plugins +
         "schedulingProfiles:\n- name: default\n  plugins:\n" + refs;
}
std::string Plain(const std::vector<std::string>& types) {
  std::string plugins, refs;
  for (const std::string& type : types) {
    plugins += "- {type: " + type + "}\n";
    refs += "  - {pluginRef: " + type + "}\n";
  }
  return Pipeline(plugins, refs);
}

class RouterTest : public ::testing::Test {
 protected:
  Router Make(const std::string& yaml, RouterOptions options = {}) {
    options.clock = &clock_;
    options.seed = options.seed == 0 ? 1 : options.seed;
    options.plugin_files = {WEIR_BIN_DIR "/libbad_plugins.so"};
    options.log = [this](LogLevel, std::string_view text) { log_ += std::string(text) + "\n"; };
    auto router = Router::FromText(yaml, "test.yaml", options);
    EXPECT_TRUE(router.ok()) << router.status();
    return *std::move(router);
  }
  static EndpointId Add(const Router& router, const std::string& name,
                        const EndpointMetrics& metrics = {},
                        const std::map<std::string, std::string>& labels = {}) {
    return router.pool()
        .Upsert({.name = name,
                 .address = "10.0.0.1:" + std::to_string(8000 + name[0]),
                 .labels = labels,
                 .metrics = metrics})
        .value();
  }
  static std::string Picked(const Router& router, const Request& request = {}) {
    const auto decision = router.Decide(request);
    return decision.ok() ? std::string(decision->primary().name)
                         : std::string(CodeName(static_cast<Code>(decision.status().code())));
  }
  static uint64_t Count(const Router& router, const std::string& plugin,
                        uint64_t RouterStats::Plugin::*member) {
    const RouterStats stats = router.stats();
    for (const auto& one : stats.plugins) {
      if (one.name == plugin) return one.*member;
    }
    ADD_FAILURE() << plugin;
    return 0;
  }

  ManualClock clock_{1'000'000'000};
  std::string log_;
};

TEST_F(RouterTest, WeighsScoresAndExplainsThem) {
  const Router router =
      Make(Pipeline("- {type: queue-scorer}\n- {type: kv-cache-utilization-scorer}\n",
                    "  - {pluginRef: queue-scorer, weight: 2}\n"
                    "  - {pluginRef: kv-cache-utilization-scorer, weight: 2}\n"));
  Add(router, "a", {.waiting_requests = 0, .kv_used_ratio = 0.5});
  Add(router, "b", {.waiting_requests = 4, .kv_used_ratio = 0.25});
  clock_.Advance(30'000'000);
  Request request;
  request.id = "r1";
  request.model = "m";
  const Decision decision = router.Decide(request).value();
  EXPECT_EQ(decision.primary().name, "default/a");
  ASSERT_EQ(decision.headers().size(), 1u);
  EXPECT_EQ(decision.headers()[0].name, "x-gateway-destination-endpoint");
  EXPECT_EQ(decision.headers()[0].value, decision.primary().address);

  const Explanation why = decision.explanation();
  ASSERT_EQ(why.profiles.size(), 1u);
  const auto& rows = why.profiles[0].endpoints;
  EXPECT_THAT(rows[0].raw, ElementsAre(1.0, 0.5));
  EXPECT_THAT(rows[0].weighted, ElementsAre(2.0, 1.0));
  EXPECT_THAT(rows[1].weighted, ElementsAre(0.0, 1.5));
  EXPECT_DOUBLE_EQ(rows[0].total, 3.0);
  EXPECT_EQ(rows[0].rank, 0);
  EXPECT_EQ(rows[1].rank, -1);
  EXPECT_EQ(rows[1].sample_age_ms, 30);
  EXPECT_EQ(why.request_id, "r1");
  EXPECT_THAT(decision.Explain(), HasSubstr("queue-scorer*2"));
  const auto json = nlohmann::json::parse(decision.ToJson());
  EXPECT_EQ(json["profiles"][0]["endpoints"][1]["raw"][1], 0.75);
  EXPECT_EQ(json["model"], "m");
}

TEST_F(RouterTest, FailsClearlyWithoutEndpointsOrSurvivors) {
  const Router empty = Make(Plain({"queue-scorer"}));
  EXPECT_EQ(Picked(empty), "unavailable");
  EXPECT_EQ(empty.stats().decisions_no_endpoint, 1u);
  const Router drained = Make(Plain({"drop-all-filter", "queue-scorer"}));
  Add(drained, "a");
  EXPECT_EQ(Picked(drained), "resource_exhausted");
  EXPECT_EQ(drained.stats().decisions_all_dropped, 1u);
  const Router idle = Make(Plain({"idle-picker"}));
  Add(idle, "a");
  EXPECT_EQ(Picked(idle), "resource_exhausted");
}

TEST_F(RouterTest, ScorersSeeOnlyWhatFiltersLeft) {
  const Router router = Make(Plain({"decode-filter", "queue-scorer"}));
  Add(router, "a", {.waiting_requests = 0}, {{"llm-d.ai/role", "prefill"}});
  Add(router, "b", {.waiting_requests = 5}, {{"llm-d.ai/role", "decode"}});
  Add(router, "c", {.waiting_requests = 9});
  const Decision decision = router.Decide({}).value();
  EXPECT_EQ(decision.primary().name, "default/b");
  const auto rows = decision.explanation().profiles[0].endpoints;
  EXPECT_EQ(rows[0].dropped_by, "decode-filter");
  EXPECT_THAT(rows[0].raw, ElementsAre());
  EXPECT_THAT(rows[1].raw, ElementsAre(1.0)) << "5 is the least of the survivors";
  EXPECT_THAT(rows[2].raw, ElementsAre(0.0));
}

TEST_F(RouterTest, LoadThatIsTheLargestNumberStaysThat) {
  const Router router = Make(Plain({"queue-scorer"}));
  Add(router, "a", {.waiting_requests = UINT32_MAX, .running_requests = UINT32_MAX});
  const Decision first = router.Decide(Request{}).value();
  Add(router, "b", {.waiting_requests = 5});
  const Flight flight = router.Begin(first);
  const Decision second = router.Decide(Request{}).value();
  EXPECT_EQ(second.primary().name, "default/b");
  const auto endpoints = second.explanation().profiles[0].endpoints;
  EXPECT_EQ(endpoints[0].waiting_requests, UINT32_MAX);
  EXPECT_EQ(endpoints[0].running_requests, UINT32_MAX);
}

TEST_F(RouterTest, GivenLoadStandsForWhatTheRouterSent) {
  const Router router = Make(Plain({"queue-scorer", "kv-cache-utilization-scorer"}));
  const EndpointMetrics metrics{.waiting_requests = 1,
                                .running_requests = 1,
                                .kv_used_ratio = 0.25,
                                .kv_block_tokens = 10,
                                .kv_block_count = 100};
  Add(router, "a", metrics);
  Add(router, "b", metrics);
  const Decision first = router.Decide({}).value();
  ASSERT_EQ(first.primary().name, "default/a");
  const Flight flight = router.Begin(first);
  DecideInputs inputs{router.pool().snapshot(), 5, 42};
  EXPECT_EQ(router.Decide({}, inputs)->primary().name, "default/b") << "a has a request more";
  const std::vector<uint32_t> requests = {0, 3}, tokens = {0, 500};
  inputs.sent_requests = requests;
  inputs.sent_tokens = tokens;
  const Decision given = router.Decide({}, inputs).value();
  EXPECT_EQ(given.primary().name, "default/a");
  const auto rows = given.explanation().profiles[0].endpoints;
  EXPECT_EQ(rows[0].waiting_requests, 1u);
  EXPECT_EQ(rows[1].waiting_requests, 4u);
  EXPECT_EQ(rows[1].sent_since_sample, 3u);
  EXPECT_FLOAT_EQ(static_cast<float>(rows[1].kv_used_ratio), 0.75f);
  inputs.sent_tokens = {tokens.data(), 1};
  EXPECT_EQ(router.Decide({}, inputs).status().message(),
            "sent_requests, sent_tokens: 2 and 1 elements, expected none or one per endpoint, 2");
}

TEST_F(RouterTest, SameInputsGiveTheSameDecision) {
  const Router router = Make(Plain({"random-picker"}));
  for (const char* name : {"a", "b", "c", "d", "e"}) Add(router, name);
  const DecideInputs inputs{router.pool().snapshot(), 5, 42};
  const Decision first = router.Decide({}, inputs).value();
  for (int i = 0; i < 10; ++i) {
    const Decision again = router.Decide({}, inputs).value();
    EXPECT_EQ(again.ToJson(), first.ToJson());
  }
  EXPECT_GE(first.explanation().first_draw, 0);
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    seen.insert(std::string(router.Decide({}, {inputs.snapshot, 5, seed})->primary().name));
  }
  EXPECT_EQ(seen.size(), 5u);
}

TEST_F(RouterTest, AnEndpointNeverScrapedIsNotAttractive) {
  const Router router = Make(Plain({"queue-scorer"}));
  Add(router, "a", {.waiting_requests = 3});
  Add(router, "b", {.waiting_requests = 7});
  Add(router, "never");
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Picked(router), "default/a");
  const auto rows = router.Decide({}).value().explanation().profiles[0].endpoints;
  EXPECT_EQ(rows[2].sample_age_ms, -1);
  EXPECT_EQ(rows[2].waiting_requests, 7u);
  const Router peer = Make(Plain({"queue-scorer"}), {.unscraped = UnscrapedPolicy::kIdle});
  Add(peer, "a", {.waiting_requests = 3});
  Add(peer, "never");
  EXPECT_EQ(Picked(peer), "default/never");
}

TEST_F(RouterTest, OldSamplesCountAsNeverRead) {
  const Router router = Make(Plain({"queue-scorer"}), {.sample_age_ns_max = 2'000'000'000});
  Add(router, "old", {.waiting_requests = 0});
  clock_.Advance(2'000'000'001);
  Add(router, "new", {.waiting_requests = 3});
  Add(router, "newer", {.waiting_requests = 4});
  EXPECT_EQ(Picked(router), "default/new");
}

// A burst between two scrapes: the peer sends it all to the one server that looked idle.
TEST_F(RouterTest, ABurstBetweenTwoScrapesSpreads) {
  const auto largest_share = [&](bool count_unscraped) {
    const Router router = Make(Plain({"queue-scorer", "kv-cache-utilization-scorer"}),
                               {.count_unscraped_requests = count_unscraped});
    std::map<std::string, uint32_t> requests;
    std::vector<Endpoint> endpoints;
    for (uint32_t i = 0; i < 100; ++i) {
      endpoints.push_back(
          {.name = std::to_string(i),
           .address = "h:1",
           .metrics = {.waiting_requests = i == 17 ? 0u : 1u, .kv_used_ratio = 0.1}});
    }
    EXPECT_TRUE(router.pool().Replace(endpoints).ok());
    std::vector<Flight> flights;
    uint32_t largest = 0;
    for (int i = 0; i < 500; ++i) {
      const Decision decision = router.Decide({}).value();
      largest = std::max(largest, ++requests[std::string(decision.primary().name)]);
      flights.push_back(router.Begin(decision));
      clock_.Advance(50'000);  // 500 requests in 25 ms: no scrape in between
    }
    return largest;
  };
  EXPECT_EQ(largest_share(false), 500u);
  EXPECT_LE(largest_share(true), 7u);
}

TEST_F(RouterTest, ASampleForgetsWhatItKnows) {
  const Router router = Make(Plain({"queue-scorer"}));
  const EndpointId a = Add(router, "a", {.waiting_requests = 0});
  Add(router, "b", {.waiting_requests = 1});
  Flight flight;
  {
    const Decision decision = router.Decide({}).value();
    flight = router.Begin(decision);
  }
  const auto shown = [&] {
    return router.Decide({}).value().explanation().profiles[0].endpoints[0];
  };
  EXPECT_EQ(shown().waiting_requests, 1u);
  EXPECT_EQ(shown().sent_since_sample, 1u);
  router.pool().SampleStarted(a);
  EXPECT_EQ(shown().sent_since_sample, 1u);
  router.pool().ApplySamples(std::vector<MetricsUpdate>{{a, {.waiting_requests = 0}}});
  EXPECT_EQ(shown().waiting_requests, 0u);
  EXPECT_EQ(router.pool().in_flight(a), 1u);
  flight.Finish();
  EXPECT_EQ(router.pool().in_flight(a), 0u);
}

TEST_F(RouterTest, ReleasedDecisionsKeepNoOldPool) {
  const Router router = Make(Plain({"queue-scorer"}));
  Add(router, "a");
  std::vector<std::weak_ptr<const PoolSnapshot>> pools;
  {
    std::vector<Decision> decisions;
    for (uint32_t i = 0; i < 4; ++i) {
      pools.push_back(router.pool().snapshot());
      decisions.push_back(router.Decide({}).value());
      Add(router, "a");
    }
    EXPECT_FALSE(pools[0].expired());
  }
  for (const auto& pool : pools) EXPECT_TRUE(pool.expired());
}

TEST_F(RouterTest, AFlightCountsAtThePicksOfAllProfiles) {
  std::string yaml = Pipeline("- {type: thorough-handler}\n- {type: queue-scorer}\n", "");
  for (uint32_t profile = 0; profile < kProfilesMax; ++profile) {
    const std::string name =
        profile == 0 ? "" : "- name: p" + std::to_string(profile) + "\n  plugins:\n";
    yaml += name + "  - {pluginRef: queue-scorer}\n";
  }
  const Router router = Make(yaml);
  const EndpointId a = Add(router, "a");
  Flight flight = router.Begin(router.Decide({}).value());
  EXPECT_EQ(router.pool().in_flight(a), kProfilesMax);
  flight.Finish();
  EXPECT_EQ(router.pool().in_flight(a), 0u);
}

TEST_F(RouterTest, FlightsEndOnEveryPath) {
  const Router router = Make(Plain({"active-request-scorer", "token-load-scorer"}));
  const EndpointId a = Add(router, "a");
  const std::string body = R"({"prompt":"Hello, world!"})";
  const Request request = ParseOpenAi("/v1/completions", body).value();
  {
    const Decision decision = router.Decide(request).value();
    Flight dropped = router.Begin(decision);
    Flight moved = std::move(dropped);
    EXPECT_FALSE(dropped);
    EXPECT_EQ(router.pool().in_flight(a), 1u);
    moved.FirstToken();
    moved.FirstToken();
    Flight other = router.Begin(decision);
    other = std::move(moved);
    other.Finish({.prompt_tokens = 4, .output_tokens = 2});
    other.Finish();
    EXPECT_FALSE(other);
  }
  const RouterStats stats = router.stats();
  EXPECT_EQ(stats.flights_begun, 2u);
  EXPECT_EQ(stats.flights_ended, 2u);
  EXPECT_EQ(router.pool().in_flight(a), 0u);
  EXPECT_DOUBLE_EQ(router.Decide(request)->explanation().profiles[0].endpoints[0].total,
                   1.0 + 1.0 - 4.0 / 4194304)
      << "nothing is left in the producers";
}

TEST_F(RouterTest, BeginsAfterTheRequestIsGone) {
  const Router router = Make(Plain({"token-load-scorer", "round-robin-picker"}));
  Add(router, "a");
  Decision decision;
  {
    const std::string body = R"({"model":"m","prompt":"Hello, world!"})";
    decision = router.Decide(ParseOpenAi("/v1/completions", body).value()).value();
    decision.ReleaseRequest();
  }
  Flight flight = router.Begin(decision);
  EXPECT_EQ(decision.explanation().model, "m");
  EXPECT_EQ(decision.explanation().prompt_tokens, 4u);
}

// An endpoint may go between Decide and Begin. Its slot is then free for another one, which must
// not start with the load and the prefixes of a request that it never gets.
TEST_F(RouterTest, AFlightToAnEndpointThatIsGoneLeavesNothingBehind) {
  const Router router = Make(Plain({"active-request-scorer", "prefix-cache-scorer"}));
  const EndpointId a = Add(router, "a");
  const std::string body = R"({"model":"m","prompt":")" + std::string(2048, 'x') + "\"}";
  const Request request = ParseOpenAi("/v1/completions", body).value();
  const Decision decision = router.Decide(request).value();
  ASSERT_TRUE(router.pool().Remove("a", "default").ok());
  Flight flight = router.Begin(decision);
  EXPECT_TRUE(flight);
  flight.FirstToken();
  EXPECT_EQ(Add(router, "b").slot, a.slot);
  const auto scores = [&] {
    return router.Decide(request).value().explanation().profiles[0].endpoints[0].raw;
  };
  EXPECT_THAT(scores(), ElementsAre(1.0, 0.0));
  flight.Finish();
  EXPECT_THAT(scores(), ElementsAre(1.0, 0.0));
  EXPECT_EQ(router.stats().flights_begun, router.stats().flights_ended);
}

TEST_F(RouterTest, LongNamesAreCutInExplanations) {
  const Router router = Make(Plain({"queue-scorer"}));
  Add(router, "a");
  const std::string id(kNameBytesMax, 'i'), model(1 << 20, 'm');
  Request request;
  request.id = id;
  request.model = model;
  const Explanation why = router.Decide(request).value().explanation();
  EXPECT_EQ(why.request_id, id);
  EXPECT_EQ(why.model, model.substr(0, kNameBytesMax));
}

TEST_F(RouterTest, AGivenSnapshotIsNotKeptForTheNextDecision) {
  const Router router = Make(Plain({"queue-scorer"}));
  const Router other = Make(Plain({"queue-scorer"}));
  Add(router, "a");
  Add(other, "x");
  const auto foreign = other.pool().snapshot();
  ASSERT_EQ(foreign->version(), router.pool().snapshot()->version());
  EXPECT_EQ(router.Decide({}, {foreign, 5, 1})->primary().name, "default/x");
  EXPECT_EQ(Picked(router), "default/a");
}

TEST_F(RouterTest, DecideAndFlightAllocateNothingInSteadyState) {
  const Router router = Make(Pipeline(
      "- {type: decode-filter}\n- {type: queue-scorer}\n- {type: kv-cache-utilization-scorer}\n"
      "- {type: token-load-scorer}\n- {type: active-request-scorer}\n"
      "- {type: max-score-picker, parameters: {maxNumOfEndpoints: 3}}\n",
      "  - {pluginRef: decode-filter}\n  - {pluginRef: queue-scorer}\n"
      "  - {pluginRef: kv-cache-utilization-scorer}\n  - {pluginRef: token-load-scorer}\n"
      "  - {pluginRef: active-request-scorer}\n  - {pluginRef: max-score-picker}\n"));
  for (char name = 'a'; name <= 'z'; ++name) {
    Add(router, std::string(1, name), {.waiting_requests = 1},
        {{"llm-d.ai/role", name == 'a' ? "prefill" : "decode"}});
  }
  const std::string body = R"({"messages":[{"role":"user","content":"Hello"}]})";
  const Request request = ParseOpenAi("/v1/chat/completions", body).value();
  const auto route = [&] {
    auto decision = router.Decide(request);
    Flight flight = router.Begin(*decision);
    flight.FirstToken();
    flight.Finish({.prompt_tokens = 3});
    router.Record(*std::move(decision));
  };
  for (int i = 0; i < 100; ++i) route();
  {
    testing::AllocationForbidden guard;
    for (int i = 0; i < 100; ++i) route();
  }
  EXPECT_EQ(router.stats().decisions, 200u);
}

TEST_F(RouterTest, TheDefaultPipelineFollowsThePrefix) {
  RouterOptions options;
  options.clock = &clock_;
  options.seed = 3;
  const Router router = Router::Default(options).value();
  std::vector<Endpoint> endpoints;
  for (int i = 0; i < 100; ++i) {
    endpoints.push_back({.name = std::to_string(i),
                         .address = "h:1",
                         .metrics = {.waiting_requests = 0, .kv_used_ratio = 0.1}});
  }
  ASSERT_TRUE(router.pool().Replace(endpoints).ok());
  const auto prompt = [](char text) {
    return R"({"model":"m","prompt":")" + std::string(64 * 4 * 8, text) + "\"}";
  };
  const std::string first_body = prompt('a'), second_body = prompt('b');
  const Request first = ParseOpenAi("/v1/completions", first_body).value();
  const Request second = ParseOpenAi("/v1/completions", second_body).value();
  const auto route = [&](const Request& request) {
    const Decision decision = router.Decide(request).value();
    router.Begin(decision).Finish();
    return std::string(decision.primary().name);
  };
  const std::string holder = route(first);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(route(first), holder);
  EXPECT_NE(route(second), holder) << "drawn among a hundred equals";
  const Explanation why = router.Decide(first).value().explanation();
  for (const auto& row : why.profiles[0].endpoints) {
    EXPECT_DOUBLE_EQ(row.raw[2], row.name == holder ? 1.0 : 0.0) << row.name;
  }
  EXPECT_EQ(why.prompt_tokens, 512u);
  for (int i = 0; i < 50; ++i) route(second);
  {
    testing::AllocationForbidden guard;
    for (int i = 0; i < 50; ++i) {
      auto decision = router.Decide(first);
      Flight flight = router.Begin(*decision);
      flight.FirstToken();
      flight.Finish({.prompt_tokens = 512, .cached_tokens = 496});
    }
  }
}

TEST_F(RouterTest, BadScoresAreCountedAndHarmless) {
  const Router router = Make(Plain({"nan-scorer", "throwing-scorer", "mood-scorer"}));
  Add(router, "a");
  Add(router, "b");
  EXPECT_EQ(Picked(router), "default/b");
  const auto why = router.Decide({}).value().explanation().profiles[0];
  EXPECT_DOUBLE_EQ(why.endpoints[0].total, 0.5);
  EXPECT_DOUBLE_EQ(why.endpoints[1].total, 1.5);
  EXPECT_EQ(why.scorers[0].nan_scores, 1u);
  EXPECT_TRUE(why.scorers[1].failed);
  EXPECT_EQ(Count(router, "nan-scorer", &RouterStats::Plugin::invalid_results), 2u);
  EXPECT_EQ(Count(router, "throwing-scorer", &RouterStats::Plugin::failures), 2u);
  EXPECT_THAT(log_, HasSubstr("plugin \"throwing-scorer\": score failed with internal"));
}

TEST_F(RouterTest, BadFiltersAreCountedAndHarmless) {
  const Router router =
      Make(Plain({"throwing-filter", "drop-first-filter", "greedy-filter", "round-robin-picker"}));
  Add(router, "a");
  Add(router, "b");
  EXPECT_EQ(Picked(router), "default/b") << "the dropped one stays dropped";
  EXPECT_EQ(Count(router, "throwing-filter", &RouterStats::Plugin::failures), 1u);
  EXPECT_EQ(Count(router, "greedy-filter", &RouterStats::Plugin::invalid_results), 1u);
}

TEST_F(RouterTest, BadPicksAreDroppedAndCounted) {
  const Router router = Make(Plain({"wild-picker"}));
  Add(router, "a");
  Add(router, "b");
  const Decision decision = router.Decide({}).value();
  EXPECT_EQ(decision.targets().size(), 1u);
  EXPECT_EQ(decision.primary().name, "default/a");
  EXPECT_GE(Count(router, "wild-picker", &RouterStats::Plugin::invalid_results), 3u);
}

TEST_F(RouterTest, BadProducersLeaveTheirColumnsEmpty) {
  const Router failing = Make(Plain({"failing-producer", "mood-scorer"}));
  Add(failing, "a");
  EXPECT_DOUBLE_EQ(failing.Decide({})->explanation().profiles[0].endpoints[0].total, 0.5);
  EXPECT_EQ(Count(failing, "failing-producer", &RouterStats::Plugin::failures), 1u);
  const Router greedy = Make(Plain({"greedy-producer", "mood-scorer"}));
  Add(greedy, "a");
  EXPECT_EQ(Picked(greedy), "resource_exhausted") << "kArenaBytesMax";
}

TEST_F(RouterTest, WhoRequiresAColumnIsNotAskedWithoutIt) {
  const Router router =
      Make(Plain({"failing-producer", "needy-filter", "needy-scorer", "queue-scorer"}));
  Add(router, "a");
  Add(router, "b");
  const Decision decision = router.Decide({}).value();
  const Explanation& why = decision.explanation();
  EXPECT_EQ(why.profiles[0].endpoints.size(), 2u) << "the filter dropped nothing";
  EXPECT_TRUE(why.profiles[0].scorers[0].failed);
  EXPECT_FALSE(why.profiles[0].scorers[1].failed);
  for (const char* plugin : {"failing-producer", "needy-filter", "needy-scorer"}) {
    EXPECT_EQ(Count(router, plugin, &RouterStats::Plugin::failures), 1u) << plugin;
  }
  const Router picked_by = Make(Plain({"failing-producer", "needy-picker"}));
  Add(picked_by, "a");
  EXPECT_FALSE(picked_by.Decide({}).ok());
  EXPECT_EQ(Count(picked_by, "needy-picker", &RouterStats::Plugin::failures), 1u);
}

TEST_F(RouterTest, BadProfileHandlersEnd) {
  const auto with_handler = [&](const std::string& type) {
    return Make(Pipeline("- {type: queue-scorer}\n- {type: " + type + "}\n",
                         "  - {pluginRef: queue-scorer}\n"));
  };
  const Router primary = with_handler("wrong-primary-handler");
  Add(primary, "a");
  EXPECT_EQ(Picked(primary), "internal");
  const Router endless = with_handler("endless-handler");
  Add(endless, "a");
  EXPECT_EQ(Picked(endless), "default/a");
}

TEST_F(RouterTest, WhatStandsBehindATextIsNoPartOfIt) {
  const Router router = Make(Plain({"prefix-cache-scorer"}));
  Add(router, "a");
  // One byte short of a block of 64 tokens, wherever it lies, whatever follows.
  const std::string text(255, 't');
  for (size_t offset = 0; offset < 5; ++offset) {
    SCOPED_TRACE(offset);
    const std::string bytes = std::string(offset, '<') + text + std::string(8, '0' + offset);
    const PromptPart part{.bytes = std::string_view(bytes).substr(offset, text.size())};
    const Prompt prompts[] = {{.parts = {&part, 1}}};
    Request request;
    request.model = "m";
    request.prompts = prompts;
    const Decision decision = router.Decide(request).value();
    const Explanation explanation = decision.explanation();
    EXPECT_EQ(explanation.prompt_tokens, 64u);
    EXPECT_EQ(explanation.profiles[0].endpoints[0].raw[0], offset == 0 ? 0 : 1);
    router.Begin(decision).Finish();
  }
}

TEST_F(RouterTest, RecentDecisionsAreBoundedAndNewestFirst) {
  const Router router = Make(Plain({"queue-scorer"}), {.decisions_kept = 3});
  Add(router, "a");
  for (int i = 0; i < 5; ++i) {
    const std::string id = std::to_string(i);
    Request request;
    request.id = id;
    router.Record(router.Decide(request).value());
  }
  std::vector<std::string> ids;
  for (const Explanation& one : router.RecentDecisions()) ids.push_back(one.request_id);
  EXPECT_THAT(ids, ElementsAre("4", "3", "2"));
  EXPECT_EQ(router.RecentDecisions().size(), 3u) << "reading keeps them";
}

TEST_F(RouterTest, DecidesWhileThePoolChanges) {
  const Router router = Make(Plain({"active-request-scorer", "queue-scorer"}));
  const EndpointId a = Add(router, "a");
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        auto decision = router.Decide({});
        ASSERT_TRUE(decision.ok());
        Flight flight = router.Begin(*decision);
        flight.FirstToken();
        router.Record(*std::move(decision));
      }
    });
  }
  for (uint32_t i = 0; i < 300; ++i) {
    router.pool().SampleStarted(a);
    router.pool().ApplySamples(std::vector<MetricsUpdate>{{a, {.waiting_requests = i}}});
    const std::string name = "x" + std::to_string(i % 7);
    if (i % 2 == 0) {
      Add(router, name);
    } else {
      (void)router.pool().Remove("x" + std::to_string((i - 1) % 7));
    }
    if (i % 50 == 0) (void)router.RecentDecisions();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(router.stats().flights_begun, router.stats().flights_ended);
  EXPECT_EQ(router.pool().in_flight(a), 0u);
}

TEST_F(RouterTest, TargetsAreBounded) {
  const Router router =
      Make(Pipeline("- {type: max-score-picker, parameters: {maxNumOfEndpoints: 99}}\n",
                    "  - {pluginRef: max-score-picker}\n"));
  for (uint32_t i = 0; i < kTargetsMax + 1; ++i) Add(router, std::string(1, 'a' + i));
  EXPECT_EQ(router.Decide(Request{}).value().targets().size(), kTargetsMax);
}

TEST_F(RouterTest, DecisionsThatExistAreBounded) {
  const Router router = Make(Plain({"max-score-picker"}));
  Add(router, "a");
  std::vector<Decision> held;
  for (uint32_t i = 0; i < kDecisionsMax; ++i) held.push_back(router.Decide(Request{}).value());
  const auto refused = router.Decide(Request{});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("too many decisions"));
  held.pop_back();
  EXPECT_TRUE(router.Decide(Request{}).ok());
}

TEST_F(RouterTest, MemoryIsCountedAndGivenBackAboveTheUsual) {
  const Router router = Make(Plain({"max-score-picker"}));
  Add(router, "a");
  const auto bytes = [&] { return router.stats().memory_bytes; };
  EXPECT_EQ(bytes(), 0u);
  { const Decision small = router.Decide(Request{}).value(); }
  const uint64_t usual = bytes();
  EXPECT_GE(usual, 16u << 10) << "its scratch memory stays for the next one";
  const std::string text(3 << 20, 'x');
  const PromptPart part{.bytes = std::string_view(text).substr(1)};
  const Prompt prompt{.parts = {&part, 1}};
  {
    const Decision large = router.Decide(Request{.prompts = {&prompt, 1}}).value();
    EXPECT_GE(bytes(), usual + text.size() - (64 << 10));
  }
  EXPECT_LE(bytes(), usual);
  EXPECT_TRUE(router.Decide(Request{}).ok());
}

TEST_F(RouterTest, RequestsInFlightAreBounded) {
  const Router router = Make(Plain({"max-score-picker"}));
  const EndpointId a = Add(router, "a");
  const Decision decision = router.Decide(Request{}).value();
  std::vector<Flight> flights;
  for (uint32_t i = 0; i < kFlightsMax; ++i) flights.push_back(router.Begin(decision));
  EXPECT_TRUE(flights.back());
  EXPECT_FALSE(router.Begin(decision));
  EXPECT_EQ(router.stats().flights_refused, 1u);
  flights.clear();
  EXPECT_EQ(router.pool().in_flight(a), 0u);
  EXPECT_TRUE(router.Begin(decision));
}

TEST_F(RouterTest, CountersOfAPluginAreBounded) {
  const Router router = Make(Plain({"counting-scorer"}));
  Add(router, "a");
  EXPECT_TRUE(router.Decide(Request{}).ok());
  for (const RouterStats::Plugin& plugin : router.stats().plugins) {
    if (plugin.type != "counting-scorer") continue;
    std::vector<uint64_t> expected;
    for (uint32_t i = 0; i < kPluginCountersMax; ++i) expected.push_back(i + 1);
    EXPECT_EQ(plugin.counters, expected);
    return;
  }
  FAIL() << "no such plugin";
}

TEST(RouterLimits, RequestsInFlightRememberAtMostFlightStateTotalBytesMax) {
  static_assert(kFlightStateTotalBytesMax == 4 * kFlightStateBytesMax);
  const auto load = [](uint32_t producers) {
    std::string plugins = "- {type: max-score-picker}\n";
    for (uint32_t i = 0; i < producers; ++i) {
      plugins += "- {type: inflight-load-producer, name: p" + std::to_string(i) + "}\n";
    }
    const std::string refs = "  - {pluginRef: max-score-picker}\n";
    return Router::FromText(Pipeline(plugins, refs), "test.yaml").status();
  };
  EXPECT_TRUE(load(4).ok()) << load(4);  // 64 bytes each
  EXPECT_THAT(std::string(load(5).message()),
              HasSubstr("\"p4\" asks for 64 bytes per request in flight, expected at most 64 and "
                        "256 in all"));
}

TEST(RouterOptionsTest, RefusesTooManyKeptDecisions) {
  static_assert(kDecisionsKeptMax == 1024);
  EXPECT_THAT(std::string(Router::Default({.decisions_kept = 1025}).status().message()),
              HasSubstr("decisions_kept: 1025, expected 0..1024"));
}

TEST(RouterFiles, SayWhatCannotBeRead) {
  EXPECT_EQ(Router::FromFile("/no/such.yaml").status().message(), "/no/such.yaml: cannot be read");
  // Nothing of these may pass for a file that is empty, which is the default pipeline.
  EXPECT_EQ(Router::FromFile("/").status().message(), "/: cannot be read");
  EXPECT_EQ(Router::FromFile("/proc/self/mem").status().message(), "/proc/self/mem: cannot be read")
      << "what opens and fails at the first byte";
  EXPECT_EQ(Router::FromFile(std::string("/dev/null\0x", 11)).status().message(),
            "\"/dev/null\\x00x\": no file has a zero byte in its name");
  EXPECT_TRUE(Router::FromFile("/dev/null").ok());
}

}  // namespace
}  // namespace weir
