#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <optional>

#include "params_schema.h"
#include "weir/limits.h"
#include "weir/plugin/producer.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::Choice;
using weir::plugin::Output;
using weir::plugin::Params;
using weir::plugin::Request;

constexpr uint64_t kTokensMax = 1'000'000'000'000'000;  // keeps sums inside 64 bits
constexpr std::string_view kPrefillProfile = "prefill";

// Counter of profiles of one request beyond kLegsMax, which are not counted as load.
constexpr uint32_t kCounterLegsDropped = 0;

// What one profile of a request added to its endpoint and has not given back.
struct Leg {
  uint32_t tokens;
  uint16_t slot;
  uint8_t requests;
  uint8_t is_prefill;
};
constexpr uint32_t kLegsMax = 7;
static_assert(weir::kEndpointsMax <= std::numeric_limits<uint16_t>::max());

class InflightLoadProducer {
 public:
  struct FlightState {
    uint64_t leg_count;
    Leg legs[kLegsMax];
  };
  static_assert(sizeof(FlightState) == 64);
  enum Column : uint32_t { kLoad, kUncached, kTokens, kPrefix };  // in order of declaration

  explicit InflightLoadProducer(const Params& params)
      : adds_output_(params.boolean("addEstimatedOutputTokens", false)),
        output_ratio_(params.number("outputRatio", 1.5)),
        output_tokens_max_(
            params.integer("maxEstimatedOutputTokens", std::numeric_limits<int64_t>::max())) {
    if (!(output_ratio_ >= 0)) Params::Fail("outputRatio: negative, expected >= 0");
    if (output_tokens_max_ < 0) {
      Params::Fail("maxEstimatedOutputTokens: " + std::to_string(output_tokens_max_) +
                   ", expected >= 0");
    }
  }

  void Produce(const Request& request, const Batch& batch, const Output& output) const {
    const auto slots = batch.slots();
    auto* load = output.column<weir_in_flight_load>(kLoad);
    auto* uncached_tokens = output.column<int64_t>(kUncached);
    const Cost cost = CostOf(request);
    const auto prefix = batch.column<weir_prefix_match>(kPrefix);
    for (uint32_t i = 0; i < batch.count(); ++i) {
      const Slot& slot = slots_[slots[i] % weir::kEndpointsMax];
      load[i].requests = std::max<int64_t>(slot.requests.load(std::memory_order_relaxed), 0);
      load[i].tokens = std::max<int64_t>(slot.tokens.load(std::memory_order_relaxed), 0);
      uncached_tokens[i] = TokensFor(cost, prefix ? &prefix[i] : nullptr);
    }
  }

  void Begin(const Request& request, const Batch& batch, const Choice& choice, const void*,
             FlightState* flight) {
    const Cost cost = CostOf(request);
    const auto prefix = batch.column<weir_prefix_match>(kPrefix);
    const uint32_t leg_count = std::min(choice.count(), kLegsMax);
    for (uint32_t i = 0; i < leg_count; ++i) {
      const int64_t tokens = TokensFor(cost, prefix ? &prefix[choice.batch_index(i)] : nullptr);
      const auto counted = static_cast<uint32_t>(std::min<int64_t>(tokens, UINT32_MAX));
      const auto slot = static_cast<uint16_t>(choice.slot(i) % weir::kEndpointsMax);
      flight->legs[i] = {counted, slot, 1, choice.profile_name(i) == kPrefillProfile};
      slots_[slot].requests.fetch_add(1, std::memory_order_relaxed);
      slots_[slot].tokens.fetch_add(counted, std::memory_order_relaxed);
    }
    flight->leg_count = leg_count;
    if (choice.count() > kLegsMax) {
      batch.call().Count(kCounterLegsDropped, choice.count() - kLegsMax);
    }
  }

  // The prompts are computed. Without an estimate of the output nothing is left to compute; a
  // prefill worker is done with the request altogether.
  void FirstToken(FlightState* flight) {
    for (uint64_t i = 0; i < flight->leg_count; ++i) {
      Leg& leg = flight->legs[i];
      if (leg.is_prefill != 0) {
        Release(leg);
      } else if (!adds_output_) {
        ReleaseTokens(leg);
      }
    }
  }

  void End(FlightState* flight, const weir_usage&) {
    for (uint64_t i = 0; i < flight->leg_count; ++i) Release(flight->legs[i]);
  }

  void EndpointRemoved(uint32_t slot) {
    slots_[slot % weir::kEndpointsMax].requests.store(0, std::memory_order_relaxed);
    slots_[slot % weir::kEndpointsMax].tokens.store(0, std::memory_order_relaxed);
  }

 private:
  struct Slot {
    std::atomic<int64_t> requests{0};
    std::atomic<int64_t> tokens{0};
  };
  // What of a request's cost does not depend on the endpoint.
  struct Cost {
    int64_t input_tokens;
    int64_t output_tokens;
  };

  Cost CostOf(const Request& request) const {
    const auto input_tokens = static_cast<int64_t>(request.token_count());
    if (!adds_output_) return {input_tokens, 0};
    const double estimate = std::min(std::round(static_cast<double>(input_tokens) * output_ratio_),
                                     static_cast<double>(kTokensMax));
    int64_t output_tokens = std::min(static_cast<int64_t>(estimate), output_tokens_max_);
    const int64_t client_max = request.max_output_tokens();
    if (client_max >= 0) output_tokens = std::min(output_tokens, client_max);
    return {input_tokens, output_tokens};
  }

  // Tokens the endpoint has to compute: what its cache does not hold of the indexed blocks, the
  // tail beyond them, and the output.
  static int64_t TokensFor(const Cost& cost, const weir_prefix_match* match) {
    if (match == nullptr || match->block_tokens == 0) return cost.input_tokens + cost.output_tokens;
    const uint64_t total = match->total_blocks;
    const uint64_t missing = total - std::min<uint64_t>(match->matched_blocks, total);
    const int64_t indexed_tokens = TokensOf(total, match->block_tokens);
    const int64_t tail_tokens = std::max<int64_t>(cost.input_tokens - indexed_tokens, 0);
    return TokensOf(missing, match->block_tokens) + tail_tokens + cost.output_tokens;
  }

  // REQUIRES: both below 2^32.
  static int64_t TokensOf(uint64_t blocks, uint64_t block_tokens) {
    return static_cast<int64_t>(std::min(blocks * block_tokens, kTokensMax));
  }

  void ReleaseTokens(Leg& leg) {
    slots_[leg.slot].tokens.fetch_sub(leg.tokens, std::memory_order_relaxed);
    leg.tokens = 0;
  }
  void Release(Leg& leg) {
    ReleaseTokens(leg);
    slots_[leg.slot].requests.fetch_sub(leg.requests, std::memory_order_relaxed);
    leg.requests = 0;
  }

  bool adds_output_;
  double output_ratio_;
  int64_t output_tokens_max_;
  Slot slots_[weir::kEndpointsMax];
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddProducer<InflightLoadProducer>("inflight-load-producer")
      .Schema(kParamsSchema)
      .Beta()
      .ReadsLoad(0)
      .Writes(weir::plugin::kInFlightLoad)
      .Writes(weir::plugin::kUncachedTokens)
      .Reads(weir::plugin::kTokenizedPrompt)
      .MayRead(weir::plugin::kPrefixMatch, "prefixMatchInfoProducerName");
}
