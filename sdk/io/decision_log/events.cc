#include "weir/io/decision_log/events.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <type_traits>

#include "weir/io/decision_log/wire.h"
#include "weir/prefix_hash.h"

namespace weir::io {
namespace {

// Headers that the engine's own plugins read. Others may hold secrets and are kept on demand only.
constexpr std::string_view kKeptPrefixes[] = {"x-llm-d-", "x-gateway-", "x-weir-"};
constexpr std::string_view kKeptNames[] = {"test-epp-endpoint-selection"};

static_assert(std::is_trivially_copyable_v<FlightEvent>);
static_assert(std::is_trivially_copyable_v<DecisionEvent>);
static_assert(sizeof(DecisionEvent) % 8 == 0);

bool IsKept(std::string_view name, std::span<const std::string> more) {
  const auto is_name = [name](std::string_view kept) { return name == kept; };
  return std::any_of(std::begin(kKeptPrefixes), std::end(kKeptPrefixes),
                     [name](std::string_view prefix) { return name.starts_with(prefix); }) ||
         std::any_of(std::begin(kKeptNames), std::end(kKeptNames), is_name) ||
         std::any_of(more.begin(), more.end(), is_name);
}

std::string_view Cut(std::string_view text, bool* cut) {
  if (text.size() <= kDecisionLogStringBytesMax) return text;
  *cut = true;
  return text.substr(0, kDecisionLogStringBytesMax);
}

uint64_t EstimatedTokens(const Prompt& prompt) {
  uint64_t bytes = 0;
  for (const PromptPart& part : prompt.parts) {
    if (part.kind == PromptPart::Kind::kText) {
      bytes += part.bytes.size();
    } else if (!part.bytes.empty()) {
      bytes = ((bytes + 3) / 4 + 1) * 4;
    }
  }
  return (bytes + 3) / 4;
}

// Hands the estimated tokens of a prompt to a hasher, up to a number of them.
class TokenFeed {
 public:
  TokenFeed(PrefixHasher& hasher, uint64_t tokens_max) : hasher_(hasher), left_(tokens_max) {}
  void Text(std::string_view text) {
    while (!text.empty() && left_ > 0) {
      const size_t room = sizeof tokens_ - bytes_;
      const size_t size = std::min(room, text.size());
      std::memcpy(reinterpret_cast<char*>(tokens_) + bytes_, text.data(), size);
      bytes_ += size;
      text.remove_prefix(size);
      if (bytes_ == sizeof tokens_) Flush();
    }
  }
  void Media(std::string_view asset) {
    if (asset.empty() || left_ == 0) return;
    Pad();
    const auto hash = static_cast<uint32_t>(TextHash(asset));
    Text({reinterpret_cast<const char*>(&hash), sizeof hash});
  }
  void Finish() {
    Pad();
    Flush();
  }

