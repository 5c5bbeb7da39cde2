// Event and usage scan: splitting the bytes never changes the answer.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "weir/io/http/sse.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weir::io;
  if (size == 0) return 0;
  const size_t step = data[0] % 31 + 1;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  SseScanner events, stepped_events;
  UsageScanner usage, stepped_usage;
  const uint32_t count = events.Feed(text);
  usage.Feed(text);
  uint64_t stepped_count = 0;
  while (!text.empty()) {
    const std::string_view piece = text.substr(0, step);
    stepped_count += stepped_events.Feed(piece);
    stepped_usage.Feed(piece);
    text.remove_prefix(piece.size());
  }
  if (count != stepped_count || events.done_seen() != stepped_events.done_seen()) std::abort();
  if (!(usage.usage() == stepped_usage.usage()) || usage.found() != stepped_usage.found())
    std::abort();
  return 0;
}
