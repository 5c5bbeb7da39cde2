// Bytes as a trace file, and as an answer cut in two: neither may crash, hang or grow.
#include <cstdlib>
#include <sstream>

#include "load/answer.h"
#include "load/trace.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  std::istringstream in{std::string(bytes)};
  const auto trace = weir::load::Trace::Read(in, "fuzz", {.block_tokens = 16});
  if (trace.ok()) {
    const double ratio = weir::load::LeadingBlockHitRatio(*trace);
    if (ratio < 0 || ratio > 1) std::abort();
    // What was read can be written and read again.
    const auto& entry = trace->entries().front();
    const auto ids = trace->ids(entry);
    weir::load::TraceRecord record{
        entry.offset_ms, entry.input_tokens, entry.output_tokens, {ids.begin(), ids.end()}};
    std::string line;
    weir::load::AppendTraceLine(record, line);
    if (!weir::load::ParseTraceLine(line, 16, &record).ok()) std::abort();
  }
  for (const bool streaming : {true, false}) {
    weir::load::AnswerScanner whole, halves;
    whole.Start(streaming, true);
    halves.Start(streaming, true);
    const uint32_t events = whole.Feed(bytes);
    uint32_t split_events = halves.Feed(bytes.substr(0, size / 2));
    split_events += halves.Feed(bytes.substr(size / 2));
    whole.End();
    halves.End();
    if (events != split_events || whole.text() != halves.text()) std::abort();
  }
  return 0;
}
