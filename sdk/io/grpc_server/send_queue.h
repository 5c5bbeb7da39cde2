// weir/io/grpc_server/send_queue.h: bytes on their way to the kernel: SendQueue holds those of one
// call, GatherBuffer those of one write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "weir/io/grpc_server/grpc_call.h"
#include "weir/io/loop/buffer_pool.h"
#include "weir/io/loop/stream.h"

namespace weir::io {

// Pieces below this are copied instead of gathered: an entry of the gather list costs more.
inline constexpr size_t kGatherPieceBytesMin = 2048;

// Collects what one write is to send: copies of small pieces, references to large ones. Empty
// between two events. One thread.
class GatherBuffer {
 public:
  // Borrowed: `pool`, for its life.
  explicit GatherBuffer(BufferPool& pool) noexcept : pool_(&pool) {}
  ~GatherBuffer() { Clear(); }
  GatherBuffer(const GatherBuffer&) = delete;
  GatherBuffer& operator=(const GatherBuffer&) = delete;

  // [hot, serial]
  void AppendCopy(std::string_view bytes);
  // Refers to `bytes` and acquires `owner` until Clear(). [hot, serial]
  void AppendBorrowed(std::string_view bytes, BytesOwner& owner);
  // Whether no further borrowed piece fits into one write.
  bool full() const noexcept { return pieces_.size() + 2 > kWritePiecesMax; }
  size_t bytes() const noexcept { return bytes_; }
  bool empty() const noexcept { return bytes_ == 0; }

  // Writes as much as `stream` takes; with TLS more than one piece needs more than one call.
  // [hot, serial]
  IoResult WriteTo(Stream& stream) noexcept;
  // Copies what lies behind the first `skip_bytes` to `out`, which has room for it. [hot, serial]
  void CopyRest(size_t skip_bytes, char* out) const noexcept;
  // Forgets everything and releases owners. [hot, serial]
  void Clear() noexcept;

 private:
  struct Piece {
    const char* data;  // null: copied, at `offset` of copies_
    size_t offset;
    size_t bytes;
    BytesOwner* owner_or_null;
  };
  const char* At(const Piece& piece) const noexcept {
    return piece.data != nullptr ? piece.data : copies_.data() + piece.offset;
  }

  BufferPool* pool_;
  Buffer copies_;
  size_t copied_bytes_ = 0;
  size_t bytes_ = 0;
  std::vector<Piece> pieces_;
};

// Message bytes of one call that wait for the client's window, in order. One thread.
class SendQueue {
 public:
  SendQueue() noexcept = default;
  ~SendQueue() { Clear(); }
  SendQueue(const SendQueue&) = delete;
  SendQueue& operator=(const SendQueue&) = delete;

  // Appends a copy. [hot, serial]
  void PushCopy(std::string_view bytes, BufferPool& pool);
  // Appends a reference and acquires `owner` until the bytes were moved on. [hot, serial]
  void PushBorrowed(std::string_view bytes, BytesOwner& owner);
  // Moves the first `bytes` to `out`. `gather` allows references. REQUIRES: bytes <= this->bytes().
  // [hot, serial]
  void MoveTo(GatherBuffer& out, size_t bytes, bool gather);
  // Drops everything. [hot, serial]
  void Clear() noexcept;

  size_t bytes() const noexcept { return bytes_; }
  size_t copied_bytes() const noexcept { return copied_bytes_; }

 private:
  struct Piece {
    Buffer copy;                          // or empty
    const char* data = nullptr;           // borrowed, or null
    BytesOwner* owner_or_null = nullptr;  // of data
    size_t begin = 0;
    size_t end = 0;
  };
  void DropFirst() noexcept;

  std::vector<Piece> pieces_;  // [first_, size) are in use
  size_t first_ = 0;
  size_t bytes_ = 0;
  size_t copied_bytes_ = 0;
};

}  // namespace weir::io
