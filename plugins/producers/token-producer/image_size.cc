#include "image_size.h"

#include <algorithm>

namespace weir_token_producer {
namespace {

// The value of a base64 letter, -1 for any other.
int Sextet(char letter) {
  if (letter >= 'A' && letter <= 'Z') return letter - 'A';
  if (letter >= 'a' && letter <= 'z') return letter - 'a' + 26;
  if (letter >= '0' && letter <= '9') return letter - '0' + 52;
  if (letter == '+') return 62;
  if (letter == '/') return 63;
  return -1;
}

// The bytes that base64 text stands for, each decoded when it is read.
class Base64Bytes {
 public:
  explicit Base64Bytes(std::string_view text) : text_(text) {}

  // The byte at `offset`; at the end or at a letter that is no base64, 0 and ok() turns false.
  uint32_t U8(uint64_t offset) {
    const uint64_t first = offset / 3 * 4 + offset % 3;
    if (offset >= kImageHeaderBytesMax || first + 1 >= text_.size()) return Fail();
    const int high = Sextet(text_[first]);
    const int low = Sextet(text_[first + 1]);
    if (high < 0 || low < 0) return Fail();
    const uint32_t both = static_cast<uint32_t>(high) << 6 | static_cast<uint32_t>(low);
    return both >> (4 - 2 * (offset % 3)) & 0xff;
  }
  uint32_t U16BigEndian(uint64_t offset) { return U8(offset) << 8 | U8(offset + 1); }
  uint32_t U16LittleEndian(uint64_t offset) { return U8(offset + 1) << 8 | U8(offset); }
  uint32_t U32BigEndian(uint64_t offset) {
    return U16BigEndian(offset) << 16 | U16BigEndian(offset + 2);
  }
  bool StartsWith(std::string_view bytes) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      if (U8(i) != static_cast<unsigned char>(bytes[i])) return false;
    }
    return ok_;
  }
  bool ok() const { return ok_; }

 private:
  uint32_t Fail() {
    ok_ = false;
    return 0;
  }
  std::string_view text_;
  bool ok_ = true;
};

std::optional<ImageSize> Checked(const Base64Bytes& bytes, ImageSize size) {
  if (!bytes.ok() || size.width == 0 || size.height == 0) return std::nullopt;
  return size;
}

// Walks the segments of a JPEG up to its frame header.
std::optional<ImageSize> JpegSize(Base64Bytes bytes) {
  uint64_t at = 2;
  while (bytes.ok()) {
    if (bytes.U8(at) != 0xff) return std::nullopt;
    const uint32_t marker = bytes.U8(at + 1);
    if (marker == 0xff) {  // fill byte
      ++at;
      continue;
    }
    const bool is_frame_header =
        marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    if (is_frame_header) {
      const uint32_t height = bytes.U16BigEndian(at + 5);
      return Checked(bytes, {bytes.U16BigEndian(at + 7), height});
    }
    const bool is_bare = marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8);
    const bool ends_headers = marker == 0xd9 || marker == 0xda;
    if (ends_headers) return std::nullopt;
    const uint32_t length = is_bare ? 0 : bytes.U16BigEndian(at + 2);
    if (!is_bare && length < 2) return std::nullopt;
    at += 2 + length;
  }
  return std::nullopt;
}

}  // namespace

std::optional<ImageSize> ImageSizeOfDataUrl(std::string_view url) noexcept {
  constexpr std::string_view kStart = "data:image/";
  constexpr std::string_view kMark = "base64,";
  constexpr size_t kMediaTypeBytesMax = 256;
  if (url.substr(0, kStart.size()) != kStart) return std::nullopt;
  const size_t mark = url.substr(0, kMediaTypeBytesMax).find(kMark);
  if (mark == std::string_view::npos) return std::nullopt;
  Base64Bytes bytes(url.substr(mark + kMark.size()));
  if (Base64Bytes(bytes).StartsWith("\x89PNG\r\n\x1a\n")) {
    const uint32_t width = bytes.U32BigEndian(16);
    return Checked(bytes, {width, bytes.U32BigEndian(20)});
  }
  if (Base64Bytes(bytes).StartsWith("GIF8")) {
    const uint32_t width = bytes.U16LittleEndian(6);
    return Checked(bytes, {width, bytes.U16LittleEndian(8)});
  }
  if (Base64Bytes(bytes).StartsWith("\xff\xd8")) return JpegSize(bytes);
  return std::nullopt;
}

}  // namespace weir_token_producer
