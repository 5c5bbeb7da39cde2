#include <algorithm>
#include <cmath>

#include "load/source.h"
#include "load/text.h"

namespace weir::load {
namespace {

// Opens and closes the one message or prompt that these sources send.
void AppendOpening(Api api, std::string& out) {
  out += api == Api::kChat ? "\"messages\":[{\"role\":\"user\",\"content\":\"" : "\"prompt\":\"";
}
void AppendClosing(Api api, std::string& out) { out += api == Api::kChat ? "\"}]" : "\""; }

class TraceSource final : public Source {
 public:
  TraceSource(const Trace& trace, const TraceReplay& replay, Shard shard)
      : trace_(trace), replay_(replay), shard_(shard), next_(shard.index) {}

  Offer Next(int64_t, Item* item, int64_t*) override {
    if (next_ >= trace_.entries().size()) return Offer::kEnd;
    const Trace::Entry& entry = trace_.entries()[next_];
    *item = {0, next_, 0, Scaled(entry.input_tokens), std::max(1u, Scaled(entry.output_tokens))};
    next_ += shard_.count;
    return Offer::kItem;
  }

  void Render(const Item& item, std::string& out) const override {
    const Trace::Entry& entry = trace_.entries()[item.conversation];
    const uint32_t block_words = std::max(1u, Scaled(replay_.block_tokens));
    uint32_t left = static_cast<uint32_t>(item.prompt_tokens);
    AppendOpening(replay_.api, out);
    for (const uint64_t id : trace_.ids(entry)) {
      const uint32_t words = std::min(left, block_words);
      AppendWords(MixSeed(kTextSeed, id), words, out);
      left -= words;
    }
    AppendClosing(replay_.api, out);
  }

  void Finish(const Item&, std::string_view, int64_t) override {}

 private:
  static constexpr uint64_t kTextSeed = 0x7261636Eu;

  uint32_t Scaled(uint32_t tokens) const {
    return static_cast<uint32_t>(
        std::lround(std::max(tokens > 0 ? 1.0 : 0.0, tokens * replay_.scale)));
  }

  const Trace& trace_;
  const TraceReplay replay_;
  const Shard shard_;
  uint64_t next_;
};

class FixedSource final : public Source {
 public:
  FixedSource(Api api, size_t prompt_bytes, uint32_t output_tokens)
      : output_tokens_(output_tokens) {
    std::string words;
    while (words.size() < prompt_bytes) {
      AppendWords(++prompt_tokens_, 1, words);
    }
    words.resize(prompt_bytes);
    AppendOpening(api, prompt_);
    prompt_ += words;
    AppendClosing(api, prompt_);
  }

  Offer Next(int64_t, Item* item, int64_t*) override {
    *item = {0, number_++, 0, prompt_tokens_, output_tokens_};
    return Offer::kItem;
  }
  void Render(const Item&, std::string& out) const override { out += prompt_; }
  void Finish(const Item&, std::string_view, int64_t) override {}

 private:
  std::string prompt_;
  uint64_t prompt_tokens_ = 0;
  const uint32_t output_tokens_;
  uint64_t number_ = 0;
};

}  // namespace

std::unique_ptr<Source> CreateTraceSource(const Trace& trace, const TraceReplay& replay,
                                          Shard shard) {
  return std::make_unique<TraceSource>(trace, replay, shard);
}

std::unique_ptr<Source> CreateFixedSource(Api api, size_t prompt_bytes, uint32_t output_tokens) {
  return std::make_unique<FixedSource>(api, prompt_bytes, output_tokens);
}

}  // namespace weir::load
