#include "guarded_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace weir::plugin_check {
namespace {
constexpr size_t kMarginBytes = 256;
constexpr int kPattern = 0xa5;
}  // namespace

GuardedMemory::~GuardedMemory() {
  if (pages_ != nullptr) munmap(pages_, pages_bytes_ + sysconf(_SC_PAGESIZE));
}

std::byte* GuardedMemory::Reset(size_t size_bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t needed = (size_bytes + kMarginBytes + page - 1) / page * page;
  if (needed > pages_bytes_) {
    if (pages_ != nullptr) munmap(pages_, pages_bytes_ + page);
    void* mapped =
        mmap(nullptr, needed + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pages_ = nullptr;
    pages_bytes_ = 0;
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    pages_ = static_cast<std::byte*>(mapped);
    pages_bytes_ = needed;
    if (mprotect(pages_ + needed, page, PROT_NONE) != 0) throw std::bad_alloc();
  }
  data_ = pages_ + pages_bytes_ - size_bytes;
  std::memset(data_ - kMarginBytes, kPattern, kMarginBytes);
  std::memset(data_, 0, size_bytes);
  return data_;
}

bool GuardedMemory::Untouched() const {
  return data_ == nullptr || std::all_of(data_ - kMarginBytes, data_,
                                         [](std::byte one) { return one == std::byte{kPattern}; });
}

}  // namespace weir::plugin_check
