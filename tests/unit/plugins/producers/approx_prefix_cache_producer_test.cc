#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "plugin_harness.h"

namespace weir::testing {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kType = "approx-prefix-cache-producer";

// A request in flight: 64 bytes of state, as the host gives them.
struct alignas(8) Flight {
  std::byte state[64] = {};
};

std::vector<uint32_t> Tokens(uint32_t first, size_t count) {
  std::vector<uint32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

KitRequest RequestOf(std::vector<std::vector<uint32_t>> prompts) {
  KitRequest request;
  request.prompts.resize(prompts.size());
  request.tokens = std::move(prompts);
  return request;
}

// The producer over a pool of endpoints whose slots are their indices.
class Producer {
 public:
  explicit Producer(const std::vector<KitEndpoint>& endpoints, const std::string& parameters = "{}")
      : harness_(kType, parameters),
        producer_(harness_.table<weir_producer>(WEIR_INTERFACE_PRODUCER)),
        observer_(harness_.table<weir_observer>(WEIR_INTERFACE_OBSERVER)) {
    SetEndpoints(endpoints);
  }
  explicit Producer(uint32_t endpoint_count, const std::string& parameters = "{}")
      : Producer(std::vector<KitEndpoint>(endpoint_count), parameters) {}

  void SetEndpoints(const std::vector<KitEndpoint>& endpoints) {
    pool_ = std::make_unique<KitPool>(endpoints);
  }

  weir_code TryProduce(const KitRequest& made) {
    request_ = std::make_unique<KitRequestView>(made);
    call_ = harness_.host().Begin(*pool_, *request_);
    matches_.assign(pool_->count(), weir_prefix_match{});
    pool_->SetColumns({matches_.data(), nullptr});
    state_.assign(producer_.request_state_bytes / 8, 0);
    void* columns[] = {matches_.data(), nullptr};
    AllocationForbidden guard;
    return producer_.produce(harness_.self(), call_, &request_->raw(), &pool_->batch(), columns,
                             state_.data());
  }
  // Leaves the decision open for Begin.
  const std::vector<weir_prefix_match>& Produce(const KitRequest& made) {
    EXPECT_EQ(TryProduce(made), WEIR_OK);
    return matches_;
  }
  std::vector<uint32_t> Matched(const KitRequest& made) {
    std::vector<uint32_t> matched;
    for (const weir_prefix_match& match : Produce(made)) matched.push_back(match.matched_blocks);
    return matched;
  }

  // Sends the request of the last Produce. The first profile is called "default".
  Flight Begin(std::vector<uint32_t> targets, const char* other_profile = "prefill") {
    std::vector<weir_str> names(targets.size(), plugin_check::Str(other_profile));
    names[0] = plugin_check::Str("default");
    const weir_choice choice = {sizeof(weir_choice), static_cast<uint32_t>(targets.size()),
                                targets.data(), targets.data(), names.data()};
    Flight flight;
    AllocationForbidden guard;
    observer_.begin(harness_.self(), call_, &request_->raw(), &pool_->batch(), &choice,
                    state_.data(), flight.state);
    return flight;
  }
  void Send(const KitRequest& made, uint32_t target) {
    Produce(made);
    Begin({target});
  }
  void FirstToken(Flight& flight) { observer_.first_token(harness_.self(), flight.state); }
  void End(Flight& flight, uint32_t end) {
    const weir_usage usage = {sizeof(weir_usage), end, -1, -1, -1};
    AllocationForbidden guard;
    observer_.end(harness_.self(), flight.state, &usage);
  }
  void EndpointRemoved(uint32_t slot) { observer_.endpoint_removed(harness_.self(), slot); }
  PluginHarness& harness() { return harness_; }

 private:
  PluginHarness harness_;
  const weir_producer& producer_;
  const weir_observer& observer_;
  std::unique_ptr<KitPool> pool_;
  std::unique_ptr<KitRequestView> request_;
  const weir_call* call_ = nullptr;
  std::vector<weir_prefix_match> matches_;
  std::vector<uint64_t> state_;
};

TEST(ApproxPrefixCacheProducer, Goldens) {
  for (const json& one : Golden("approx_prefix")) {
    SCOPED_TRACE(one["id"].get<std::string>());
    Producer producer(one["endpoint_count"].get<uint32_t>(),
                      one.value("parameters", json::object()).dump());
    for (const json& step : one["steps"]) {
      SCOPED_TRACE(step.dump());
      auto tokens = Tokens(step["first"], step["count"]);
      const auto rest = Tokens(step.value("then", 0u), step.value("then_count", 0u));
      tokens.insert(tokens.end(), rest.begin(), rest.end());
      const auto& matches = producer.Produce(RequestOf({tokens}));
      for (size_t i = 0; i < matches.size(); ++i) {
        EXPECT_EQ(json({matches[i].matched_blocks, matches[i].total_blocks}), step["expect"][i]);
        EXPECT_EQ(matches[i].block_tokens, step.value("block", 64u));
      }
      if (step.contains("send_to")) producer.Begin({step["send_to"].get<uint32_t>()});
    }
  }
}

TEST(ApproxPrefixCacheProducer, ModelsAndSaltsDoNotShare) {
  Producer producer(1);
  KitRequest request = RequestOf({Tokens(1, 640)});
  producer.Send(request, 0);
  EXPECT_THAT(producer.Matched(request), ElementsAre(10));
  request.cache_salt = "tenant";
  EXPECT_THAT(producer.Matched(request), ElementsAre(0));
  request.cache_salt.clear();
  request.model = "m-lora";
  EXPECT_THAT(producer.Matched(request), ElementsAre(0));
}

TEST(ApproxPrefixCacheProducer, SumsPromptsOfOneRequest) {
  Producer producer(2);
  producer.Send(RequestOf({Tokens(1, 128)}), 0);
  producer.Send(RequestOf({Tokens(5000, 192)}), 1);
  const auto both = RequestOf({Tokens(1, 128), {}, Tokens(5000, 192), Tokens(9000, 64)});
  const auto& matches = producer.Produce(both);
  EXPECT_EQ(matches[0].matched_blocks, 2u);
  EXPECT_EQ(matches[1].matched_blocks, 3u);
  EXPECT_EQ(matches[0].total_blocks, 6u);
  producer.Begin({0});
  EXPECT_THAT(producer.Matched(both), ElementsAre(6, 3));
}

TEST(ApproxPrefixCacheProducer, RequestsWithoutTokensMatchNothing) {
  Producer producer(2);
  const auto& matches = producer.Produce(RequestOf({}));
  EXPECT_EQ(matches[1].total_blocks, 0u);
  EXPECT_EQ(matches[1].block_tokens, 64u);
  Flight flight = producer.Begin({1});
  producer.End(flight, WEIR_END_FAILED);
}

TEST(ApproxPrefixCacheProducer, APrefillProfileGetsTheBlocksToo) {
  Producer producer(3);
  const auto request = RequestOf({Tokens(1, 640)});
  producer.Produce(request);
  producer.Begin({0, 2});
  EXPECT_THAT(producer.Matched(request), ElementsAre(10, 0, 10));
  Producer other(3);
  other.Produce(request);
  other.Begin({0, 2}, "encode");
  EXPECT_THAT(other.Matched(request), ElementsAre(10, 0, 0));
}

TEST(ApproxPrefixCacheProducer, AFailedRequestIsForgottenAServedOneIsNot) {
  Producer producer(2);
  const auto first = RequestOf({Tokens(1, 640)});
  const auto longer = RequestOf({Tokens(1, 1280)});
  producer.Send(first, 0);
  producer.Produce(longer);
  Flight failed = producer.Begin({0, 1});
  EXPECT_THAT(producer.Matched(longer), ElementsAre(20, 20));
  producer.End(failed, WEIR_END_FAILED);
  EXPECT_THAT(producer.Matched(longer), ElementsAre(10, 0)) << "what was held before stays";

  producer.Produce(longer);
  Flight broken_off = producer.Begin({0});
  producer.FirstToken(broken_off);
  producer.End(broken_off, WEIR_END_FAILED);
  EXPECT_THAT(producer.Matched(longer), ElementsAre(20, 0)) << "the engine computed the prompt";

  producer.Produce(longer);
  Flight left = producer.Begin({1});
  producer.End(left, WEIR_END_CLIENT_GONE);
  EXPECT_THAT(producer.Matched(longer), ElementsAre(20, 20));
}

TEST(ApproxPrefixCacheProducer, RemembersAsManyTokensAsTheEngineHolds) {
  const KitEndpoint engine = {.kv_block_tokens = 16, .kv_block_count = 40};  // 640 tokens
  Producer producer({engine, {}});
  producer.Send(RequestOf({Tokens(1, 640)}), 0);
  producer.Send(RequestOf({Tokens(5000, 320)}), 0);
  EXPECT_THAT(producer.Matched(RequestOf({Tokens(1, 640)})), ElementsAre(5, 0));
  EXPECT_THAT(producer.Matched(RequestOf({Tokens(5000, 320)})), ElementsAre(5, 0));

  // The engine restarts with less memory; the next request shrinks what is remembered.
  producer.SetEndpoints({{.kv_block_tokens = 16, .kv_block_count = 24}, {}});
  producer.Send(RequestOf({Tokens(5000, 320)}), 0);
  EXPECT_THAT(producer.Matched(RequestOf({Tokens(1, 640)})), ElementsAre(1, 0));
  // It reports nothing for a while: what is known stays.
  producer.SetEndpoints({{}, {}});
  producer.Send(RequestOf({Tokens(1, 640)}), 0);
  EXPECT_THAT(producer.Matched(RequestOf({Tokens(1, 640)})), ElementsAre(6, 0));
}

TEST(ApproxPrefixCacheProducer, WithoutAutoTuneReportsOfEnginesDoNotMatter) {
  Producer producer({{.kv_block_tokens = 128, .kv_block_count = 1}}, R"({"autoTune": false})");
  producer.Send(RequestOf({Tokens(1, 640)}), 0);
  EXPECT_THAT(producer.Matched(RequestOf({Tokens(1, 640)})), ElementsAre(10));
}

TEST(ApproxPrefixCacheProducer, TheBlockSizeDoesNotDependOnTheOrderOfCandidates) {
  const KitEndpoint small = {.kv_block_tokens = 16}, large = {.kv_block_tokens = 128};
  Producer producer({small, large});
  const auto request = RequestOf({Tokens(1, 1280)});
  EXPECT_EQ(producer.Produce(request)[0].block_tokens, 128u);
  producer.Begin({0});
  producer.SetEndpoints({large, small});
  EXPECT_THAT(producer.Matched(request), ElementsAre(10, 0));
  producer.SetEndpoints({small, small});
  EXPECT_THAT(producer.Matched(request), ElementsAre(10, 0)) << "a subset of candidates";
  // A report beyond reason changes nothing.
  producer.SetEndpoints({{.kv_block_tokens = 1u << 31, .kv_block_count = 1u << 31}, small});
  EXPECT_THAT(producer.Matched(request), ElementsAre(10, 0));
  producer.Send(request, 0);
}

TEST(ApproxPrefixCacheProducer, UntilAnEngineReportsTheParameterCounts) {
  Producer producer(1, R"({"blockSizeTokens": 100})");
  EXPECT_EQ(producer.Produce(RequestOf({}))[0].block_tokens, 100u);
  producer.SetEndpoints({{.kv_block_tokens = 16}});
  EXPECT_EQ(producer.Produce(RequestOf({}))[0].block_tokens, 64u);
}

TEST(ApproxPrefixCacheProducer, AnEndpointThatLeavesIsForgotten) {
  Producer producer({{.kv_block_tokens = 16, .kv_block_count = 40}, {}});
  producer.Send(RequestOf({Tokens(1, 640)}), 0);
  producer.EndpointRemoved(0);
  producer.EndpointRemoved(1u << 20);
  EXPECT_THAT(producer.Matched(RequestOf({Tokens(1, 640)})), ElementsAre(0, 0));
  // The slot's next owner does not inherit the capacity either.
  producer.SetEndpoints({{}, {}});
  producer.Send(RequestOf({Tokens(1, 6400)}), 0);
  EXPECT_THAT(producer.Matched(RequestOf({Tokens(1, 6400)})), ElementsAre(100, 0));
}

TEST(ApproxPrefixCacheProducer, CountsBlocksAndMatches) {
  Producer producer(2);
  producer.Send(RequestOf({Tokens(1, 640)}), 1);
  producer.Send(RequestOf({Tokens(1, 1280)}), 1);
  EXPECT_EQ(producer.harness().host().counter(0), 30u);
  EXPECT_EQ(producer.harness().host().counter(1), 10u);
}

TEST(ApproxPrefixCacheProducer, RefusesParametersOutOfRange) {
  const auto Error = [](const std::string& parameters) {
    return PluginHarness::CreateError(kType, parameters);
  };
  EXPECT_THAT(Error(R"({"autoTune": false, "blockSizeTokens": 0})"),
              HasSubstr("blockSizeTokens: 0, expected 1..1048576"));
  EXPECT_THAT(Error(R"({"autoTune": false, "blockSize": -1})"), HasSubstr("blockSize: -1"));
  EXPECT_THAT(Error(R"({"blockSizeTokens": 1048577})"), HasSubstr("blockSizeTokens: 1048577"));
  EXPECT_THAT(Error(R"({"maxPrefixTokensToMatch": -1})"), HasSubstr("expected >= 0"));
  EXPECT_THAT(Error(R"({"maxPrefixBlocksToMatch": -1})"), HasSubstr("maxPrefixBlocksToMatch: -1"));
  EXPECT_THAT(Error(R"({"lruCapacityPerServer": -1})"), HasSubstr("lruCapacityPerServer: -1"));
  EXPECT_THAT(Error(R"({"memoryBytesMax": 1000})"), HasSubstr("memoryBytesMax: 1000, expected"));
  EXPECT_THAT(Error(R"({"compat": "llmd"})"), HasSubstr("\"llmd\", expected \"llm-d\""));
  EXPECT_THAT(Error(R"({"autoTune": "yes"})"), HasSubstr("autoTune"));
}

TEST(ApproxPrefixCacheProducer, WarnsOfDeprecatedParameters) {
  Producer producer(1, R"({"blockSize": 80, "maxPrefixBlocksToMatch": 5})");
  EXPECT_THAT(producer.harness().host().log(),
              ElementsAre(HasSubstr("blockSizeTokens"), HasSubstr("maxPrefixTokensToMatch")));
}

TEST(ApproxPrefixCacheProducer, FailsCleanlyWithoutMemory) {
  Producer producer(1);
  producer.harness().host().SetArenaBytesMax(64);
  EXPECT_EQ(producer.TryProduce(RequestOf({Tokens(1, 6400)})), WEIR_INTERNAL);
}

}  // namespace
}  // namespace weir::testing
