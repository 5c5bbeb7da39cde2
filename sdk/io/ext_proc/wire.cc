#include "weir/io/ext_proc/wire.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace weir::io {
namespace {

constexpr size_t kFirstBytes = 1024;
constexpr uint32_t kFieldMax = (1u << 29) - 1;
static_assert(std::endian::native == std::endian::little,
              "fixed-width fields are copied as they are");

}  // namespace

bool WireReader::Fail() noexcept {
  ok_ = false;
  at_ = end_;
  return false;
}

bool WireReader::ReadVarint(uint64_t* value) noexcept {
  uint64_t result = 0;
  for (uint32_t shift = 0; shift < 64 && at_ != end_; shift += 7) {
    const auto byte = static_cast<uint8_t>(*at_++);
    if (shift == 63 && byte > 1) return false;
    result |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) {
      *value = result;
      return true;
    }
  }
  return false;
}

bool WireReader::Next() noexcept {
  if (at_ == end_) return false;
  uint64_t tag = 0;
  if (!ReadVarint(&tag) || tag >> 3 == 0 || tag >> 3 > kFieldMax) return Fail();
  field_ = static_cast<uint32_t>(tag >> 3);
  type_ = static_cast<WireType>(tag & 7);
  bytes_ = {};
  number_ = 0;
  const auto left = static_cast<size_t>(end_ - at_);
  switch (type_) {
    case WireType::kVarint:
      return ReadVarint(&number_) || Fail();
    case WireType::kBytes: {
      uint64_t size = 0;
      if (!ReadVarint(&size) || size > static_cast<size_t>(end_ - at_)) return Fail();
      bytes_ = {at_, static_cast<size_t>(size)};
      at_ += size;
      return true;
    }
    case WireType::kFixed64:
    case WireType::kFixed32: {
      const size_t width = type_ == WireType::kFixed64 ? 8 : 4;
      if (left < width) return Fail();
      std::memcpy(&number_, at_, width);
      at_ += width;
      return true;
    }
  }
  return Fail();
}

double WireReader::real() const noexcept { return std::bit_cast<double>(number_); }

char* WireWriter::Room(size_t bytes) {
  if (full_) return nullptr;
  if (capacity_bytes_ - size_bytes_ < bytes) {
    if (bytes > kWireWriterBytesMax - size_bytes_) {
      full_ = true;
      return nullptr;
    }
    const size_t capacity =
        std::min(std::bit_ceil(std::max(size_bytes_ + bytes, kFirstBytes)), kWireWriterBytesMax);
    std::unique_ptr<char[]> larger(new char[capacity]);
    if (size_bytes_ != 0) {
      std::memcpy(larger.get() + capacity - size_bytes_, message().data(), size_bytes_);
    }
    data_ = std::move(larger);
    capacity_bytes_ = capacity;
  }
  size_bytes_ += bytes;
  return data_.get() + capacity_bytes_ - size_bytes_;
}

void WireWriter::PrependVarint(uint64_t value) {
  char digits[10];
  size_t count = 0;
  do {
    digits[count++] = static_cast<char>(value & 0x7F);
    value >>= 7;
  } while (value != 0);
  for (size_t i = 0; i + 1 < count; ++i) digits[i] = static_cast<char>(digits[i] | 0x80);
  if (char* room = Room(count)) std::memcpy(room, digits, count);
}

void WireWriter::PrependNumber(uint32_t field, uint64_t value) {
  PrependVarint(value);
  PrependTag(field, WireType::kVarint);
}

void WireWriter::PrependReal(uint32_t field, double value) {
  if (char* room = Room(sizeof value)) std::memcpy(room, &value, sizeof value);
  PrependTag(field, WireType::kFixed64);
}

void WireWriter::PrependBytes(uint32_t field, std::string_view bytes) {
  const size_t mark = size_bytes_;
  char* room = Room(bytes.size());
  if (room != nullptr && !bytes.empty()) std::memcpy(room, bytes.data(), bytes.size());
  PrependHeader(field, mark);
}

void WireWriter::PrependHeader(uint32_t field, size_t mark, uint64_t extra_bytes) {
  PrependVarint(size_bytes_ - mark + extra_bytes);
  PrependTag(field, WireType::kBytes);
}

}  // namespace weir::io
