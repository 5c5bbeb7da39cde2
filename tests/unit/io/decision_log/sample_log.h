// sample_log.h: one record of each kind, for tests of the bytes.
#pragma once

#include <string>
#include <vector>

#include "weir/io/decision_log/encoder.h"
#include "weir/io/decision_log/reader.h"
#include "weir/io/decision_log/record.h"

namespace weir::io {

LogHeader SampleHeader();
// A log's records behind its header: two pools, decisions with all and with no fields, feedback.
std::vector<LogRecord> SampleRecords();
void AppendRecord(const LogRecord& record, LogEncoder* encoder);
// A file of these records, `records_per_frame` in each frame.
std::string LogOf(const std::vector<LogRecord>& records, size_t records_per_frame);

struct ReadResult {
  absl::Status status;  // of opening, or of the last Next
  std::vector<LogRecord> records;
  bool closed = false;
  uint64_t skipped = 0;
};
ReadResult ReadAll(const std::string& bytes);

}  // namespace weir::io
