// guarded_memory.h: memory that ends at a page which cannot be touched.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weir::plugin_check {

// A buffer whose last byte lies before an inaccessible page, so that one step too far is a crash.
// The bytes before it hold a pattern.
class GuardedMemory {
 public:
  GuardedMemory() = default;
  ~GuardedMemory();
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  // Memory of exactly size_bytes, zeroed, aligned as size_bytes allows (up to 16). The previous is
  // gone. Throws std::bad_alloc.
  std::byte* Reset(size_t size_bytes);
  // Whether the bytes before the buffer still hold the pattern.
  bool Untouched() const;
  std::byte* data() const { return data_; }

 private:
  std::byte* pages_ = nullptr;
  size_t pages_bytes_ = 0;  // without the last, inaccessible page
  std::byte* data_ = nullptr;
};

}  // namespace weir::plugin_check
