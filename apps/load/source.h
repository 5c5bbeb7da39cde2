// load/source.h: what to ask. A source hands out requests and takes their answers; when they are
// sent is the dispatcher's business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "load/distribution.h"
#include "load/trace.h"

namespace weir::load {

enum class Api : uint8_t { kChat, kCompletions };

// One request of a source.
struct Item {
  uint32_t slot = 0;           // the source's own; hand it back unchanged
  uint64_t conversation = 0;   // equal for the turns of one conversation
  uint32_t turn = 0;           // from 0
  uint64_t prompt_tokens = 0;  // planned; the server's own count may differ a little
  uint32_t output_tokens = 0;  // asked for
};

enum class Offer : uint8_t {
  kItem,     // *item is filled
  kLater,    // nothing before *ready_ns
  kBlocked,  // nothing until a request finishes
  kEnd,      // nothing ever again
};

// One thread at a time.
class Source {
 public:
  virtual ~Source() = default;

  // The next request that may start at now_ns. Times count from the start of the run.
  virtual Offer Next(int64_t now_ns, Item* item, int64_t* ready_ns) = 0;

  // Appends the member "messages" or "prompt" of the request, without a comma.
  // REQUIRES: the item came from Next() and is not finished.
  virtual void Render(const Item& item, std::string& out) const = 0;

  // Says that the request has its answer: `escaped_answer` is the inside of a JSON string, or empty
  // if the request failed.
  virtual void Finish(const Item& item, std::string_view escaped_answer, int64_t now_ns) = 0;
};

// A source may be one of several that share the work: it takes every count-th piece from index on.
struct Shard {
  uint32_t index = 0;
  uint32_t count = 1;
};

inline constexpr uint32_t kConversationsMax = 100'000'000;
inline constexpr uint32_t kActiveConversationsMax = 1'000'000;
inline constexpr uint32_t kTurnsMax = 100'000;
inline constexpr size_t kAnswerBytesMax = 1 << 20;  // of one answer kept in the history

struct ConversationPlan {
  Api api = Api::kChat;
  uint64_t seed = 1;
  uint32_t conversations = 100;
  uint32_t groups = 8;         // conversations of a group share its system prompt
  uint32_t active_max = 0;     // conversations under way at once; 0: all of them
  bool repeat = false;         // begin again with the first conversation, and never end
  bool answer_history = true;  // the history holds the server's answers, else made-up ones
  Distribution shared_tokens = Distribution::Fixed(0);     // shared by all conversations
  Distribution system_tokens = Distribution::Fixed(1000);  // shared by a group
  Distribution context_tokens = Distribution::Fixed(0);    // of one conversation
  Distribution turns = Distribution::Fixed(4);
  Distribution input_tokens = Distribution::Fixed(100);  // new in each turn
  Distribution output_tokens = Distribution::Fixed(100);
  Distribution think_ms = Distribution::Fixed(0);  // between an answer and the next turn
};

// The lengths of one turn of a conversation, drawn from the plan's seed.
struct TurnLengths {
  uint32_t input_tokens, output_tokens, think_ms;
};

// What a conversation of the plan consists of; equal on every call, thread and machine.
uint32_t GroupOf(const ConversationPlan& plan, uint64_t conversation);
uint32_t TurnsOf(const ConversationPlan& plan, uint64_t conversation);
TurnLengths LengthsOf(const ConversationPlan& plan, uint64_t conversation, uint32_t turn);
uint32_t SharedTokensOf(const ConversationPlan& plan);
uint32_t SystemTokensOf(const ConversationPlan& plan, uint32_t group);
uint32_t ContextTokensOf(const ConversationPlan& plan, uint64_t conversation);

// Multi-turn conversations with shared system prompts; with one turn each, independent prompts.
// A ready conversation is drawn at random: a fixed order would let a round robin of as many servers
// as divides the number of conversations hit the same server in every turn by accident.
std::unique_ptr<Source> CreateConversationSource(const ConversationPlan& plan, Shard shard);

struct TraceReplay {
  Api api = Api::kChat;
  uint32_t block_tokens = kTraceBlockTokens;  // of the trace's file
  double scale = 1;  // tokens sent per token of the trace, above 0, at most 1
};

// The requests of a trace, in order, each once; equal ids give equal text.
// Borrowed: `trace`, for the life of the source.
std::unique_ptr<Source> CreateTraceSource(const Trace& trace, const TraceReplay& replay,
                                          Shard shard);

// The same request for ever, for measuring proxies: a prompt of about `prompt_bytes` bytes.
std::unique_ptr<Source> CreateFixedSource(Api api, size_t prompt_bytes, uint32_t output_tokens);

}  // namespace weir::load
