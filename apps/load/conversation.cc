#include <algorithm>
#include <numeric>
#include <queue>

#include "load/source.h"
#include "load/text.h"

namespace weir::load {
namespace {

// One purpose per stream of draws, so that a longer system prompt leaves the questions as they are.
enum Purpose : uint64_t { kShared, kSystem, kContext, kTurns, kTurn, kQuestion, kAnswer, kOrder };

uint64_t SeedOf(const ConversationPlan& plan, Purpose purpose, uint64_t a, uint64_t b = 0) {
  return MixSeed(MixSeed(MixSeed(plan.seed, purpose), a), b);
}

class ConversationSource final : public Source {
 public:
  ConversationSource(const ConversationPlan& plan, Shard shard)
      : plan_(plan), shard_(shard), next_(shard.index), order_(SeedOf(plan, kOrder, shard.index)) {
    const uint32_t wanted = plan.active_max == 0 ? plan.conversations : plan.active_max;
    const uint32_t capped = std::min({wanted, plan.conversations, kActiveConversationsMax});
    active_max_ = std::max(1u, capped / shard.count + (shard.index < capped % shard.count ? 1 : 0));
  }

  Offer Next(int64_t now_ns, Item* item, int64_t* ready_ns) override {
    while (!thinking_.empty() && thinking_.top().first <= now_ns) {
      ready_.push_back(thinking_.top().second);
      thinking_.pop();
    }
    if (active_ < active_max_ && (plan_.repeat || next_ < plan_.conversations)) {
      Ask(Start(), item);
      return Offer::kItem;
    }
    if (!ready_.empty()) {
      const size_t drawn = order_.NextBelow(static_cast<uint32_t>(ready_.size()));
      std::swap(ready_[drawn], ready_.back());
      const uint32_t slot = ready_.back();
      ready_.pop_back();
      Ask(slot, item);
      return Offer::kItem;
    }
    if (!thinking_.empty()) {
      *ready_ns = thinking_.top().first;
      return Offer::kLater;
    }
    return active_ > 0 ? Offer::kBlocked : Offer::kEnd;
  }

  void Render(const Item& item, std::string& out) const override {
    const bool chat = plan_.api == Api::kChat;
    out += chat ? "\"messages\":[" : "\"prompt\":\"";
    out += slots_[item.slot].history;
    out += chat ? "]" : "\"";
  }

  void Finish(const Item& item, std::string_view escaped_answer, int64_t now_ns) override {
    State& state = slots_[item.slot];
    if (++state.turn >= state.turns) {
      state.history = {};
      free_.push_back(item.slot);
      --active_;
      return;
    }
    planned_.clear();
    std::string_view answer = escaped_answer.substr(0, kAnswerBytesMax);
    // A cut may have split an escape, and a failed turn has no answer: made-up words stand in.
    if (!plan_.answer_history || escaped_answer.empty() || answer.size() < escaped_answer.size()) {
      AppendWords(SeedOf(plan_, kAnswer, Number(state), item.turn), item.output_tokens, planned_);
      answer = planned_;
    }
    AppendMessage("assistant", answer, state.history);
    state.tokens += item.output_tokens;
    const uint32_t think_ms = LengthsOf(plan_, Number(state), item.turn).think_ms;
    if (think_ms == 0) {
      ready_.push_back(item.slot);
    } else {
      thinking_.emplace(now_ns + int64_t{think_ms} * 1'000'000, item.slot);
    }
  }

 private:
  struct State {
    uint64_t conversation = 0;
    uint32_t turn = 0, turns = 0;
    uint64_t tokens = 0;
    std::string history;  // rendered messages, or the inside of the prompt's string
  };

  // With plan_.repeat the conversations come round again under new numbers.
  uint64_t Number(const State& state) const { return state.conversation % plan_.conversations; }

