// weir/io/ext_proc/wire.h: the protobuf wire format, in place: fields are read as views into the
// message, messages are written without objects. Start at WireReader and WireWriter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace weir::io {

enum class WireType : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// Walks the fields of one message. Never reads outside it and never descends by itself, so its cost
// is linear and its stack constant whatever the bytes are. Groups (a form that proto3 does not
// write) and field number 0 are malformed. Serial.
class WireReader {
 public:
  explicit WireReader(std::string_view message) noexcept
      : at_(message.data()), end_(message.data() + message.size()) {}

  // Moves to the next field; false at the end and at malformed bytes. [hot, serial]
  bool Next() noexcept;
  // False once malformed bytes were met.
  bool ok() const noexcept { return ok_; }

  // Of the current field.
  uint32_t field() const noexcept { return field_; }
  WireType type() const noexcept { return type_; }
  bool Is(uint32_t field, WireType type) const noexcept { return field_ == field && type_ == type; }
  std::string_view bytes() const noexcept { return bytes_; }  // kBytes, otherwise empty
  uint64_t number() const noexcept { return number_; }        // kVarint, kFixed64, kFixed32
  double real() const noexcept;                               // kFixed64 as a double

 private:
  bool ReadVarint(uint64_t* value) noexcept;
  bool Fail() noexcept;

  const char* at_;
  const char* end_;
  std::string_view bytes_;
  uint64_t number_ = 0;
  uint32_t field_ = 0;
  WireType type_ = WireType::kVarint;
  bool ok_ = true;
};

inline constexpr size_t kWireWriterBytesMax = 4u << 20;

// Writes a message from its last field to its first, so that the length of what a nested message
// holds is known when its header is written. Keeps its memory from message to message; grows up to
// kWireWriterBytesMax, beyond which it writes nothing and full() is true. Serial.
class WireWriter {
 public:
  WireWriter() noexcept = default;

  void Clear() noexcept { size_bytes_ = 0, full_ = false; }
  // What was written since Clear(), valid until the next call of another method.
  std::string_view message() const noexcept {
    return {data_.get() + capacity_bytes_ - size_bytes_, size_bytes_};
  }
  // Doubles as a mark: PrependHeader() makes one field of all that was written after it.
  size_t size_bytes() const noexcept { return size_bytes_; }
  bool full() const noexcept { return full_; }

  // [hot, serial] all of them.
  void PrependNumber(uint32_t field, uint64_t value);
  void PrependReal(uint32_t field, double value);
  void PrependBytes(uint32_t field, std::string_view bytes);
  // Turns what was written since `mark`, and `extra_bytes` that the caller sends behind this
  // message, into the content of one field.
  void PrependHeader(uint32_t field, size_t mark, uint64_t extra_bytes = 0);

 private:
  char* Room(size_t bytes);
  void PrependVarint(uint64_t value);
  void PrependTag(uint32_t field, WireType type) {
    PrependVarint(static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(type));
  }

  std::unique_ptr<char[]> data_;  // written from its end towards its start
  size_t capacity_bytes_ = 0;
  size_t size_bytes_ = 0;
  bool full_ = false;
};

}  // namespace weir::io
