#include "weir/io/decision_log/wire.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace weir::io {

uint64_t FrameChecksum(std::string_view payload, uint64_t frame_offset) noexcept {
  return XXH64(payload.data(), payload.size(), frame_offset);
}

uint64_t TextHash(std::string_view text) noexcept { return XXH64(text.data(), text.size(), 0); }

}  // namespace weir::io
