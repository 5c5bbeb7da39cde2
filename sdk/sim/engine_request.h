// weir/sim/engine_request.h: a request inside the engine. Private to the engine's sources.
#pragma once

#include <vector>

#include "weir/sim/engine.h"

namespace weir::sim {

struct Engine::Request {
  RequestId id = 0;
  std::vector<uint32_t> tokens;  // prompt, then the whole planned answer
  uint32_t prompt_tokens = 0;
  uint32_t planned_tokens = 0;  // of the answer
  FinishReason planned_reason = FinishReason::kStop;
  uint32_t output_tokens_max = 0;
  int32_t priority = 0;
  uint32_t lora = 0;

  uint32_t computed_tokens = 0;
  uint32_t emitted_tokens = 0;
  uint32_t stored_blocks = 0;  // named in the pool since the last admission
  std::vector<BlockId> blocks;
  BlockHash salt = 0;
  std::vector<BlockHash> hashes;  // of full blocks, as far as anyone asked

  bool running = false;
  bool cancelled = false;
  bool finished = false;
  FinishReason reason = FinishReason::kStop;
  uint32_t cached_tokens = 0;
  uint32_t preemptions = 0;
  int64_t arrival_ns = 0;
  int64_t queued_ns = 0;
  int64_t scheduled_ns = -1;
  int64_t first_token_ns = -1;

  // Tokens that exist: the prompt and what was emitted.
  uint32_t known_tokens() const noexcept { return prompt_tokens + emitted_tokens; }
  // True if all but the newest emitted token are computed.
  bool decoding() const noexcept {
    return emitted_tokens > 0 && computed_tokens + 1 == known_tokens();
  }
};

}  // namespace weir::sim
