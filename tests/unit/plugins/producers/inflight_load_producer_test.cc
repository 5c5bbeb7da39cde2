#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "plugin_harness.h"

namespace weir::testing {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A request in flight: 64 bytes of state, as the host gives them.
struct alignas(8) Flight {
  std::byte state[64] = {};
};

// inflight-load-producer over a pool of endpoints, with the columns it reads and writes.
class Producer {
 public:
  explicit Producer(uint32_t endpoint_count, const std::string& parameters = "{}")
      : harness_("inflight-load-producer", parameters),
        pool_(std::vector<KitEndpoint>(endpoint_count)),
        observer_(harness_.table<weir_observer>(WEIR_INTERFACE_OBSERVER)),
        load_(endpoint_count),
        uncached_tokens_(endpoint_count) {
    SetPrefix({});
  }

  void SetPrefix(std::vector<weir_prefix_match> prefix) {
    prefix_ = std::move(prefix);
    pool_.SetColumns({nullptr, nullptr, nullptr, prefix_.empty() ? nullptr : prefix_.data()});
  }
  void Produce(KitRequestView& request) {
    EXPECT_EQ(
        harness_.Produce(pool_, request, {load_.data(), uncached_tokens_.data(), nullptr, nullptr}),
        WEIR_OK);
  }
  Flight Begin(KitRequestView& request, std::vector<uint32_t> targets,
               std::vector<std::string> profiles = {"default"}) {
    profiles.resize(targets.size(), "other");
    std::vector<weir_str> names;
    for (const std::string& profile : profiles) names.push_back(plugin_check::Str(profile));
    const weir_choice choice = {sizeof(weir_choice), static_cast<uint32_t>(targets.size()),
                                targets.data(), targets.data(), names.data()};
    const weir_call* call = harness_.host().Begin(pool_, request);
    Flight flight;
    AllocationForbidden guard;
    observer_.begin(harness_.self(), call, &request.raw(), &pool_.batch(), &choice, nullptr,
                    flight.state);
    return flight;
  }
  void FirstToken(Flight& flight) {
    AllocationForbidden guard;
    observer_.first_token(harness_.self(), flight.state);
  }
  void End(Flight& flight) {
    const weir_usage usage = {sizeof(weir_usage), WEIR_END_COMPLETED, -1, -1, -1};
    AllocationForbidden guard;
    observer_.end(harness_.self(), flight.state, &usage);
  }
  void EndpointRemoved(uint32_t slot) { observer_.endpoint_removed(harness_.self(), slot); }

  // {requests, tokens} of an endpoint.
  std::pair<int64_t, int64_t> Load(uint32_t endpoint) {
    KitRequestView request{KitRequest{}};
    Produce(request);
    return {load_[endpoint].requests, load_[endpoint].tokens};
  }
  const std::vector<int64_t>& uncached_tokens() const { return uncached_tokens_; }
  KitHost& host() { return harness_.host(); }

