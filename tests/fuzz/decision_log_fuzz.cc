// Any bytes as a decision log. As a file: the reader ends, with an error that names the byte. As
// the records of a frame whose checksum is right, so that bytes reach the decoder: what comes out
// is within the limits of record.h, and written again it reads the same.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "weir/io/decision_log/encoder.h"
#include "weir/io/decision_log/reader.h"

using namespace weir::io;

namespace {

constexpr size_t kRecordsKept = 256;

void Require(bool holds) {
  if (!holds) std::abort();
}

std::string HeaderBytes() {
  LogEncoder encoder;
  encoder.Append(
      LogHeader{.pipeline_hash = TextHash(""), .attribute_count = 3, .prompt_block_tokens = 64});
  encoder.CloseFrame();
  return encoder.bytes();
}

void CheckLimits(const LogRecord& record, const LoggedPool& pool) {
  Require(pool.endpoints.size() <= weir::kEndpointsMax);
  const auto* decision = std::get_if<LoggedDecision>(&record);
  if (decision == nullptr) return;
  size_t blocks = 0;
  for (const LoggedPrompt& prompt : decision->request.prompts) {
    blocks += prompt.block_hashes.size();
    Require(prompt.block_hashes.size() <= prompt.token_count / 64 + 1);
  }
  Require(blocks <= kDecisionLogBlocksMax);
  Require(decision->request.headers.size() <= kDecisionLogHeadersMax);
  Require(decision->profiles.size() <= weir::kProfilesMax);
  for (const auto& profile : decision->profiles) {
    Require(profile.picks.size() <= weir::kTargetsMax);
    for (const auto& pick : profile.picks) Require(pick.row < pool.endpoints.size());
  }
  for (const auto& sent : decision->sent) Require(sent.row < pool.endpoints.size());
}

// Reads to the end; keeps the first records.
std::vector<LogRecord> Read(const std::string& bytes) {
  std::vector<LogRecord> records;
  auto reader = DecisionLogReader::FromStream(std::make_unique<std::istringstream>(bytes), "log");
  if (!reader.ok()) {
    Require(reader.status().message().find("byte ") != std::string::npos);
    return records;
  }
  while (true) {
    const auto record = (*reader)->Next();
    if (!record.ok()) {
      Require(record.status().message().find("log: byte ") == 0);
      Require((*reader)->Next().status() == record.status());
      break;
    }
    if (*record == nullptr) break;
    CheckLimits(**record, (*reader)->pool());
    if (records.size() < kRecordsKept) records.push_back(**record);
  }
  return records;
}

// Scores and ratios may be NaN, which equals nothing.
bool HasNan(const std::vector<LogRecord>& records) {
  return std::any_of(records.begin(), records.end(),
                     [](const LogRecord& record) { return !(record == record); });
}

// Whether each hash always follows the same one, as hashes of prefixes do.
bool AreChained(const std::vector<LogRecord>& records) {
  std::map<uint64_t, std::pair<uint64_t, size_t>> before;
  for (const LogRecord& record : records) {
    const auto* decision = std::get_if<LoggedDecision>(&record);
    if (decision == nullptr) continue;
    for (const LoggedPrompt& prompt : decision->request.prompts) {
      uint64_t last = 0;
      for (size_t i = 0; i < prompt.block_hashes.size(); ++i) {
        const std::pair<uint64_t, size_t> place(last, i);
        last = prompt.block_hashes[i];
        if (before.emplace(last, place).first->second != place) return false;
      }
    }
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  (void)Read(input);
  if (input.empty()) return 0;
  std::string framed = HeaderBytes();
  const uint64_t offset = framed.size();
  WireOut out(&framed);
  out.Fixed32(static_cast<uint32_t>(size));
  out.Fixed64(FrameChecksum(input, offset));
  const std::vector<LogRecord> records = Read(framed + input);
  if (records.empty() || records.size() == kRecordsKept) return 0;
  if (HasNan(records) || !AreChained(records)) return 0;
  LogEncoder encoder;
  encoder.Append(
      LogHeader{.pipeline_hash = TextHash(""), .attribute_count = 3, .prompt_block_tokens = 64});
  for (const LogRecord& record : records) {
    std::visit([&encoder](const auto& one) { encoder.Append(one); }, record);
  }
  encoder.CloseFrame();
  Require(Read(encoder.bytes()) == records);
  return 0;
}
