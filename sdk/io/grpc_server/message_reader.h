// weir/io/grpc_server/message_reader.h: gRPC messages out of the bytes of a stream, wherever they
// are split. Start at MessageReader.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "weir/io/grpc_server/grpc_wire.h"
#include "weir/io/loop/buffer_pool.h"
#include "weir/status.h"

struct z_stream_s;

namespace weir::io {

// How a request's messages may be compressed.
enum class GrpcEncoding : uint8_t { kIdentity = 0, kGzip };

// Decompresses one message at a time; the library's state is made once. One thread.
class GzipInflater {
 public:
  // Borrowed: `pool`, for its life.
  explicit GzipInflater(BufferPool& pool) noexcept;
  ~GzipInflater();
  GzipInflater(const GzipInflater&) = delete;
  GzipInflater& operator=(const GzipInflater&) = delete;

  // Sets `out` to the decompressed bytes, valid until the next call or Release(). `bytes` must be
  // whole gzip members and nothing else.
  // Errors: kInvalidArgument (not gzip, cut, damaged), kResourceExhausted (more than `bytes_max`,
  // or no memory). [hot, serial]
  Code Inflate(std::string_view bytes, size_t bytes_max, std::string_view& out);
  // Gives the memory of the last message back. [hot, serial]
  void Release() noexcept { out_.Release(); }

 private:
  BufferPool* pool_;
  std::unique_ptr<z_stream_s> state_;  // null until used
  Buffer out_;
};

enum class ReadStep : uint8_t {
  kNeedMore = 0,  // everything was taken, no message is complete
  kMessage,
  kError,  // see MessageReader::error()
};

// Assembles messages: five bytes of prefix, then as many bytes as it says. A message that arrives
// in one piece is not copied; of another, memory grows with what has arrived, not with what was
// announced. One thread.
class MessageReader {
 public:
  struct Limits {
    uint32_t message_bytes_max;
    GrpcEncoding encoding = GrpcEncoding::kIdentity;
  };

  MessageReader() noexcept = default;
  MessageReader(const MessageReader&) = delete;
  MessageReader& operator=(const MessageReader&) = delete;

  // Takes bytes off the front of `bytes`, up to the end of a message. `message` is then valid until
  // the next call of any reader that shares `inflater`, or until `bytes` goes. [hot, serial]
  ReadStep Next(std::string_view& bytes, const Limits& limits, BufferPool& pool,
                GzipInflater& inflater, std::string_view& message);

  // After kError: kResourceExhausted (too large), kInternal (not gRPC framing, or damaged), and
  // why.
  Code error() const noexcept { return error_; }
  std::string_view error_text() const noexcept { return error_text_; }

  // Whether a message has begun and is not complete.
  bool inside() const noexcept { return prefix_bytes_ != 0 && !complete_; }
  // Kept for a message that is not complete.
  size_t kept_bytes() const noexcept { return kept_bytes_; }
  // Forgets a message that has begun, and gives memory back. [hot, serial]
  void Reset() noexcept;

 private:
  bool TakePrefix(std::string_view& bytes, const Limits& limits);
  bool Keep(std::string_view& bytes, BufferPool& pool);
  ReadStep Fail(Code code, std::string_view text) noexcept;

  std::array<unsigned char, kGrpcPrefixBytes> prefix_ = {};
  uint8_t prefix_bytes_ = 0;
  bool complete_ = false;  // the message in kept_ was handed out
  uint32_t length_ = 0;
  size_t kept_bytes_ = 0;
  Buffer kept_;
  Code error_ = Code::kOk;
  std::string_view error_text_;
};

}  // namespace weir::io
