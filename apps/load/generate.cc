#include "load/generate.h"

#include <algorithm>
#include <queue>
#include <unordered_map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "load/text.h"

namespace weir::load {
namespace {

// A stretch of tokens with one origin; its content follows from the key and the position.
struct Segment {
  uint64_t key;
  uint64_t tokens;
};

struct Turn {
  double at_ms;
  uint64_t conversation;
  uint32_t turn;
  bool operator>(const Turn& other) const {
    return at_ms != other.at_ms ? at_ms > other.at_ms : conversation > other.conversation;
  }
};

// The keys only need to differ between segments with different text.
enum Part : uint64_t { kShared = 1, kSystem, kContext, kQuestion, kAnswer };
uint64_t KeyOf(Part part, uint64_t a, uint64_t b = 0) { return MixSeed(MixSeed(part, a), b); }

std::vector<Segment> PromptOf(const ConversationPlan& plan, uint64_t conversation, uint32_t turn) {
  const uint32_t group = GroupOf(plan, conversation);
  std::vector<Segment> prompt = {
      {KeyOf(kShared, 0), SharedTokensOf(plan)},
      {KeyOf(kSystem, group), SystemTokensOf(plan, group)},
      {KeyOf(kContext, conversation), ContextTokensOf(plan, conversation)}};
  for (uint32_t i = 0; i <= turn; ++i) {
    const TurnLengths lengths = LengthsOf(plan, conversation, i);
    prompt.push_back({KeyOf(kQuestion, conversation, i), lengths.input_tokens});
    if (i < turn) prompt.push_back({KeyOf(kAnswer, conversation, i), lengths.output_tokens});
  }
  return prompt;
}

// Gives equal chains of blocks equal ids.
class BlockNames {
 public:
  explicit BlockNames(uint32_t block_tokens) : block_tokens_(block_tokens) {}

  absl::Status Name(const std::vector<Segment>& prompt, TraceRecord* record) {
    record->hash_ids.clear();
    uint64_t chain = 0, total = 0, filled = 0;
    for (const Segment& segment : prompt) {
      for (uint64_t at = 0; at < segment.tokens;) {
        const uint64_t taken = std::min(segment.tokens - at, block_tokens_ - filled);
        chain = MixSeed(MixSeed(chain, segment.key), MixSeed(at, taken));
        at += taken;
        filled += taken;
        total += taken;
        if (filled == block_tokens_) {
          Close(chain, record);
          filled = 0;
        }
      }
    }
    if (filled > 0) Close(chain, record);
    if (names_.size() > kTraceIdsMax) {
      return absl::ResourceExhaustedError(absl::StrCat("more than ", kTraceIdsMax, " blocks"));
    }
    if (total > kTraceTokensMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("a prompt of ", total, " tokens, expected at most ", kTraceTokensMax));
    }
    record->input_tokens = static_cast<uint32_t>(total);
    return absl::OkStatus();
  }

 private:
  void Close(uint64_t chain, TraceRecord* record) {
    record->hash_ids.push_back(names_.try_emplace(chain, names_.size()).first->second);
  }

  const uint64_t block_tokens_;
  std::unordered_map<uint64_t, uint64_t> names_;
};

}  // namespace

absl::Status GenerateTrace(const GeneratePlan& plan,
                           const std::function<void(const TraceRecord&)>& emit) {
  if (!(plan.conversations_per_s > 0) || plan.block_tokens == 0) {
    return absl::InvalidArgumentError("rate and block size: expected above 0");
  }
  const ConversationPlan& conversations = plan.conversations;
  BlockNames names(plan.block_tokens);
  Random arrivals(MixSeed(conversations.seed, 0x6E));
  std::priority_queue<Turn, std::vector<Turn>, std::greater<>> due;
  double next_ms = 0;
  uint64_t started = 0;
  for (size_t records = 0; records < plan.records_max; ++records) {
    while (started < conversations.conversations && (due.empty() || next_ms <= due.top().at_ms)) {
      due.push({next_ms, started++, 0});
      next_ms += NextExponential(arrivals, 1000.0 / plan.conversations_per_s);
    }
    if (due.empty()) break;
    const Turn turn = due.top();
    due.pop();
    const TurnLengths lengths = LengthsOf(conversations, turn.conversation, turn.turn);
    TraceRecord record;
    record.timestamp_ms = turn.at_ms;
    record.output_tokens = lengths.output_tokens;
    if (auto status = names.Name(PromptOf(conversations, turn.conversation, turn.turn), &record);
        !status.ok()) {
      return status;
    }
    emit(record);
    if (turn.turn + 1 < TurnsOf(conversations, turn.conversation)) {
      const double busy_ms = lengths.output_tokens * plan.answer_token_ms + lengths.think_ms;
      due.push({turn.at_ms + busy_ms, turn.conversation, turn.turn + 1});
    }
  }
  return absl::OkStatus();
}

}  // namespace weir::load
