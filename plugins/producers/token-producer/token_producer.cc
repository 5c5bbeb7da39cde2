#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "media_tokens.h"
#include "params_schema.h"
#include "weir/plugin/producer.h"

namespace {

using weir::plugin::Batch;
using weir::plugin::Output;
using weir::plugin::Params;
using weir::plugin::Request;
using weir::plugin::View;
using weir_token_producer::kPromptMediaTokensMax;
using weir_token_producer::MediaTokens;
using weir_token_producer::ReadVideoHints;
using weir_token_producer::VideoHints;

// Counter of prompts whose tokens did not fit the decision's memory; they stay without tokens.
constexpr uint32_t kCounterPromptsTooLarge = 0;
// Counter of prompts whose media count for less, because all together are worth too much.
constexpr uint32_t kCounterMediaCapped = 1;

// A token is four bytes of the prompt, so text in memory already is its tokens.
static_assert(std::endian::native == std::endian::little);
uint64_t TokensOf(uint64_t bytes) { return (bytes + 3) / 4; }

// Four bytes of text are one token, and media are runs of one number from their hash. Not the
// model's tokens: equal prefixes give equal tokens, which is what prefix matching and load need.
class TokenProducer {
 public:
  explicit TokenProducer(const Params& params) : media_(params) {
    std::string backends;
    for (const char* backend : {"modelName", "vllm", "udsTokenizerConfig", "estimate"}) {
      if (!params.has(backend)) continue;
      // modelName belongs to vllm when both are given.
      if (backend == std::string_view("vllm") && backends == "modelName") backends.clear();
      backends += (backends.empty() ? "" : ", ") + std::string(backend);
    }
    if (backends.find(',') != std::string::npos) {
      Params::Fail(backends + ": more than one backend, expected one");
    }
    if (!backends.empty() && backends != "estimate") {
      Params::Fail(backends + ": this backend is not built in this version, expected estimate");
    }
  }

  void Produce(const Request& request, const Batch& batch, const Output& output) const {
    const VideoHints hints = ReadVideoHints(request);
    const auto prompts = request.prompts();
    for (uint64_t i = 0; i < prompts.size(); ++i) {
      if (prompts[i].tokens == nullptr) ProduceOne(prompts[i], i, hints, batch, output);
    }
  }

 private:
  void ProduceOne(const weir_prompt& prompt, uint64_t index, const VideoHints& hints,
                  const Batch& batch, const Output& output) const {
    if (prompt.part_count == 0) return;
    const weir_part& first = prompt.parts[0];
    if (prompt.part_count == 1 && first.kind == WEIR_PART_TEXT) {
      // Aligned and zero-padded, as the ABI promises.
      output.SetTokens(index, reinterpret_cast<const uint32_t*>(first.bytes.data),
                       TokensOf(first.bytes.size));
      return;
    }
    bool capped = false;
    const uint64_t token_count = Write(prompt, hints, nullptr, &capped);
    if (capped) batch.call().Count(kCounterMediaCapped);
    auto* tokens = batch.call().allocate<uint32_t>(token_count);
    if (tokens == nullptr) {
      batch.call().Count(kCounterPromptsTooLarge);
      return;
    }
    Write(prompt, hints, tokens, &capped);
    output.SetTokens(index, tokens, token_count);
  }

  uint64_t MediaCount(const weir_part& part, const VideoHints& hints) const {
    switch (part.kind) {
      case WEIR_PART_IMAGE:
        return media_.Image(View(part.bytes));
      case WEIR_PART_VIDEO:
        return media_.Video(hints);
      default:
        return media_.Audio(View(part.bytes));
    }
  }

  // Returns the number of tokens of a prompt, and writes them unless `tokens` is null.
  uint64_t Write(const weir_prompt& prompt, const VideoHints& hints, uint32_t* tokens,
                 bool* capped) const {
    uint64_t size_bytes = 0, media_left = kPromptMediaTokensMax;
    for (uint64_t i = 0; i < prompt.part_count; ++i) {
      const weir_part& part = prompt.parts[i];
      if (part.kind == WEIR_PART_TEXT) {
        if (tokens != nullptr && part.bytes.size != 0) {
          std::memcpy(reinterpret_cast<char*>(tokens) + size_bytes, part.bytes.data,
                      part.bytes.size);
        }
        size_bytes += part.bytes.size;
        continue;
      }
      if (part.bytes.size == 0) continue;
      size_bytes = Pad(tokens, size_bytes);
      uint64_t count = MediaCount(part, hints);
      if (count > media_left) {
        count = 1;
        *capped = true;
      } else {
        media_left -= count;
      }
      if (tokens != nullptr) {
        const auto hash = static_cast<uint32_t>(XXH64(part.bytes.data, part.bytes.size, 0));
        std::fill_n(tokens + size_bytes / 4, count, hash);
      }
      size_bytes += count * 4;
    }
    return Pad(tokens, size_bytes) / 4;
  }

  // Fills up the last token with zero bytes.
  static uint64_t Pad(uint32_t* tokens, uint64_t size_bytes) {
    const uint64_t padded = TokensOf(size_bytes) * 4;
    if (tokens != nullptr) {
      std::memset(reinterpret_cast<char*>(tokens) + size_bytes, 0, padded - size_bytes);
    }
    return padded;
  }

  MediaTokens media_;
};

}  // namespace

WEIR_PLUGIN(module) {
  module.AddProducer<TokenProducer>("token-producer")
      .Schema(kParamsSchema)
      .Beta()
      .ReadsLoad(0)
      .Writes(weir::plugin::kTokenizedPrompt);
  module.AddProducer<TokenProducer>("tokenizer")
      .Schema(kParamsSchema)
      .Beta()
      .ReadsLoad(0)
      .Deprecated("token-producer")
      .Writes(weir::plugin::kTokenizedPrompt);
}
