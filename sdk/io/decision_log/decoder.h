// weir/io/decision_log/decoder.h: the body of a record -> its value. Every number of the file is
// checked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weir/io/decision_log/record.h"
#include "weir/io/decision_log/wire.h"

namespace weir::io {

// The mirror of LogEncoder. One thread at a time.
class LogDecoder {
 public:
  // Writes the record to *record and returns what is wrong with it, or nothing. Bytes behind the
  // known fields are ignored: a later minor version wrote them. `type` is one of LogRecordType.
  // The pool's rows are those of *pool, to which deltas are applied.
  std::string Decode(LogRecordType type, std::string_view body, LogRecord* record,
                     LoggedPool* pool);

 private:
  void Decode(WireIn& in, LogHeader& header);
  void Decode(WireIn& in, PoolDelta& delta, const LoggedPool& pool);
  void Decode(WireIn& in, LoggedDecision& decision, const LoggedPool& pool);
  void Decode(WireIn& in, LoggedBegin& begin);
  void Decode(WireIn& in, LoggedFirstToken& first);
  void Decode(WireIn& in, LoggedEnd& end);

  // Says which field was wrong, unless an earlier one was.
  void Check(const WireIn& in, std::string_view field);
  void Refuse(WireIn& in, std::string_view problem);
  std::string Text(WireIn& in);
  void Labels(WireIn& in, std::map<std::string, std::string>& labels);
  void Texts(WireIn& in, uint64_t count_max, std::vector<std::string>& texts);
  int64_t Time(WireIn& in);
  void Columns(WireIn& in, uint32_t fields, int64_t base_ns, LoggedEndpoint& values);
  void Request(WireIn& in, uint64_t flags, LoggedRequest& request);
  void Prompt(WireIn& in, uint64_t* blocks_left, LoggedPrompt& prompt);
  void Sent(WireIn& in, LoggedDecision& decision, uint32_t row_count);
  void Profiles(WireIn& in, LoggedDecision& decision, uint32_t row_count);

  struct Node {
    uint64_t hash;
    uint32_t parent;  // number + 1, 0 for none
    uint32_t depth;   // blocks from the start to this one
  };
  struct Load {
    uint32_t requests = 0;
    uint32_t tokens = 0;
  };
  std::string problem_;
  uint32_t prompt_block_tokens_ = 1;
  uint32_t attribute_count_ = 0;
  std::vector<std::string> texts_;
  std::vector<Node> nodes_;
  std::vector<Load> sent_;
  int64_t last_ns_ = 0;
  uint64_t last_decision_ = 0;
  uint64_t last_flight_ = 0;
};

}  // namespace weir::io
