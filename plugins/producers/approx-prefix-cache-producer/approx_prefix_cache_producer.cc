#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <span>
#include <string>

#include "params_schema.h"
#include "weir/limits.h"
#include "weir/plugin/producer.h"
#include "weir/prefix_hash.h"
#include "weir/prefix_index.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::Choice;
using weir::plugin::Output;
using weir::plugin::Params;
using weir::plugin::Request;

constexpr int64_t kBlockTokensDefault = 16;
constexpr int64_t kBlockTokensMin = 64;           // smaller blocks cost more than they tell
constexpr int64_t kBlockTokensMax = 1 << 20;      // of a parameter
constexpr uint32_t kEngineBlockTokensMax = 4096;  // a larger report is taken for nonsense
constexpr std::string_view kPrefillProfile = "prefill";

enum Counter : uint32_t {
  kCounterBlocks = 0,         // blocks of prompts that were sent to an endpoint
  kCounterMatchedBlocks = 1,  // of these, blocks that the endpoint was thought to hold
};

struct Settings {
  bool auto_tune;
  bool llmd_compat;
  uint32_t block_tokens;
  uint64_t tokens_max;
  uint64_t blocks_max;
  uint32_t capacity_blocks;
  uint64_t memory_bytes_max;
};

int64_t IntegerIn(const Params& params, std::string_view name, int64_t or_else, int64_t low,
                  int64_t high) {
  const int64_t value = params.integer(name, or_else);
  if (value >= low && value <= high) return value;
  Params::Fail(std::string(name) + ": " + std::to_string(value) + ", expected " +
               (high == std::numeric_limits<int64_t>::max()
                    ? ">= " + std::to_string(low)
                    : std::to_string(low) + ".." + std::to_string(high)));
}

Settings ReadSettings(const Params& params) {
  constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
  Settings settings;
  settings.auto_tune = params.boolean("autoTune", true);
  const std::string compat = params.string("compat");
  if (!compat.empty() && compat != "llm-d") {
    Params::Fail("compat: \"" + compat + "\", expected \"llm-d\" or nothing");
  }
  settings.llmd_compat = !compat.empty();

  std::string_view block_name = "blockSizeTokens";
  int64_t block_tokens = params.integer(block_name, kBlockTokensDefault);
  if (const int64_t old = params.integer("blockSize", 0); old != 0) {
    params.Log(WEIR_LOG_WARNING, "blockSize is deprecated, use blockSizeTokens");
    if (block_tokens == kBlockTokensDefault) {
      block_tokens = old;
      block_name = "blockSize";
    }
  }
  if (block_tokens > kBlockTokensMax || (block_tokens <= 0 && !settings.auto_tune)) {
    Params::Fail(std::string(block_name) + ": " + std::to_string(block_tokens) + ", expected 1.." +
                 std::to_string(kBlockTokensMax));
  }
  settings.block_tokens = static_cast<uint32_t>(std::max(block_tokens, kBlockTokensMin));

  settings.tokens_max =
      static_cast<uint64_t>(IntegerIn(params, "maxPrefixTokensToMatch", 131072, 0, kAny));
  if (params.has("maxPrefixBlocksToMatch")) {
    params.Log(WEIR_LOG_WARNING,
               "maxPrefixBlocksToMatch is deprecated, use maxPrefixTokensToMatch");
  }
  settings.blocks_max =
      static_cast<uint64_t>(IntegerIn(params, "maxPrefixBlocksToMatch", 2048, 0, kAny));
  const int64_t capacity = IntegerIn(params, "lruCapacityPerServer", 0, 0, UINT32_MAX);
  settings.capacity_blocks =
      capacity == 0 ? weir::kPrefixCapacityBlocksDefault : static_cast<uint32_t>(capacity);
  settings.memory_bytes_max = static_cast<uint64_t>(
      IntegerIn(params, "memoryBytesMax", int64_t{weir::PrefixIndexOptions{}.memory_bytes_max},
                weir::kPrefixMemoryBytesMin, weir::kPrefixMemoryBytesMax));
  return settings;
}

