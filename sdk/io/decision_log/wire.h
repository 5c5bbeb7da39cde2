// weir/io/decision_log/wire.h: the bytes below the records: numbers, frames, the file's head. For
// the files of this room.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace weir::io {

// Type numbers in the file; those of LogRecord's alternatives, in order.
enum class LogRecordType : uint64_t {
  kHeader = 1,
  kPool = 2,
  kDecision = 3,
  kBegin = 4,
  kFirstToken = 5,
  kEnd = 6,
  kGap = 7,
  kLogEnd = 8,
};

inline constexpr std::string_view kLogMagic = "WEIRLOG\n";
inline constexpr uint32_t kLogMinorVersion = 0;
inline constexpr size_t kLogHeadBytes = 16;    // magic, version, minor version
inline constexpr size_t kFrameHeadBytes = 12;  // payload bytes, checksum
// A frame is closed when it has this much; the last record may take it further.
inline constexpr size_t kFrameBytes = 64u << 10;

// Checksum of a frame's payload that lies at this place of the file.
uint64_t FrameChecksum(std::string_view payload, uint64_t frame_offset) noexcept;
// XXH64 of a text.
uint64_t TextHash(std::string_view text) noexcept;

inline uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
inline int64_t UnZigZag(uint64_t value) {
  return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
}
// Differences of any two numbers, without overflow.
inline int64_t Difference(uint64_t a, uint64_t b) { return static_cast<int64_t>(a - b); }
inline uint64_t Sum(uint64_t a, int64_t difference) {
  return a + static_cast<uint64_t>(difference);
}

// Appends numbers to a text: varints have seven bits a byte, lowest first; fixed ones are little
// endian.
class WireOut {
 public:
  explicit WireOut(std::string* out) : out_(*out) {}
  void Number(uint64_t value) {
    while (value >= 0x80) {
      out_.push_back(static_cast<char>(value | 0x80));
      value >>= 7;
    }
    out_.push_back(static_cast<char>(value));
  }
  void Signed(int64_t value) { Number(ZigZag(value)); }
  void Fixed32(uint32_t value) { Fixed(value, 4); }
  void Fixed64(uint64_t value) { Fixed(value, 8); }
  void Double(double value) { Fixed64(std::bit_cast<uint64_t>(value)); }
  void Bytes(std::string_view bytes) {
    Number(bytes.size());
    out_.append(bytes);
  }

 private:
  void Fixed(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out_.push_back(static_cast<char>(value >> (8 * i)));
  }
  std::string& out_;
};

// Reads them back. After the first failure ok() is false and everything reads as 0.
class WireIn {
 public:
  explicit WireIn(std::string_view bytes) : rest_(bytes) {}
  bool ok() const { return ok_; }
  std::string_view rest() const { return rest_; }
  void Fail() {
    ok_ = false;
    rest_ = {};
  }

  uint64_t Number() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) break;
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      if (shift == 63 && byte > 1) break;
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    Fail();
    return 0;
  }
  int64_t Signed() { return UnZigZag(Number()); }
  // A number of at most `max`.
  uint64_t Below(uint64_t max) {
    const uint64_t value = Number();
    if (value <= max) return value;
    Fail();
    return 0;
  }
  uint32_t Number32() { return static_cast<uint32_t>(Below(UINT32_MAX)); }
  uint32_t Fixed32() { return static_cast<uint32_t>(Fixed(4)); }
  uint64_t Fixed64() { return Fixed(8); }
  double Double() { return std::bit_cast<double>(Fixed64()); }
  std::string_view Bytes(uint64_t bytes_max) {
    const uint64_t size = Below(bytes_max);
    return Take(size);
  }
  std::string_view Take(uint64_t size) {
    if (size > rest_.size()) {
      Fail();
      return {};
    }
    const std::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return bytes;
  }

 private:
  uint64_t Fixed(uint64_t bytes) {
    const std::string_view taken = Take(bytes);
    uint64_t value = 0;
    for (size_t i = 0; i < taken.size(); ++i) {
      value |= uint64_t{static_cast<unsigned char>(taken[i])} << (8 * i);
    }
    return value;
  }
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace weir::io