 private:
  void Pad() {
    static constexpr std::string_view kZeros("\0\0\0", 3);
    Text(kZeros.substr(0, (4 - bytes_ % 4) % 4));
  }
  void Flush() {
    const uint64_t count = std::min<uint64_t>(left_, bytes_ / 4);
    hasher_.Append({tokens_, count});
    left_ -= count;
    bytes_ = 0;
  }
  PrefixHasher& hasher_;
  uint64_t left_;
  uint32_t tokens_[256];
  size_t bytes_ = 0;
};

// Bounds of what an event holds, known before room is reserved.
struct Sizes {
  uint32_t prompt_count = 0, hash_count = 0, sent_count = 0, pick_count = 0;
  std::array<uint16_t, kDecisionLogHeadersMax> headers;  // indices of the kept ones
  uint32_t header_count = 0;
  size_t header_bytes = 0;
  size_t subset_bytes = 0;
  std::array<std::string_view, 6> texts;
  bool cut = false;
};

// Calls `take` with each address of the request's subset that a log holds, and returns whether that
// was all of them.
template <class Take>
bool ForSubset(const Request& request, const Take& take) {
  if (!request.subset) return true;
  bool whole = true;
  size_t count = 0, size_bytes = 0;
  for (std::string_view list : *request.subset) {
    while (!list.empty()) {
      const std::string_view address = list.substr(0, list.find(','));
      list.remove_prefix(std::min(list.size(), address.size() + 1));
      if (address.empty()) continue;
      size_bytes += address.size() + 1;
      if (address.size() > kDecisionLogStringBytesMax || count == kDecisionLogSubsetMax ||
          size_bytes > kDecisionLogSubsetBytesMax) {
        whole = false;
        size_bytes -= address.size() + 1;
        continue;
      }
      ++count;
      take(address);
    }
  }
  return whole;
}

uint64_t BlocksOf(uint64_t token_count, uint32_t block_tokens) {
  return token_count / block_tokens + (token_count % block_tokens != 0);
}

uint64_t TokensOf(const Prompt& prompt) {
  return prompt.tokens.empty() ? EstimatedTokens(prompt) : prompt.tokens.size();
}

Sizes Measure(const DecisionObservation& decision, const EventOptions& options) {
  Sizes sizes;
  const Request& request = decision.request;
  sizes.texts = {request.id,        request.model,      request.incoming_model,
                 request.objective, request.cache_salt, request.fairness_id};
  for (std::string_view& text : sizes.texts) text = Cut(text, &sizes.cut);
  sizes.cut |= !ForSubset(
      request, [&sizes](std::string_view address) { sizes.subset_bytes += address.size() + 1; });
  for (size_t i = 0; i < std::min<size_t>(request.headers.size(), UINT16_MAX); ++i) {
    const Header& header = request.headers[i];
    if (!IsKept(header.name, options.headers)) continue;
    if (sizes.header_count == kDecisionLogHeadersMax ||
        header.name.size() > kDecisionLogStringBytesMax) {
      sizes.cut = true;
      continue;
    }
    sizes.headers[sizes.header_count++] = static_cast<uint16_t>(i);
    sizes.header_bytes += header.name.size() + Cut(header.value, &sizes.cut).size();
  }
  sizes.prompt_count =
      static_cast<uint32_t>(std::min<size_t>(decision.prompts.size(), kPromptsMax));
  uint64_t hash_count = 0;
  for (const Prompt& prompt : decision.prompts.first(sizes.prompt_count)) {
    hash_count += BlocksOf(TokensOf(prompt), options.prompt_block_tokens);
  }
  sizes.cut |= hash_count > kDecisionLogBlocksMax || sizes.prompt_count < decision.prompts.size();
  sizes.hash_count = static_cast<uint32_t>(std::min<uint64_t>(hash_count, kDecisionLogBlocksMax));
  sizes.sent_count = static_cast<uint32_t>(
      std::count_if(decision.sent_requests.begin(), decision.sent_requests.end(),
                    [](uint32_t requests) { return requests != 0; }));
  for (const auto& profile : decision.profiles) {
    sizes.pick_count += static_cast<uint32_t>(profile.picks.size());
  }
  return sizes;
}

// Gives out the arrays and texts behind an event, one after the other, all but the last of a
// multiple of eight bytes.
class Layout {
 public:
  // With null the results point nowhere, and only size() means something.
  explicit Layout(const std::byte* begin) : begin_(reinterpret_cast<uintptr_t>(begin)) {}
  template <class T>
  T* Array(size_t count) {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 8);
    const uintptr_t place = begin_ + size_;
    size_ += (count * sizeof(T) + 7) & ~size_t{7};
    return reinterpret_cast<T*>(place);
  }
  // Without rounding.
  char* Text(size_t size) {
    const uintptr_t place = begin_ + size_;
    size_ += size;
    return reinterpret_cast<char*>(place);
  }
  size_t size() const { return size_; }