std::unique_ptr<weir::PrefixIndex> MakeIndex(const Settings& settings) {
  // The seed decides where blocks lie, never what a lookup answers; drawn, so that clients cannot
  // aim.
  std::random_device draw;
  auto index = weir::PrefixIndex::Create({.slots_max = weir::kEndpointsMax,
                                          .capacity_blocks = settings.capacity_blocks,
                                          .llmd_compat = settings.llmd_compat,
                                          .seed = uint64_t{draw()} << 32 | draw(),
                                          .memory_bytes_max = settings.memory_bytes_max});
  if (!index.ok()) Params::Fail(std::string(index.status().message()));
  return *std::move(index);
}

class ApproxPrefixCacheProducer {
 public:
  // What Begin needs of Produce; lies in the decision's memory.
  struct RequestState {
    const uint64_t* hashes;  // of all prompts, one after the other
    uint32_t block_tokens;
    uint32_t reserved;
  };
  // Per endpoint chosen, for a request of one prompt; empty once the request is known to work.
  struct FlightState {
    weir::PrefixTicket tickets[2];
  };
  enum Column : uint32_t { kMatch, kTokens };  // in order of declaration

  explicit ApproxPrefixCacheProducer(const Params& params)
      : settings_(ReadSettings(params)), index_(MakeIndex(settings_)) {}

  void Produce(const Request& request, const Batch& batch, const Output& output,
               RequestState* state) const {
    state->block_tokens = BlockTokens(batch);
    uint64_t block_count = 0;
    for (const weir_prompt& prompt : request.prompts()) {
      block_count += BlocksOf(prompt, state->block_tokens);
    }
    const auto slots = batch.slots();
    const uint32_t slots_end = 1 + *std::max_element(slots.begin(), slots.end());
    auto* hashes = batch.call().allocate<uint64_t>(block_count);
    auto* matched = batch.call().allocate<uint32_t>(slots_end);
    if (hashes == nullptr || matched == nullptr) throw std::bad_alloc();
    state->hashes = hashes;

    auto* match = output.column<weir_prefix_match>(kMatch);
    const uint64_t seed = weir::PrefixSeed(request.model(), request.cache_salt());
    for (const weir_prompt& prompt : request.prompts()) {
      const std::span<uint64_t> blocks(hashes, BlocksOf(prompt, state->block_tokens));
      weir::HashPrefixBlocks(seed, {prompt.tokens, prompt.token_count}, state->block_tokens, blocks,
                             partial());
      index_->Match(blocks, {matched, slots_end});
      for (uint32_t i = 0; i < batch.count(); ++i) match[i].matched_blocks += matched[slots[i]];
      hashes += blocks.size();
    }
    for (uint32_t i = 0; i < batch.count(); ++i) {
      match[i].total_blocks = static_cast<uint32_t>(block_count);
      match[i].block_tokens = state->block_tokens;
    }
  }

  // Counts on the engine to keep what it is sent from now on, so that a burst of equal prompts goes
  // to one endpoint; End takes it back if the request fails first.
  void Begin(const Request& request, const Batch& batch, const Choice& choice,
             const RequestState* state, FlightState* flight) {
    if (state == nullptr) return;
    if (const auto matches = batch.column<weir_prefix_match>(kMatch)) {
      const weir_prefix_match& match = matches[choice.batch_index(0)];
      batch.call().Count(kCounterBlocks, match.total_blocks);
      batch.call().Count(kCounterMatchedBlocks, match.matched_blocks);
    }
    Insert(request, batch, choice, 0, *state, &flight->tickets[0]);
    for (uint32_t i = 1; i < choice.count(); ++i) {
      if (choice.profile_name(i) == kPrefillProfile && choice.slot(i) != choice.slot(0)) {
        Insert(request, batch, choice, i, *state, &flight->tickets[1]);
        return;
      }
    }
  }

  void FirstToken(FlightState* flight) { *flight = {}; }

  void End(FlightState* flight, const weir_usage& usage) {
    if (usage.end != WEIR_END_FAILED) return;
    for (const weir::PrefixTicket& ticket : flight->tickets) index_->Erase(ticket);
  }

  void EndpointRemoved(uint32_t slot) {
    if (slot >= weir::kEndpointsMax) return;
    index_->Clear(slot);
    capacities_[slot].store(0, std::memory_order_relaxed);
  }

 private:
  weir::PartialBlock partial() const {
    return settings_.llmd_compat ? weir::PartialBlock::kHash : weir::PartialBlock::kDrop;
  }