 private:
  PluginHarness harness_;
  KitPool pool_;
  const weir_observer& observer_;
  std::vector<weir_in_flight_load> load_;
  std::vector<int64_t> uncached_tokens_;
  std::vector<weir_prefix_match> prefix_;
};

KitRequestView RequestOfTokens(size_t token_count, int64_t max_output_tokens = -1) {
  return KitRequestView(KitRequest{.max_output_tokens = max_output_tokens,
                                   .prompts = {{}},
                                   .tokens = {std::vector<uint32_t>(token_count, 7)}});
}

using Pair = std::pair<int64_t, int64_t>;

TEST(InflightLoadProducer, Goldens) {
  for (const json& one : Golden("inflight_load")) {
    SCOPED_TRACE(one["id"].get<std::string>());
    Producer producer(one["uncached_tokens"].size(),
                      one.value("parameters", json::object()).dump());
    std::vector<weir_prefix_match> prefix;
    for (const json& match : one.value("prefix", json::array())) {
      prefix.push_back({match["matched"], match["total"], match["block"], 0});
    }
    producer.SetPrefix(prefix);
    KitRequestView request =
        RequestOfTokens(one["input_tokens"], one.value("max_output_tokens", -1));
    producer.Produce(request);
    EXPECT_EQ(json(producer.uncached_tokens()), one["uncached_tokens"]);
  }
}

TEST(InflightLoadProducer, GivesTokensBackAtTheFirstTokenAndRequestsAtTheEnd) {
  Producer producer(2);
  KitRequestView request = RequestOfTokens(100);
  Flight flight = producer.Begin(request, {1});
  EXPECT_EQ(producer.Load(1), Pair(1, 100));
  EXPECT_EQ(producer.Load(0), Pair(0, 0));
  producer.FirstToken(flight);
  EXPECT_EQ(producer.Load(1), Pair(1, 0));
  producer.End(flight);
  EXPECT_EQ(producer.Load(1), Pair(0, 0));
}

TEST(InflightLoadProducer, KeepsTokensToTheEndWithOutputEstimates) {
  Producer producer(1, R"({"addEstimatedOutputTokens": true, "outputRatio": 1})");
  KitRequestView request = RequestOfTokens(100);
  Flight flight = producer.Begin(request, {0});
  producer.FirstToken(flight);
  EXPECT_EQ(producer.Load(0), Pair(1, 200));
  producer.End(flight);
  EXPECT_EQ(producer.Load(0), Pair(0, 0));
}

TEST(InflightLoadProducer, ReleasesAPrefillWorkerAtTheFirstToken) {
  for (const char* parameters : {"{}", R"({"addEstimatedOutputTokens": true, "outputRatio": 0})"}) {
    Producer producer(2, parameters);
    KitRequestView request = RequestOfTokens(100);
    Flight flight = producer.Begin(request, {0, 1}, {"decode", "prefill"});
    EXPECT_EQ(producer.Load(0), Pair(1, 100));
    EXPECT_EQ(producer.Load(1), Pair(1, 100));
    producer.FirstToken(flight);
    EXPECT_EQ(producer.Load(0).first, 1);
    EXPECT_EQ(producer.Load(1), Pair(0, 0));
    producer.End(flight);
    EXPECT_EQ(producer.Load(0), Pair(0, 0));
    EXPECT_EQ(producer.Load(1), Pair(0, 0));
  }
}

TEST(InflightLoadProducer, EndWithoutFirstTokenReleasesAll) {
  Producer producer(1);
  KitRequestView request = RequestOfTokens(100);
  Flight flight = producer.Begin(request, {0});
  producer.End(flight);
  EXPECT_EQ(producer.Load(0), Pair(0, 0));
}

TEST(InflightLoadProducer, CountsWhatThePrefixCacheLeaves) {
  Producer producer(2);
  producer.SetPrefix({{0, 10, 10, 0}, {9, 10, 10, 0}});
  KitRequestView request = RequestOfTokens(100);
  Flight flight = producer.Begin(request, {1});
  EXPECT_EQ(producer.Load(1), Pair(1, 10));
  producer.End(flight);
}

TEST(InflightLoadProducer, CountsUpToSevenProfiles) {
  Producer producer(8);
  KitRequestView request = RequestOfTokens(10);
  Flight flight = producer.Begin(request, {0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(producer.Load(6), Pair(1, 10));
  EXPECT_EQ(producer.Load(7), Pair(0, 0));
  EXPECT_EQ(producer.host().counter(0), 1u);
  producer.End(flight);
  for (uint32_t i = 0; i < 8; ++i) EXPECT_EQ(producer.Load(i), Pair(0, 0));
}

TEST(InflightLoadProducer, ARemovedEndpointStartsFromZero) {
  Producer producer(1);
  KitRequestView request = RequestOfTokens(100);
  producer.Begin(request, {0});
  EXPECT_EQ(producer.Load(0), Pair(1, 100));
  producer.EndpointRemoved(0);
  EXPECT_EQ(producer.Load(0), Pair(0, 0));
}

TEST(InflightLoadProducer, BalancesUnderConcurrentFlights) {
  PluginHarness harness("inflight-load-producer");
  const auto& observer = harness.table<weir_observer>(WEIR_INTERFACE_OBSERVER);
  const auto run = [&] {
    KitHost host;
    KitPool pool(std::vector<KitEndpoint>(3));
    pool.SetColumns({nullptr, nullptr, nullptr, nullptr});
    KitRequestView request = RequestOfTokens(10);
    const weir_usage usage = {sizeof(weir_usage), WEIR_END_COMPLETED, -1, -1, -1};
    const weir_str name = plugin_check::Str("default");
    for (uint32_t i = 0; i < 2000; ++i) {
      const uint32_t target = i % 3;
      const weir_choice choice = {sizeof(weir_choice), 1, &target, &target, &name};
      Flight flight;
      observer.begin(harness.self(), host.Begin(pool, request), &request.raw(), &pool.batch(),
                     &choice, nullptr, flight.state);
      if (i % 2 == 0) observer.first_token(harness.self(), flight.state);
      observer.end(harness.self(), flight.state, &usage);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(run);
  for (std::thread& thread : threads) thread.join();
  KitPool pool(std::vector<KitEndpoint>(3));
  pool.SetColumns({nullptr, nullptr, nullptr, nullptr});
  std::vector<weir_in_flight_load> load(3, {9, 9});
  std::vector<int64_t> uncached(3);
  KitRequestView request = RequestOfTokens(10);
  ASSERT_EQ(harness.Produce(pool, request, {load.data(), uncached.data(), nullptr, nullptr}),
            WEIR_OK);
  for (const weir_in_flight_load& one : load) EXPECT_EQ(Pair(one.requests, one.tokens), Pair(0, 0));
}

TEST(InflightLoadProducer, RefusesNegativeParameters) {
  EXPECT_THAT(PluginHarness::CreateError("inflight-load-producer", R"({"outputRatio": -0.5})"),
              HasSubstr("outputRatio: negative"));
  EXPECT_THAT(
      PluginHarness::CreateError("inflight-load-producer", R"({"maxEstimatedOutputTokens": -1})"),
      HasSubstr("maxEstimatedOutputTokens: -1, expected >= 0"));
}

}  // namespace
}  // namespace weir::testing