 private:
  const uintptr_t begin_;
  size_t size_ = 0;
};

struct Parts {
  DecisionEvent::Prompt* prompts;
  uint64_t* hashes;
  LoggedDecision::Pick* picks;
  DecisionEvent::Sent* sent;
  DecisionEvent::Profile* profiles;
  DecisionEvent::HeaderSizes* headers;
};

// The arrays of an event; texts follow.
Parts PartsOf(const DecisionEvent& event, Layout& layout) {
  Parts parts;
  parts.prompts = layout.Array<DecisionEvent::Prompt>(event.prompt_count);
  parts.hashes = layout.Array<uint64_t>(event.hash_count);
  parts.picks = layout.Array<LoggedDecision::Pick>(event.pick_count);
  parts.sent = layout.Array<DecisionEvent::Sent>(event.sent_count);
  parts.profiles = layout.Array<DecisionEvent::Profile>(event.profile_count);
  parts.headers = layout.Array<DecisionEvent::HeaderSizes>(event.header_count);
  return parts;
}

void FillPrompts(const DecisionObservation& decision, uint32_t block_tokens, const Parts& parts,
                 uint32_t prompt_count, uint32_t hash_count) {
  uint64_t* next = parts.hashes;
  uint64_t left = hash_count;
  const uint64_t seed = PrefixSeed({});
  for (uint32_t p = 0; p < prompt_count; ++p) {
    const Prompt& prompt = decision.prompts[p];
    const uint64_t token_count = TokensOf(prompt);
    const uint64_t blocks = std::min(left, BlocksOf(token_count, block_tokens));
    const uint64_t hashed_tokens = std::min(token_count, blocks * block_tokens);
    PrefixHasher hasher(seed, block_tokens, {next, blocks});
    if (!prompt.tokens.empty()) {
      hasher.Append(prompt.tokens.first(hashed_tokens));
    } else {
      TokenFeed feed(hasher, hashed_tokens);
      for (const PromptPart& part : prompt.parts) {
        part.kind == PromptPart::Kind::kText ? feed.Text(part.bytes) : feed.Media(part.bytes);
      }
      feed.Finish();
    }
    hasher.Finish(PartialBlock::kHash);
    parts.prompts[p] = {token_count, static_cast<uint32_t>(blocks), prompt.tokens.empty()};
    next += blocks;
    left -= blocks;
  }
}

void FillResults(const DecisionObservation& decision, const Parts& parts) {
  DecisionEvent::Sent* sent = parts.sent;
  for (uint32_t row = 0; row < decision.sent_requests.size(); ++row) {
    if (decision.sent_requests[row] == 0) continue;
    *sent++ = {row, decision.sent_requests[row], decision.sent_tokens[row]};
  }
  LoggedDecision::Pick* pick = parts.picks;
  for (size_t p = 0; p < decision.profiles.size(); ++p) {
    const DecisionObservation::Profile& profile = decision.profiles[p];
    parts.profiles[p] = {profile.index, profile.failed,
                         static_cast<uint32_t>(profile.picks.size())};
    for (size_t i = 0; i < profile.picks.size(); ++i) {
      *pick++ = {profile.picks[i], profile.scores[i]};
    }
  }
}

void FillTexts(const Request& request, const Sizes& sizes, const Parts& parts, Layout& layout) {
  const auto put = [&layout](std::string_view text) {
    char* const begin = layout.Text(text.size());
    std::copy(text.begin(), text.end(), begin);
  };
  for (const std::string_view text : sizes.texts) put(text);
  (void)ForSubset(request, [&put](std::string_view address) {
    put(address);
    put(",");
  });
  for (uint32_t h = 0; h < sizes.header_count; ++h) {
    const Header& header = request.headers[sizes.headers[h]];
    const std::string_view value = header.value.substr(0, kDecisionLogStringBytesMax);
    parts.headers[h] = {static_cast<uint32_t>(header.name.size()),
                        static_cast<uint32_t>(value.size())};
    put(header.name);
    put(value);
  }
}

}  // namespace

bool PutDecision(const DecisionObservation& decision, const EventOptions& options, uint64_t number,
                 bool with_snapshot, size_t spare_bytes, EventRing& ring) noexcept {
  const Sizes sizes = Measure(decision, options);
  const Request& request = decision.request;
  DecisionEvent event = {};
  event.kind = EventKind::kDecision;
  event.number = number;
  event.now_ns = decision.now_ns;
  event.seed = decision.seed;
  event.size_bytes = request.size_bytes;
  event.max_output_tokens = request.max_output_tokens.value_or(-1);
  event.snapshot_version = decision.snapshot.version();
  event.has_snapshot = with_snapshot;
  event.flags = (request.stream ? DecisionEvent::kStream : 0u) |
                (request.include_usage ? DecisionEvent::kIncludeUsage : 0u) |
                (sizes.cut ? DecisionEvent::kCut : 0u) |
                (request.max_output_tokens ? DecisionEvent::kHasMaxTokens : 0u) |
                (decision.sent_requests.empty() ? 0u : DecisionEvent::kHasSent) |
                (request.subset ? DecisionEvent::kHasSubset : 0u) |
                (request.if_available ? DecisionEvent::kIfAvailable : 0u) |
                (request.any_endpoint ? DecisionEvent::kAnyEndpoint : 0u);
  event.draws = decision.draws;
  event.code = static_cast<int32_t>(decision.code);
  event.api = static_cast<uint32_t>(request.api);
  event.priority = request.priority;
  event.primary_profile = decision.primary_profile;
  event.prompt_count = sizes.prompt_count;
  event.hash_count = sizes.hash_count;
  event.pick_count = sizes.pick_count;
  event.sent_count = sizes.sent_count;
  event.profile_count = static_cast<uint32_t>(decision.profiles.size());
  event.header_count = sizes.header_count;
  event.subset_bytes = static_cast<uint32_t>(sizes.subset_bytes);
  size_t text_bytes = sizes.header_bytes + sizes.subset_bytes;
  for (size_t i = 0; i < sizes.texts.size(); ++i) {
    event.text_bytes[i] = static_cast<uint32_t>(sizes.texts[i].size());
    text_bytes += sizes.texts[i].size();
  }
  Layout measure(nullptr);
  PartsOf(event, measure);
  const size_t size = sizeof event + measure.size() + text_bytes;

  std::byte* const entry = ring.Reserve(size, spare_bytes);
  if (entry == nullptr) return false;
  std::memcpy(entry, &event, sizeof event);
  if (with_snapshot) {
    new (reinterpret_cast<DecisionEvent*>(entry)->snapshot.data())
        std::shared_ptr<const PoolSnapshot>(decision.snapshot.weak_from_this().lock());
  }
  Layout layout(entry + sizeof event);
  const Parts parts = PartsOf(event, layout);
  FillPrompts(decision, options.prompt_block_tokens, parts, sizes.prompt_count, sizes.hash_count);
  FillResults(decision, parts);
  FillTexts(request, sizes, parts, layout);
  EventRing::Commit(entry);
  return true;
}

