#include "weir/sim/workload.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "weir/random.h"

namespace weir::sim {
namespace {

constexpr double kNsPerSecond = 1e9;
constexpr auto kTimeNsMax = static_cast<int64_t>(kWorkloadSecondsMax * kNsPerSecond);
constexpr uint32_t kVocabulary = 128'000;  // made-up tokens lie below
constexpr double kGroupSkewMax = 8;

// One purpose per stream of draws, so that longer system prompts leave the questions as they are.
enum Purpose : uint64_t { kSystem, kGroup, kArrival, kLength, kText, kAnswer };

Random RandomOf(uint64_t seed, Purpose purpose, uint64_t index = 0) {
  const uint64_t streams = SplitMix64(seed) + purpose;
  uint64_t state = streams;
  return Random(SplitMix64(state) + index);
}

absl::Status FieldError(std::string_view field, double value, std::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(field), ": ", value, ", expected ", std::string(expected)));
}

absl::Status TokensError() {
  return absl::ResourceExhaustedError(
      absl::StrCat("the workload's tokens: expected at most ", kWorkloadTokensMax));
}

absl::Status TimeError(double earliest_s) {
  return FieldError("arrival and pauses before it, in seconds", earliest_s, "at most 1e6");
}

// False for NaN.
bool Within(double value, double low, double high) { return value >= low && value <= high; }

absl::Status Validate(const ConversationOptions& o) {
  if (o.conversations < 1 || o.conversations > kWorkloadRequestsMax) {
    return FieldError("conversations", o.conversations, "1..1048576");
  }
  if (o.turns < 1 || uint64_t{o.turns} * o.conversations > kWorkloadRequestsMax) {
    return FieldError("turns", o.turns, "1.., and at most 1048576 requests in all");
  }
  if (o.groups < 1 || o.groups > kWorkloadGroupsMax) {
    return FieldError("groups", o.groups, "1..65536");
  }
  if (!Within(o.group_skew, 0, kGroupSkewMax))
    return FieldError("group_skew", o.group_skew, "0..8");
  if (o.system_tokens > kRequestTokensMax) {
    return FieldError("system_tokens", o.system_tokens, "0..1048576");
  }
  if (o.input_tokens < 1 || o.input_tokens > kRequestTokensMax) {
    return FieldError("input_tokens", o.input_tokens, "1..1048576");
  }
  if (o.output_tokens < 1 || o.output_tokens > kRequestTokensMax / 2) {
    return FieldError("output_tokens", o.output_tokens, "1..524288");
  }
  if (!Within(o.spread, 0, 1)) return FieldError("spread", o.spread, "0..1");
  if (!Within(o.pause_s, 0, kWorkloadSecondsMax / 2)) {
    return FieldError("pause_s", o.pause_s, "0..5e5");
  }
  if (!Within(o.conversations_per_s, 1 / kWorkloadSecondsMax, 1e9)) {
    return FieldError("conversations_per_s", o.conversations_per_s, "1e-6..1e9");
  }
  const uint64_t turn_tokens = uint64_t{o.turns} * (o.input_tokens + o.output_tokens);
  if (uint64_t{o.conversations} * (o.system_tokens + turn_tokens) > kWorkloadTokensMax) {
    return TokensError();
  }
  return absl::OkStatus();
}

void AppendTokens(Random random, uint32_t count, std::vector<uint32_t>& out) {
  for (uint32_t i = 0; i < count; ++i) out.push_back(random.NextBelow(kVocabulary));
}

double Spread(double mean, double spread, Random& random) {
  return mean * (1 + spread * (2 * random.NextUniform() - 1));
}

uint32_t SpreadTokens(uint32_t mean, double spread, Random& random) {
  return std::max(1u, static_cast<uint32_t>(std::lround(Spread(mean, spread, random))));
}

// Draws groups with the popularity that the options ask for.
class GroupDraw {
 public:
  explicit GroupDraw(const ConversationOptions& options)
      : random_(RandomOf(options.seed, kGroup)), cumulative_(options.groups) {
    double sum = 0;
    for (uint32_t g = 0; g < options.groups; ++g) {
      cumulative_[g] = sum += std::pow(g + 1, -options.group_skew);
    }
  }
  uint32_t Next() {
    const double drawn = random_.NextUniform() * cumulative_.back();
    const auto found = std::upper_bound(cumulative_.begin(), cumulative_.end(), drawn);
    return static_cast<uint32_t>(
        std::min<size_t>(found - cumulative_.begin(), cumulative_.size() - 1));
  }

 private:
  Random random_;
  std::vector<double> cumulative_;
};

}  // namespace

