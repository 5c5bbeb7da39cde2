#include "testing/allocation_guard.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace weir::testing {
namespace {

// Keeps the compiler from removing a new/delete pair.
void Use(void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

void AllocateOnce() {
  auto value = std::make_unique<int>(1);
  Use(value.get());
}

TEST(AllocationGuard, CountsEachForm) {
  struct alignas(64) Line {
    char bytes[64];
  };
  const uint64_t before = AllocationCount();
  AllocateOnce();
  std::vector<int> values(3);
  Use(values.data());
  auto line = std::make_unique<Line>();
  Use(line.get());
  auto lines = std::make_unique<Line[]>(2);
  Use(lines.get());
  EXPECT_EQ(AllocationCount() - before, 4u);
}

TEST(AllocationGuardDeathTest, AbortsOnlyWhileForbidden) {
  EXPECT_DEATH(
      {
        AllocationForbidden guard;
        AllocateOnce();
      },
      "operator new\\(4\\) under AllocationForbidden");
  {
    AllocationForbidden outer;
    AllocationForbidden inner;
    AllocationAllowed allowed;
    AllocateOnce();
  }
  AllocateOnce();
}

TEST(AllocationGuard, OtherThreadsMayAllocate) {
  std::thread other;
  {
    AllocationForbidden guard;
    AllocationAllowed allowed;
    other = std::thread([] { AllocateOnce(); });
  }
  other.join();
}

}  // namespace
}  // namespace weir::testing