bool PutFlight(const FlightEvent& event, EventRing& ring) noexcept {
  std::byte* const entry = ring.Reserve(sizeof event);
  if (entry == nullptr) return false;
  std::memcpy(entry, &event, sizeof event);
  EventRing::Commit(entry);
  return true;
}

std::shared_ptr<const PoolSnapshot> TakeSnapshot(DecisionEvent& event) noexcept {
  if (event.has_snapshot == 0) return nullptr;
  event.has_snapshot = 0;
  auto* const held =
      std::launder(reinterpret_cast<std::shared_ptr<const PoolSnapshot>*>(event.snapshot.data()));
  std::shared_ptr<const PoolSnapshot> snapshot = std::move(*held);
  std::destroy_at(held);
  return snapshot;
}

void TakeDecision(const DecisionEvent& event, LoggedDecision* record) {
  Layout layout(reinterpret_cast<const std::byte*>(&event + 1));
  const Parts parts = PartsOf(event, layout);
  record->number = event.number;
  record->now_ns = event.now_ns;
  record->seed = event.seed;
  record->draws = event.draws;
  record->code = static_cast<Code>(event.code);
  record->has_sent = (event.flags & DecisionEvent::kHasSent) != 0;
  record->primary_profile = event.primary_profile;
  record->sent.clear();
  for (uint32_t i = 0; i < event.sent_count; ++i) {
    record->sent.push_back({parts.sent[i].row, parts.sent[i].requests, parts.sent[i].tokens});
  }
  record->profiles.resize(event.profile_count);
  const LoggedDecision::Pick* pick = parts.picks;
  for (uint32_t p = 0; p < event.profile_count; ++p) {
    const DecisionEvent::Profile& from = parts.profiles[p];
    record->profiles[p].index = from.index;
    record->profiles[p].failed = from.failed != 0;
    record->profiles[p].picks.assign(pick, pick + from.pick_count);
    pick += from.pick_count;
  }
  LoggedRequest& request = record->request;
  request.api = static_cast<Api>(event.api);
  request.priority = event.priority;
  request.stream = (event.flags & DecisionEvent::kStream) != 0;
  request.include_usage = (event.flags & DecisionEvent::kIncludeUsage) != 0;
  request.if_available = (event.flags & DecisionEvent::kIfAvailable) != 0;
  request.any_endpoint = (event.flags & DecisionEvent::kAnyEndpoint) != 0;
  request.cut = (event.flags & DecisionEvent::kCut) != 0;
  request.max_output_tokens.reset();
  if ((event.flags & DecisionEvent::kHasMaxTokens) != 0) {
    request.max_output_tokens = event.max_output_tokens;
  }
  request.size_bytes = event.size_bytes;
  const auto text = [&layout](uint32_t size) { return std::string_view(layout.Text(size), size); };
  request.id = text(event.text_bytes[0]);
  request.model = text(event.text_bytes[1]);
  request.incoming_model = text(event.text_bytes[2]);
  request.objective = text(event.text_bytes[3]);
  request.cache_salt = text(event.text_bytes[4]);
  request.fairness_id = text(event.text_bytes[5]);
  request.subset.reset();
  if ((event.flags & DecisionEvent::kHasSubset) != 0) request.subset.emplace();
  for (std::string_view list = text(event.subset_bytes); !list.empty();) {
    const std::string_view address = list.substr(0, list.find(','));
    request.subset->emplace_back(address);
    list.remove_prefix(address.size() + 1);
  }
  request.headers.resize(event.header_count);
  for (uint32_t h = 0; h < event.header_count; ++h) {
    request.headers[h].first = text(parts.headers[h].name);
    request.headers[h].second = text(parts.headers[h].value);
  }
  request.prompts.resize(event.prompt_count);
  const uint64_t* hash = parts.hashes;
  for (uint32_t p = 0; p < event.prompt_count; ++p) {
    const DecisionEvent::Prompt& from = parts.prompts[p];
    request.prompts[p].token_count = from.token_count;
    request.prompts[p].estimated = from.estimated != 0;
    request.prompts[p].block_hashes.assign(hash, hash + from.hash_count);
    hash += from.hash_count;
  }
}

}  // namespace weir::io
