// weir/io/decision_log/encoder.h: records -> bytes of a decision log.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "weir/io/decision_log/record.h"
#include "weir/io/decision_log/wire.h"

namespace weir::io {

// Writes the file's head, then frames of records. Knows what it wrote before, so that texts,
// blocks of prompts and load that repeat cost a byte or two. One thread at a time.
class LogEncoder {
 public:
  LogEncoder();

  // Adds a record to the open frame. REQUIRES: the first one is a LogHeader, a pool's rows fit the
  // pool written before, nothing is above the limits of record.h.
  void Append(const LogHeader& header);
  void Append(const PoolDelta& delta);
  void Append(const LoggedDecision& decision);
  void Append(const LoggedBegin& begin);
  void Append(const LoggedFirstToken& first);
  void Append(const LoggedEnd& end);
  void Append(const LoggedGap& gap);
  void Append(const LogEnd& end);

  // Bytes that are to be written once CloseFrame was called, 0 if no record waits.
  size_t unwritten_bytes() const {
    return bytes_.size() + (frame_.empty() ? 0 : kFrameHeadBytes + frame_.size());
  }
  bool frame_full() const { return !bytes_.empty() || frame_.size() >= kFrameBytes; }
  // Makes the waiting records part of bytes().
  void CloseFrame();
  // Forgets bytes() and the waiting records. REQUIRES: only a LogEnd follows, because later records
  // may name what those brought.
  void DropUnwritten();

  // What is to be written next, and forgets it.
  const std::string& bytes() const { return bytes_; }
  void ClearBytes() { bytes_.clear(); }

 private:
  struct TextHasher {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  WireOut body() { return WireOut(&body_); }
  void Finish(LogRecordType type);
  void Text(std::string_view text);
  void Labels(const std::map<std::string, std::string>& labels);
  void Texts(const std::vector<std::string>& texts);
  void Time(int64_t now_ns);
  void Flight(uint64_t flight, int64_t now_ns);
  void Columns(const LoggedEndpoint& values, uint32_t fields, int64_t base_ns);
  void Request(const LoggedRequest& request);
  void Prompt(const LoggedPrompt& prompt);
  void Sent(const LoggedDecision& decision);

  std::string bytes_;
  std::string frame_;                // records
  std::string body_;                 // of the record in work
  uint64_t offset_ = kLogHeadBytes;  // of the next frame in the file
  std::unordered_map<std::string, uint32_t, TextHasher, std::equal_to<>> texts_;
  std::unordered_map<uint64_t, uint32_t> nodes_;  // block hash -> number
  uint32_t next_node_ = 0;
  struct Load {
    uint32_t requests = 0;
    uint32_t tokens = 0;
    bool operator==(const Load&) const = default;
  };
  std::vector<Load> sent_;  // per row, of the decision before
  std::vector<Load> next_sent_;
  uint32_t attribute_count_ = 0;
  int64_t last_ns_ = 0;
  uint64_t last_decision_ = 0;
  uint64_t last_flight_ = 0;
};

}  // namespace weir::io
