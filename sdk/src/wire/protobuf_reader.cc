#include "wire/protobuf_reader.h"

#include <algorithm>

namespace weir::internal {

bool ProtobufReader::TakeVarint(std::string_view* bytes, uint64_t* value) noexcept {
  constexpr size_t kVarintBytesMax = 10;
  uint64_t result = 0;
  const size_t size_max = std::min(bytes->size(), kVarintBytesMax);
  for (size_t i = 0; i < size_max; ++i) {
    const auto byte = static_cast<unsigned char>((*bytes)[i]);
    result |= uint64_t{byte & 0x7fu} << (7 * i);
    if ((byte & 0x80) != 0) continue;
    *value = result;
    bytes->remove_prefix(i + 1);
    return true;
  }
  return false;
}

bool ProtobufReader::TakeBytes(uint64_t count) noexcept {
  if (count > rest_.size()) return Fail();
  bytes_ = rest_.substr(0, count);
  rest_.remove_prefix(count);
  return true;
}

bool ProtobufReader::Next() noexcept {
  if (rest_.empty()) return false;
  uint64_t tag, size;
  if (!TakeVarint(&rest_, &tag) || tag >> 3 == 0 || tag >> 32 != 0) return Fail();
  number_ = static_cast<uint32_t>(tag >> 3);
  type_ = static_cast<Type>(tag & 7);
  bytes_ = {};
  switch (type_) {
    case Type::kVarint:
      return TakeVarint(&rest_, &varint_) || Fail();
    case Type::kFixed64:
      return TakeBytes(8);
    case Type::kFixed32:
      return TakeBytes(4);
    case Type::kBytes:
      return (TakeVarint(&rest_, &size) || Fail()) && TakeBytes(size);
  }
  return Fail();
}

}  // namespace weir::internal
