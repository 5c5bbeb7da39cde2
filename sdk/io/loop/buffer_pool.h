// weir/io/loop/buffer_pool.h: byte buffers that are reused instead of freed. Start at
// BufferPool::Acquire().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace weir::io {

inline constexpr size_t kPooledBufferBytesMin = 1024;
inline constexpr size_t kPooledBufferBytesMax = 4u << 20;      // larger ones are freed at once
inline constexpr size_t kRetainedBytesMaxDefault = 16u << 20;  // per pool

class BufferPool;

// An owned piece of memory that goes back to its pool. Movable, may be empty. Destroy it before the
// pool, on the pool's thread.
class Buffer {
 public:
  Buffer() noexcept = default;
  Buffer(Buffer&& other) noexcept { Swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer(std::move(other)).Swap(*this);
    return *this;
  }
  ~Buffer() { Release(); }

  char* data() const noexcept { return data_; }
  size_t capacity_bytes() const noexcept { return capacity_bytes_; }
  explicit operator bool() const noexcept { return data_ != nullptr; }
  // Gives the memory back; the buffer is empty afterwards. [hot, serial]
  void Release() noexcept;
  // Makes room for at least `bytes`, keeping the first `used_bytes`. May move the memory. Grows at
  // least twofold, so that appending stays linear. REQUIRES: not empty. [hot, serial]
  void Grow(size_t bytes, size_t used_bytes);

 private:
  friend class BufferPool;
  Buffer(BufferPool* pool, char* data, size_t capacity_bytes) noexcept
      : pool_(pool), data_(data), capacity_bytes_(capacity_bytes) {}
  void Swap(Buffer& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(data_, other.data_);
    std::swap(capacity_bytes_, other.capacity_bytes_);
  }

  BufferPool* pool_ = nullptr;
  char* data_ = nullptr;
  size_t capacity_bytes_ = 0;
};

// Keeps freed buffers by power-of-two size class, last in first out, so that the next one is warm
// in the cache and a large one is not mapped and faulted in again. Belongs to one thread.
class BufferPool {
 public:
  explicit BufferPool(size_t retained_bytes_max = kRetainedBytesMaxDefault) noexcept
      : retained_bytes_max_(retained_bytes_max) {}
  // REQUIRES: every buffer is back.
  ~BufferPool() { Trim(); }
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // Returns a buffer of at least `bytes` uninitialised bytes: the next power of two, at least
  // kPooledBufferBytesMin. A large buffer is only held while needed: take it at the start of a
  // callback, release it at the end, and keep small rests in small ones. [hot, serial]
  [[nodiscard]] Buffer Acquire(size_t bytes);

  // What a buffer for `bytes` bytes takes. [hot, concurrent]
  static size_t CapacityFor(size_t bytes) noexcept;

  // Frees all retained memory. [control]
  void Trim() noexcept;

  size_t retained_bytes() const noexcept { return retained_bytes_; }
  size_t in_use_bytes() const noexcept { return in_use_bytes_; }

 private:
  friend class Buffer;
  struct FreeBlock {
    FreeBlock* next;
  };
  static constexpr uint32_t kClasses = 13;  // 1 KiB << 0 .. 12
  static_assert(kPooledBufferBytesMin << (kClasses - 1) == kPooledBufferBytesMax);

  void Return(char* data, size_t capacity_bytes) noexcept;

  std::array<FreeBlock*, kClasses> free_ = {};
  size_t retained_bytes_ = 0;
  size_t retained_bytes_max_;
  size_t in_use_bytes_ = 0;
};

inline void Buffer::Release() noexcept {
  if (data_ == nullptr) return;
  pool_->Return(data_, capacity_bytes_);
  pool_ = nullptr;
  data_ = nullptr;
  capacity_bytes_ = 0;
}

}  // namespace weir::io
