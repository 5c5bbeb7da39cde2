#include "weir/io/loop/buffer_pool.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

namespace weir::io {
namespace {

uint32_t ClassOf(size_t capacity_bytes) noexcept {
  return static_cast<uint32_t>(std::countr_zero(capacity_bytes / kPooledBufferBytesMin));
}

}  // namespace

size_t BufferPool::CapacityFor(size_t bytes) noexcept {
  return std::bit_ceil(std::max(bytes, kPooledBufferBytesMin));
}

Buffer BufferPool::Acquire(size_t bytes) {
  const size_t capacity_bytes = CapacityFor(bytes);
  char* data = nullptr;
  if (capacity_bytes <= kPooledBufferBytesMax) {
    FreeBlock*& top = free_[ClassOf(capacity_bytes)];
    if (top != nullptr) {
      data = reinterpret_cast<char*>(top);
      top = top->next;
      retained_bytes_ -= capacity_bytes;
    }
  }
  if (data == nullptr) data = static_cast<char*>(::operator new(capacity_bytes));
  in_use_bytes_ += capacity_bytes;
  return Buffer(this, data, capacity_bytes);
}

void BufferPool::Return(char* data, size_t capacity_bytes) noexcept {
  in_use_bytes_ -= capacity_bytes;
  if (capacity_bytes > kPooledBufferBytesMax ||
      retained_bytes_ + capacity_bytes > retained_bytes_max_) {
    ::operator delete(data);
    return;
  }
  FreeBlock*& top = free_[ClassOf(capacity_bytes)];
  top = new (data) FreeBlock{top};
  retained_bytes_ += capacity_bytes;
}

void BufferPool::Trim() noexcept {
  for (FreeBlock*& top : free_) {
    while (top != nullptr) {
      FreeBlock* block = top;
      top = block->next;
      ::operator delete(block);
    }
  }
  retained_bytes_ = 0;
}

void Buffer::Grow(size_t bytes, size_t used_bytes) {
  if (bytes <= capacity_bytes_) return;
  Buffer larger = pool_->Acquire(bytes);
  if (used_bytes != 0) std::memcpy(larger.data(), data_, used_bytes);
  Swap(larger);
}

}  // namespace weir::io