  uint32_t Start() {
    if (free_.empty()) {
      free_.push_back(static_cast<uint32_t>(slots_.size()));
      slots_.emplace_back();
    }
    const uint32_t slot = free_.back();
    free_.pop_back();
    State& state = slots_[slot];
    state = State{.conversation = next_};
    next_ += shard_.count;
    ++active_;
    const uint64_t number = Number(state);
    state.turns = TurnsOf(plan_, number);
    const uint32_t group = GroupOf(plan_, number);
    const uint32_t shared_tokens = SharedTokensOf(plan_);
    const uint32_t system_tokens = SystemTokensOf(plan_, group);
    const uint32_t context_tokens = ContextTokensOf(plan_, number);
    state.tokens = uint64_t{shared_tokens} + system_tokens + context_tokens;
    std::string prompt;
    AppendWords(SeedOf(plan_, kShared, 1), shared_tokens, prompt);
    AppendWords(SeedOf(plan_, kSystem, group, 1), system_tokens, prompt);
    AppendWords(SeedOf(plan_, kContext, number, 1), context_tokens, prompt);
    if (!prompt.empty()) AppendMessage("system", prompt, state.history);
    return slot;
  }

  void Ask(uint32_t slot, Item* item) {
    State& state = slots_[slot];
    const TurnLengths lengths = LengthsOf(plan_, Number(state), state.turn);
    std::string question;
    AppendWords(SeedOf(plan_, kQuestion, Number(state), state.turn), lengths.input_tokens,
                question);
    AppendMessage("user", question, state.history);
    state.tokens += lengths.input_tokens;
    *item = {slot, state.conversation, state.turn, state.tokens, lengths.output_tokens};
  }

  void AppendMessage(std::string_view role, std::string_view escaped_text, std::string& out) const {
    if (plan_.api == Api::kCompletions) {
      out += escaped_text;
      return;
    }
    if (!out.empty()) out += ',';
    out += "{\"role\":\"";
    out += role;
    out += "\",\"content\":\"";
    out += escaped_text;
    out += "\"}";
  }

  using Thinker = std::pair<int64_t, uint32_t>;  // ready at, slot

  const ConversationPlan plan_;
  const Shard shard_;
  uint64_t next_;
  Random order_;
  uint32_t active_max_ = 0;
  uint32_t active_ = 0;
  std::vector<State> slots_;
  std::vector<uint32_t> free_, ready_;
  std::priority_queue<Thinker, std::vector<Thinker>, std::greater<>> thinking_;
  std::string planned_;
};

}  // namespace

uint32_t GroupOf(const ConversationPlan& plan, uint64_t conversation) {
  if (plan.groups <= 1) return 0;
  // Each round of `groups` conversations visits every group once, in an order of its own.
  const uint64_t round = conversation / plan.groups;
  Random random(SeedOf(plan, kSystem, round, 2));
  std::vector<uint32_t> order(plan.groups);
  std::iota(order.begin(), order.end(), 0u);
  for (uint32_t i = plan.groups - 1; i > 0; --i)
    std::swap(order[i], order[random.NextBelow(i + 1)]);
  return order[conversation % plan.groups];
}

uint32_t TurnsOf(const ConversationPlan& plan, uint64_t conversation) {
  Random random(SeedOf(plan, kTurns, conversation));
  return std::clamp(plan.turns.Sample(random), 1u, kTurnsMax);
}

TurnLengths LengthsOf(const ConversationPlan& plan, uint64_t conversation, uint32_t turn) {
  Random random(SeedOf(plan, kTurn, conversation, turn));
  TurnLengths lengths;
  lengths.input_tokens = std::max(1u, plan.input_tokens.Sample(random));
  lengths.output_tokens = std::max(1u, plan.output_tokens.Sample(random));
  lengths.think_ms = plan.think_ms.Sample(random);
  return lengths;
}

uint32_t SharedTokensOf(const ConversationPlan& plan) {
  Random random(SeedOf(plan, kShared, 0));
  return plan.shared_tokens.Sample(random);
}

uint32_t SystemTokensOf(const ConversationPlan& plan, uint32_t group) {
  if (plan.groups == 0) return 0;
  Random random(SeedOf(plan, kSystem, group));
  return plan.system_tokens.Sample(random);
}

uint32_t ContextTokensOf(const ConversationPlan& plan, uint64_t conversation) {
  Random random(SeedOf(plan, kContext, conversation));
  return plan.context_tokens.Sample(random);
}

std::unique_ptr<Source> CreateConversationSource(const ConversationPlan& plan, Shard shard) {
  return std::make_unique<ConversationSource>(plan, shard);
}

}  // namespace weir::load