absl::StatusOr<Workload> Workload::Conversations(const ConversationOptions& options) {
  if (absl::Status status = Validate(options); !status.ok()) return status;
  Workload workload;
  GroupDraw groups(options);
  Random arrivals = RandomOf(options.seed, kArrival);
  double arrival_s = 0;
  for (uint32_t session = 0; session < options.conversations; ++session) {
    arrival_s -= std::log1p(-arrivals.NextUniform()) / options.conversations_per_s;
    if (arrival_s > kWorkloadSecondsMax) return TimeError(arrival_s);
    Random lengths = RandomOf(options.seed, kLength, session);
    Entry entry{.arrival_ns = static_cast<int64_t>(arrival_s * kNsPerSecond),
                .session = session,
                .group = groups.Next(),
                .prompt_begin = workload.tokens_.size()};
    AppendTokens(RandomOf(options.seed, kSystem, entry.group), options.system_tokens,
                 workload.tokens_);
    Random text = RandomOf(options.seed, kText, session);
    for (entry.turn = 0; entry.turn < options.turns; ++entry.turn) {
      const uint32_t input = SpreadTokens(options.input_tokens, options.spread, lengths);
      entry.output_tokens = SpreadTokens(options.output_tokens, options.spread, lengths);
      const double pause_s = Spread(options.pause_s, options.spread, lengths);
      entry.pause_ns = entry.turn == 0 ? 0 : static_cast<int64_t>(pause_s * kNsPerSecond);
      // The means fit; the draws may still exceed them.
      if (workload.tokens_.size() + input + entry.output_tokens > kWorkloadTokensMax) {
        return TokensError();
      }
      AppendTokens(Random(text.NextBits()), input, workload.tokens_);
      entry.answer_begin = workload.tokens_.size();
      const uint64_t prompt_tokens = entry.answer_begin - entry.prompt_begin;
      if (prompt_tokens > kRequestTokensMax) {
        return FieldError("turns", options.turns, "prompts of at most 1048576 tokens");
      }
      entry.prompt_tokens = static_cast<uint32_t>(prompt_tokens);
      AppendTokens(Random(text.NextBits()), entry.output_tokens, workload.tokens_);
      if (absl::Status status = workload.Append(entry); !status.ok()) return status;
    }
  }
  return workload;
}

absl::Status Workload::Add(const RequestRecord& record) {
  if (record.arrival_ns < 0 || record.arrival_ns > kTimeNsMax) {
    return FieldError("arrival_s", static_cast<double>(record.arrival_ns) / kNsPerSecond, "0..1e6");
  }
  if (record.pause_ns < 0 || record.pause_ns > kTimeNsMax) {
    return FieldError("pause_s", static_cast<double>(record.pause_ns) / kNsPerSecond, "0..1e6");
  }
  if (record.group >= kWorkloadGroupsMax) return FieldError("group", record.group, "0..65535");
  if (record.prompt.empty() || record.prompt.size() > kRequestTokensMax) {
    return FieldError("prompt tokens", static_cast<double>(record.prompt.size()), "1..1048576");
  }
  const uint64_t output = record.answer.empty() ? record.output_tokens : record.answer.size();
  if (output < 1 || output > kRequestTokensMax) {
    return FieldError("output_tokens", static_cast<double>(output), "1..1048576");
  }
  if (size() >= kWorkloadRequestsMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the workload's requests: expected at most ", kWorkloadRequestsMax));
  }
  if (tokens_.size() + record.prompt.size() + output > kWorkloadTokensMax) return TokensError();
  const Entry entry{.arrival_ns = record.arrival_ns,
                    .pause_ns = record.pause_ns,
                    .session = record.session,
                    .group = record.group,
                    .prompt_tokens = static_cast<uint32_t>(record.prompt.size()),
                    .output_tokens = static_cast<uint32_t>(output),
                    .prompt_begin = tokens_.size(),
                    .answer_begin = tokens_.size() + record.prompt.size()};
  if (absl::Status status = Append(entry); !status.ok()) return status;
  tokens_.insert(tokens_.end(), record.prompt.begin(), record.prompt.end());
  if (record.answer.empty()) {
    AppendTokens(RandomOf(0, kAnswer, size()), record.output_tokens, tokens_);
  } else {
    tokens_.insert(tokens_.end(), record.answer.begin(), record.answer.end());
  }
  return absl::OkStatus();
}

// Links the entry to the request of its session before. Changes nothing on an error.
absl::Status Workload::Append(Entry entry) {
  const uint32_t index = size();
  entry.earliest_ns = entry.arrival_ns;
  const auto last = last_of_session_.find(entry.session);
  if (entry.session != kNone && last != last_of_session_.end()) {
    const Entry& before = entries_[last->second];
    entry.follows = last->second;
    entry.turn = before.turn + 1;
    entry.earliest_ns = std::max(entry.arrival_ns, before.earliest_ns + entry.pause_ns);
  }
  if (entry.earliest_ns > kTimeNsMax) {
    return TimeError(static_cast<double>(entry.earliest_ns) / kNsPerSecond);
  }
  if (entry.follows != kNone) entries_[entry.follows].followed_by = index;
  if (entry.session != kNone) last_of_session_[entry.session] = index;
  entries_.push_back(entry);
  group_count_ = std::max(group_count_, entry.group + 1);
  return absl::OkStatus();
}

}  // namespace weir::sim
