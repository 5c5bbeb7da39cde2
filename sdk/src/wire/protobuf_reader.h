// wire/protobuf_reader.h: the fields of an encoded protobuf message, where they lie.
#pragma once

#include <cstdint>
#include <string_view>

namespace weir::internal {

// Walks over the fields of one message. Groups are refused, as proto3 has none. A value; borrowed:
// the bytes.
//   ProtobufReader fields(bytes);
//   while (fields.Next()) if (fields.number() == 3) text = fields.bytes();
//   if (fields.malformed()) ...
class ProtobufReader {
 public:
  enum class Type : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  explicit ProtobufReader(std::string_view message) noexcept : rest_(message) {}

  // Moves to the next field; false at the end and behind the first broken one.
  bool Next() noexcept;
  bool malformed() const noexcept { return malformed_; }

  uint32_t number() const noexcept { return number_; }
  Type type() const noexcept { return type_; }
  bool IsVarint(uint32_t number) const noexcept {
    return number_ == number && type_ == Type::kVarint;
  }
  bool IsBytes(uint32_t number) const noexcept {
    return number_ == number && type_ == Type::kBytes;
  }
  uint64_t varint() const noexcept { return varint_; }        // of kVarint
  std::string_view bytes() const noexcept { return bytes_; }  // of the other types

  // Takes a varint from the front of *bytes; false if there is no whole one.
  static bool TakeVarint(std::string_view* bytes, uint64_t* value) noexcept;

 private:
  bool Fail() noexcept {
    malformed_ = true;
    rest_ = {};
    return false;
  }
  bool TakeBytes(uint64_t count) noexcept;

  std::string_view rest_;
  std::string_view bytes_;
  uint64_t varint_ = 0;
  uint32_t number_ = 0;
  Type type_ = Type::kVarint;
  bool malformed_ = false;
};

}  // namespace weir::internal
