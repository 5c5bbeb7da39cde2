// allocation_guard.h: fails a test that allocates where it must not. Link weir_allocation_guard,
// which replaces the global operator new and delete of the test program.
#pragma once

#include <cstdint>

namespace weir::testing {

// Calls of operator new in this thread since it started.
uint64_t AllocationCount() noexcept;

// While one lives, operator new in this thread prints the size and aborts. Guards nest.
class AllocationForbidden {
 public:
  AllocationForbidden() noexcept;
  ~AllocationForbidden();
  AllocationForbidden(const AllocationForbidden&) = delete;
  AllocationForbidden& operator=(const AllocationForbidden&) = delete;
};

// Suspends the guards of this thread, for the test's own bookkeeping inside a guarded call.
class AllocationAllowed {
 public:
  AllocationAllowed() noexcept;
  ~AllocationAllowed();
  AllocationAllowed(const AllocationAllowed&) = delete;
  AllocationAllowed& operator=(const AllocationAllowed&) = delete;

 private:
  uint32_t depth_;
};

// While one lives, operator new in this thread finds no memory after `calls` more calls. One at a
// time.
class AllocationFails {
 public:
  explicit AllocationFails(uint64_t calls) noexcept;
  ~AllocationFails();
  AllocationFails(const AllocationFails&) = delete;
  AllocationFails& operator=(const AllocationFails&) = delete;

  // Calls that found none.
  uint64_t failed() const noexcept;
};

}  // namespace weir::testing