  // One block size for all endpoints, or prompts would not find each other: the largest that any
  // engine has reported. It only grows, so neither the order of the candidates nor an endpoint that
  // comes and goes changes it back and forth; when it grows, old entries age out unfound.
  uint32_t BlockTokens(const Batch& batch) const {
    if (!settings_.auto_tune) return settings_.block_tokens;
    uint32_t reported = 0;
    for (const uint32_t tokens : batch.kv_block_tokens()) {
      reported = std::max(reported, tokens <= kEngineBlockTokensMax ? tokens : 0);
    }
    uint32_t known = reported_block_tokens_.load(std::memory_order_relaxed);
    while (reported > known && !reported_block_tokens_.compare_exchange_weak(
                                   known, reported, std::memory_order_relaxed)) {
    }
    known = std::max(known, reported);
    return known == 0 ? settings_.block_tokens : std::max<uint32_t>(known, kBlockTokensMin);
  }

  uint64_t BlocksOf(const weir_prompt& prompt, uint32_t block_tokens) const {
    uint64_t blocks = prompt.token_count / block_tokens;
    if (settings_.llmd_compat && prompt.token_count % block_tokens != 0) ++blocks;
    if (settings_.tokens_max > 0) return std::min(blocks, settings_.tokens_max / block_tokens);
    return settings_.blocks_max > 0 ? std::min(blocks, settings_.blocks_max) : blocks;
  }

  void Insert(const Request& request, const Batch& batch, const Choice& choice, uint32_t profile,
              const RequestState& state, weir::PrefixTicket* ticket) {
    const uint32_t slot = choice.slot(profile);
    FollowCapacity(slot, batch, choice.batch_index(profile), state.block_tokens);
    const uint64_t* hashes = state.hashes;
    for (const weir_prompt& prompt : request.prompts()) {
      const uint64_t blocks = BlocksOf(prompt, state.block_tokens);
      *ticket = index_->Insert(slot, {hashes, blocks});
      hashes += blocks;
    }
    // One ticket undoes one prompt; of several prompts some may have been served before a failure.
    if (request.prompts().size() != 1) *ticket = {};
  }

  // Remembers as many tokens as the engine's cache holds, counted in its own blocks.
  void FollowCapacity(uint32_t slot, const Batch& batch, uint32_t endpoint, uint32_t block_tokens) {
    const uint64_t engine_tokens =
        uint64_t{batch.kv_block_count()[endpoint]} * batch.kv_block_tokens()[endpoint];
    if (!settings_.auto_tune || engine_tokens == 0 || slot >= weir::kEndpointsMax) return;
    const auto capacity =
        static_cast<uint32_t>(std::clamp<uint64_t>(engine_tokens / block_tokens, 1, UINT32_MAX));
    if (capacities_[slot].exchange(capacity) == capacity) return;
    // Threads may see the engine before and after a restart: the index gets the last one's.
    for (uint32_t set = 0, wanted = capacity; set != wanted; wanted = capacities_[slot].load()) {
      index_->SetCapacity(slot, wanted);
      set = wanted;
    }
  }

  const Settings settings_;
  const std::unique_ptr<weir::PrefixIndex> index_;
  mutable std::atomic<uint32_t> reported_block_tokens_{0};      // the largest so far
  std::atomic<uint32_t> capacities_[weir::kEndpointsMax] = {};  // set from engines; 0: never
};

}  // namespace

WEIR_PLUGIN(module) {
  // An endpoint that is a cluster holds prefixes like one that is a server.
  module.AddProducer<ApproxPrefixCacheProducer>("multicluster-approx-prefix-cache-producer")
      .Schema(kParamsSchema)
      .Alpha()
      .Writes(weir::plugin::kPrefixMatch)
      .Reads(weir::plugin::kTokenizedPrompt)
      .ReadsLoad(WEIR_LOAD_KV_BLOCKS);
  module.AddProducer<ApproxPrefixCacheProducer>("approx-prefix-cache-producer")
      .Schema(kParamsSchema)
      .Beta()
      .Writes(weir::plugin::kPrefixMatch)
      .Reads(weir::plugin::kTokenizedPrompt)
      .ReadsLoad(WEIR_LOAD_KV_BLOCKS);
}
