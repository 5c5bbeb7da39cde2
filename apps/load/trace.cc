#include "load/trace.h"

#include <algorithm>
#include <istream>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "absl/strings/str_cat.h"

namespace weir::load {
namespace {

absl::Status Bad(const char* member, const nlohmann::json* value, const char* expected) {
  std::string shown = "missing";
  if (value != nullptr) {
    shown = value->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    if (shown.size() > 40) shown = shown.substr(0, 40) + "...";
  }
  return absl::InvalidArgumentError(absl::StrCat(member, ": ", shown, ", expected ", expected));
}

const nlohmann::json* Find(const nlohmann::json& object, const char* member) {
  const auto found = object.find(member);
  return found == object.end() ? nullptr : &*found;
}

absl::Status ReadTokens(const nlohmann::json& object, const char* member, uint32_t min,
                        uint32_t* tokens) {
  const nlohmann::json* value = Find(object, member);
  if (value == nullptr || !value->is_number_unsigned() || value->get<uint64_t>() < min ||
      value->get<uint64_t>() > kTraceTokensMax) {
    return Bad(member, value,
               min == 0 ? "a whole number 0..16000000" : "a whole number 1..16000000");
  }
  *tokens = value->get<uint32_t>();
  return absl::OkStatus();
}

enum class LineEnd : uint8_t { kFound, kNone, kTooLong };

// Reads the next line without its line feed. Stops at kTraceLineBytesMax, so that a file without
// line feeds cannot grow memory.
LineEnd ReadLine(std::streambuf& in, std::string& line) {
  using Traits = std::streambuf::traits_type;
  line.clear();
  for (;;) {
    const auto next = in.sbumpc();
    if (Traits::eq_int_type(next, Traits::eof())) {
      return line.empty() ? LineEnd::kNone : LineEnd::kFound;
    }
    if (Traits::to_char_type(next) == '\n') return LineEnd::kFound;
    if (line.size() >= kTraceLineBytesMax) return LineEnd::kTooLong;
    line += Traits::to_char_type(next);
  }
}

}  // namespace

absl::Status ParseTraceLine(std::string_view line, uint32_t block_tokens, TraceRecord* record) {
  const nlohmann::json object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return absl::InvalidArgumentError("not a JSON object, expected one request a line");
  }
  const nlohmann::json* timestamp = Find(object, "timestamp");
  if (timestamp == nullptr || !timestamp->is_number() ||
      !(timestamp->get<double>() >= 0 && timestamp->get<double>() <= kTraceTimestampMsMax)) {
    return Bad("timestamp", timestamp, "milliseconds 0..1e12");
  }
  record->timestamp_ms = timestamp->get<double>();
  if (auto status = ReadTokens(object, "input_length", 1, &record->input_tokens); !status.ok()) {
    return status;
  }
  if (auto status = ReadTokens(object, "output_length", 0, &record->output_tokens); !status.ok()) {
    return status;
  }
  const nlohmann::json* ids = Find(object, "hash_ids");
  if (ids == nullptr || !ids->is_array()) return Bad("hash_ids", ids, "a list of whole numbers");
  const size_t expected = (size_t{record->input_tokens} + block_tokens - 1) / block_tokens;
  if (ids->size() != expected) {
    return absl::InvalidArgumentError(absl::StrCat("hash_ids: ", ids->size(), " ids, expected ",
                                                   expected, " for ", record->input_tokens,
                                                   " input tokens in blocks of ", block_tokens));
  }
  record->hash_ids.clear();
  record->hash_ids.reserve(expected);
  for (const nlohmann::json& id : *ids) {
    if (!id.is_number_unsigned()) return Bad("hash_ids", &id, "whole numbers");
    record->hash_ids.push_back(id.get<uint64_t>());
  }
  return absl::OkStatus();
}

void AppendTraceLine(const TraceRecord& record, std::string& out) {
  absl::StrAppend(&out, "{\"timestamp\": ", static_cast<int64_t>(record.timestamp_ms),
                  ", \"input_length\": ", record.input_tokens,
                  ", \"output_length\": ", record.output_tokens, ", \"hash_ids\": [");
  for (size_t i = 0; i < record.hash_ids.size(); ++i) {
    absl::StrAppend(&out, i == 0 ? "" : ", ", record.hash_ids[i]);
  }
  out += "]}\n";
}

absl::StatusOr<Trace> Trace::Read(std::istream& in, std::string_view name,
                                  const TraceLimits& limits) {
  Trace trace;
  TraceRecord record;
  std::string line;
  size_t line_number = 0;
  const auto at = [&](absl::string_view text) {
    return absl::StrCat(absl::string_view(name.data(), name.size()), ":", line_number, ": ", text);
  };
  const size_t records_max = std::min(limits.records_max, kTraceRecordsMax);
  double first_ms = 0;
  while (trace.entries_.size() < records_max) {
    const LineEnd end = ReadLine(*in.rdbuf(), line);
    ++line_number;
    if (end == LineEnd::kTooLong) {
      return absl::ResourceExhaustedError(
          at(absl::StrCat("line is longer than ", kTraceLineBytesMax, " bytes")));
    }
    if (end == LineEnd::kNone) break;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (auto status = ParseTraceLine(line, limits.block_tokens, &record); !status.ok()) {
      return absl::InvalidArgumentError(at(status.message()));
    }
    if (trace.entries_.empty()) first_ms = record.timestamp_ms;
    const double offset_ms = record.timestamp_ms - first_ms;
    if (limits.duration_ms_max > 0 && offset_ms > limits.duration_ms_max) continue;
    if (trace.ids_.size() + record.hash_ids.size() > kTraceIdsMax) {
      return absl::ResourceExhaustedError(at(absl::StrCat("more than ", kTraceIdsMax, " ids")));
    }
    trace.entries_.push_back({offset_ms, record.input_tokens, record.output_tokens,
                              trace.ids_.size(), static_cast<uint32_t>(record.hash_ids.size())});
    trace.ids_.insert(trace.ids_.end(), record.hash_ids.begin(), record.hash_ids.end());
  }
  if (trace.entries_.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(absl::string_view(name.data(), name.size()), ": no request in this file"));
  }
  std::stable_sort(trace.entries_.begin(), trace.entries_.end(),
                   [](const Entry& a, const Entry& b) { return a.offset_ms < b.offset_ms; });
  const double earliest_ms = trace.entries_.front().offset_ms;
  for (Entry& entry : trace.entries_) entry.offset_ms -= earliest_ms;
  return trace;
}

double LeadingBlockHitRatio(const Trace& trace) {
  std::unordered_set<uint64_t> seen;
  uint64_t hits = 0, blocks = 0;
  for (const Trace::Entry& entry : trace.entries()) {
    bool leading = true;
    for (const uint64_t id : trace.ids(entry)) {
      leading = !seen.insert(id).second && leading;
      hits += leading ? 1 : 0;
      ++blocks;
    }
  }
  return blocks == 0 ? 0.0 : static_cast<double>(hits) / static_cast<double>(blocks);
}

}  // namespace weir::load
