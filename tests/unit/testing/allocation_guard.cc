#include "testing/allocation_guard.h"

#include <cstdio>
#include <cstdlib>
#include <new>

namespace weir::testing {
namespace {

thread_local uint64_t allocation_count = 0;
thread_local uint32_t forbidden_depth = 0;
thread_local uint64_t calls_left = UINT64_MAX;
thread_local uint64_t calls_failed = 0;

bool Fails() {
  if (calls_left == UINT64_MAX) return false;
  if (calls_left > 0) return --calls_left, false;
  ++calls_failed;
  return true;
}

void Note(std::size_t size_bytes) {
  ++allocation_count;
  if (forbidden_depth == 0) return;
  forbidden_depth = 0;  // printing may allocate
  std::fprintf(stderr, "operator new(%zu) under AllocationForbidden\n", size_bytes);
  std::abort();
}

void* Allocate(std::size_t size_bytes) {
  Note(size_bytes);
  if (Fails()) throw std::bad_alloc();
  if (void* memory = std::malloc(size_bytes == 0 ? 1 : size_bytes)) return memory;
  throw std::bad_alloc();
}

void* Allocate(std::size_t size_bytes, std::align_val_t alignment) {
  Note(size_bytes);
  if (Fails()) throw std::bad_alloc();
  const auto align = static_cast<std::size_t>(alignment);
  const std::size_t rounded = (size_bytes + align - 1) / align * align;
  if (void* memory = std::aligned_alloc(align, rounded == 0 ? align : rounded)) return memory;
  throw std::bad_alloc();
}

}  // namespace

uint64_t AllocationCount() noexcept { return allocation_count; }

AllocationForbidden::AllocationForbidden() noexcept { ++forbidden_depth; }
AllocationForbidden::~AllocationForbidden() { --forbidden_depth; }

AllocationAllowed::AllocationAllowed() noexcept : depth_(forbidden_depth) { forbidden_depth = 0; }
AllocationAllowed::~AllocationAllowed() { forbidden_depth = depth_; }

AllocationFails::AllocationFails(uint64_t calls) noexcept {
  calls_left = calls;
  calls_failed = 0;
}
AllocationFails::~AllocationFails() { calls_left = UINT64_MAX; }
uint64_t AllocationFails::failed() const noexcept { return calls_failed; }

}  // namespace weir::testing

using weir::testing::Allocate;

// The nothrow forms of the standard library call these. They and the array forms are replaced too,
// because AddressSanitizer's own do not.
void* operator new(std::size_t size) { return Allocate(size); }
void* operator new[](std::size_t size) { return Allocate(size); }
void* operator new(std::size_t size, std::align_val_t align) { return Allocate(size, align); }
void* operator new[](std::size_t size, std::align_val_t align) { return Allocate(size, align); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  weir::testing::Note(size);
  if (weir::testing::Fails()) return nullptr;
  return std::malloc(size == 0 ? 1 : size);
}
void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept {
  return operator new(size, tag);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
