// weir/io/decision_log/reader.h: iterates over a decision log. Start at DecisionLogReader::Open().
#pragma once

#include <cstdint>
#include <istream>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "weir/io/decision_log/decoder.h"
#include "weir/io/decision_log/record.h"

namespace weir::io {

// Reads record after record; holds one frame (at most kDecisionLogRecordBytesMax and
// kFrameBytes) and the tables that the format allows. What it returns is within the limits of
// record.h, whatever the bytes were. One thread at a time.
class DecisionLogReader {
 public:
  // Errors: kNotFound (the file), kInvalidArgument (not a decision log, or one of another version),
  // kDataLoss (cut or changed in the first record). Texts name the file and the byte. [io]
  static absl::StatusOr<std::unique_ptr<DecisionLogReader>> Open(const std::string& path);
  // The same from a stream of bytes; `name` stands for the file in errors. [io]
  static absl::StatusOr<std::unique_ptr<DecisionLogReader>> FromStream(
      std::unique_ptr<std::istream> stream, const std::string& name);

  const LogHeader& header() const noexcept { return header_; }

  // The next record after the header, null at the end of the file; owned, until the next call.
  // Records of a later minor version are skipped. Errors: kDataLoss (the file is cut or changed
  // from here on); later calls return it again. [io]
  absl::StatusOr<const LogRecord*> Next();

  // The pool after the record that Next returned last: that of the next decision.
  const LoggedPool& pool() const noexcept { return pool_; }
  // Whether the log was ended by its writer. False at the end of the file means that the writer
  // was killed, or is still writing: up to a frame of records may be missing.
  bool closed() const noexcept { return closed_; }
  // Where in the file the frame of the last record begins.
  uint64_t frame_offset() const noexcept { return frame_offset_; }
  uint64_t skipped_records() const noexcept { return skipped_; }

 private:
  DecisionLogReader(std::unique_ptr<std::istream> stream, const std::string& name);
  absl::Status ReadHead();
  absl::StatusOr<const LogRecord*> ReadRecord();
  absl::StatusOr<bool> ReadFrame();
  absl::Status Lost(const std::string& problem);

  const std::unique_ptr<std::istream> stream_;
  const std::string name_;
  LogDecoder decoder_;
  LogHeader header_;
  LogRecord record_;
  LoggedPool pool_;
  std::string frame_;  // payload
  WireIn rest_{{}};    // of frame_
  uint64_t frame_offset_ = 0;
  uint64_t next_offset_ = kLogHeadBytes;
  uint64_t skipped_ = 0;
  bool closed_ = false;
  absl::Status failure_;
};

}  // namespace weir::io
