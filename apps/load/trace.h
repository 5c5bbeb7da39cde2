// load/trace.h: request traces, one JSON object a line, in the format of the Mooncake project:
//   {"timestamp": MS, "input_length": TOKENS, "output_length": TOKENS, "hash_ids": [ID, ...]}
// with one id per block of 512 input tokens; requests that share leading ids share that prefix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace weir::load {

inline constexpr uint32_t kTraceBlockTokens = 512;
inline constexpr size_t kTraceLineBytesMax = 1 << 20;
inline constexpr size_t kTraceRecordsMax = 10'000'000;
inline constexpr size_t kTraceIdsMax = 100'000'000;  // over all records: 800 MB
inline constexpr uint32_t kTraceTokensMax = 16'000'000;
inline constexpr double kTraceTimestampMsMax = 1e12;

struct TraceRecord {
  double timestamp_ms = 0;
  uint32_t input_tokens = 0;
  uint32_t output_tokens = 0;
  std::vector<uint64_t> hash_ids;
};

// Reads one line. Unknown members are ignored; a repeated one counts as given last.
// Errors: kInvalidArgument, naming the member, its value and what was expected; *record is then
// unspecified. [control]
absl::Status ParseTraceLine(std::string_view line, uint32_t block_tokens, TraceRecord* record);

// Appends the record as one line with its line feed.
void AppendTraceLine(const TraceRecord& record, std::string& out);

struct TraceLimits {
  uint32_t block_tokens = kTraceBlockTokens;  // input tokens per id in this file
  size_t records_max = kTraceRecordsMax;      // records after these are not read
  double duration_ms_max = 0;                 // records later than the first by this are not read;
                                              // 0: all
};

// A trace in memory, in the order of its timestamps; the ids of all records lie in one array.
class Trace {
 public:
  struct Entry {
    double offset_ms;  // after the first record
    uint32_t input_tokens, output_tokens;
    uint64_t ids_begin;
    uint32_t id_count;
  };

  // Reads all lines of `in`; `name` leads the error texts ("name:LINE: ..."). Empty lines are
  // skipped; records out of order are sorted by time, equal times keep the file's order.
  // Errors: kInvalidArgument (a bad line, no record at all), kResourceExhausted (a limit above).
  static absl::StatusOr<Trace> Read(std::istream& in, std::string_view name,
                                    const TraceLimits& limits);

  const std::vector<Entry>& entries() const noexcept { return entries_; }
  std::span<const uint64_t> ids(const Entry& entry) const noexcept {
    return std::span(ids_).subspan(entry.ids_begin, entry.id_count);
  }

 private:
  std::vector<Entry> entries_;
  std::vector<uint64_t> ids_;
};

// What a prefix cache of unbounded size, shared by all, would serve of the trace: leading blocks
// seen before over all blocks. The upper bound of any routing policy.
double LeadingBlockHitRatio(const Trace& trace);

}  // namespace weir::load
