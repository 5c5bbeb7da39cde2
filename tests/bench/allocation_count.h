// How often this program asked for heap memory. Replaces operator new.
#pragma once

#include <cstdint>

namespace weir {

uint64_t AllocationCount() noexcept;  // since the start, of all threads

}  // namespace weir
