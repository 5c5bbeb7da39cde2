// index/reservation.h: address space that reads as zeros and costs memory only where it was
// written.
#pragma once

#include <sys/mman.h>

#include <cstddef>

namespace weir::internal {

// Owned until destruction; readers may look anywhere inside at any time, also after Release.
class Reservation {
 public:
  explicit Reservation(size_t bytes) noexcept : bytes_(bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    data_ = memory == MAP_FAILED ? nullptr : static_cast<char*>(memory);
  }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation() {
    if (data_ != nullptr) munmap(data_, bytes_);
  }

  bool ok() const noexcept { return data_ != nullptr; }
  char* data() const noexcept { return data_; }

  // Gives whole pages of [offset, offset + bytes) back to the system; they read as zeros again.
  // REQUIRES: offset is a multiple of the page size
  void Release(size_t offset, size_t bytes) noexcept {
    madvise(data_ + offset, bytes, MADV_DONTNEED);
  }

 private:
  char* data_;
  size_t bytes_;
};

}  // namespace weir::internal
