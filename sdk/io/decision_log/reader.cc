#include "weir/io/decision_log/reader.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weir::io {
namespace {

constexpr uint64_t kFrameBytesMax = kDecisionLogRecordBytesMax + kFrameBytes;

// Reads up to `size` bytes; less at the end of the file.
std::string ReadUpTo(std::istream& stream, size_t size) {
  std::string bytes(size, '\0');
  stream.read(bytes.data(), static_cast<std::streamsize>(size));
  bytes.resize(static_cast<size_t>(stream.gcount()));
  return bytes;
}

}  // namespace

DecisionLogReader::DecisionLogReader(std::unique_ptr<std::istream> stream, const std::string& name)
    : stream_(std::move(stream)), name_(name) {}

absl::StatusOr<std::unique_ptr<DecisionLogReader>> DecisionLogReader::Open(
    const std::string& path) {
  auto file = std::make_unique<std::ifstream>(path, std::ios::binary);
  if (!*file) {
    return absl::NotFoundError(absl::StrCat(path, ": cannot be read: ", std::strerror(errno)));
  }
  return FromStream(std::move(file), path);
}

absl::StatusOr<std::unique_ptr<DecisionLogReader>> DecisionLogReader::FromStream(
    std::unique_ptr<std::istream> stream, const std::string& name) {
  std::unique_ptr<DecisionLogReader> reader(new DecisionLogReader(std::move(stream), name));
  if (absl::Status status = reader->ReadHead(); !status.ok()) return status;
  return reader;
}

absl::Status DecisionLogReader::Lost(const std::string& problem) {
  failure_ = absl::DataLossError(absl::StrCat(name_, ": byte ", frame_offset_, ": ", problem));
  return failure_;
}

absl::Status DecisionLogReader::ReadHead() {
  const std::string head = ReadUpTo(*stream_, kLogHeadBytes);
  if (std::string_view(head).substr(0, kLogMagic.size()) != kLogMagic) {
    return absl::InvalidArgumentError(absl::StrCat(name_, ": byte 0: not a decision log of weir"));
  }
  if (head.size() < kLogHeadBytes) {
    return absl::DataLossError(absl::StrCat(name_, ": byte ", head.size(), ": cut in its head"));
  }
  WireIn in(std::string_view(head).substr(kLogMagic.size()));
  const uint32_t version = in.Fixed32();
  const uint32_t minor_version = in.Fixed32();
  if (version != kDecisionLogVersion) {
    return absl::InvalidArgumentError(
        absl::StrCat(name_, ": byte ", kLogMagic.size(), ": format version ", version,
                     ", this weir reads version ", kDecisionLogVersion));
  }
  const absl::StatusOr<const LogRecord*> first = ReadRecord();
  if (!first.ok()) return first.status();
  if (*first == nullptr || !std::holds_alternative<LogHeader>(record_)) {
    frame_offset_ = kLogHeadBytes;
    return Lost("no header record");
  }
  header_ = std::get<LogHeader>(std::move(record_));
  header_.minor_version = minor_version;
  return absl::OkStatus();
}

absl::StatusOr<const LogRecord*> DecisionLogReader::Next() {
  auto record = ReadRecord();
  if (record.ok() && *record != nullptr && std::holds_alternative<LogHeader>(**record)) {
    return Lost("a second header record");
  }
  return record;
}

absl::StatusOr<const LogRecord*> DecisionLogReader::ReadRecord() {
  if (!failure_.ok()) return failure_;
  while (true) {
    while (rest_.rest().empty()) {
      const auto has_frame = ReadFrame();
      if (!has_frame.ok()) return has_frame.status();
      if (!*has_frame) return nullptr;
    }
    if (closed_) return Lost("bytes after the end of the log");
    const uint64_t place = frame_.size() - rest_.rest().size();
    const uint64_t type = rest_.Number();
    const std::string_view body = rest_.Bytes(kDecisionLogRecordBytesMax);
    if (!rest_.ok()) return Lost(absl::StrCat("record at +", place, ": longer than its frame"));
    if (type == 0) return Lost(absl::StrCat("record at +", place, ": type 0"));
    if (type > static_cast<uint64_t>(LogRecordType::kLogEnd)) {
      ++skipped_;
      continue;
    }
    const std::string problem =
        decoder_.Decode(static_cast<LogRecordType>(type), body, &record_, &pool_);
    if (!problem.empty()) {
      return Lost(absl::StrCat("record at +", place, " of type ", type, ": ", problem));
    }
    closed_ = std::holds_alternative<LogEnd>(record_);
    return &record_;
  }
}

// False at the end of the file.
absl::StatusOr<bool> DecisionLogReader::ReadFrame() {
  frame_offset_ = next_offset_;
  const std::string head = ReadUpTo(*stream_, kFrameHeadBytes);
  if (head.empty()) return false;
  if (head.size() < kFrameHeadBytes) return Lost("cut in the head of a frame");
  WireIn in(head);
  const uint32_t size = in.Fixed32();
  const uint64_t checksum = in.Fixed64();
  if (size == 0 || size > kFrameBytesMax) {
    return Lost(absl::StrCat("a frame of ", size, " bytes, expected 1..", kFrameBytesMax));
  }
  frame_ = ReadUpTo(*stream_, size);
  if (frame_.size() < size) {
    return Lost(absl::StrCat("a frame of ", size, " bytes, of which the file has ", frame_.size()));
  }
  if (FrameChecksum(frame_, frame_offset_) != checksum) {
    return Lost(absl::StrCat("a frame of ", size, " bytes whose checksum is wrong"));
  }
  next_offset_ = frame_offset_ + kFrameHeadBytes + size;
  rest_ = WireIn(frame_);
  return true;
}

}  // namespace weir::io
