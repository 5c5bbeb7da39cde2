// allocation_watch.h: counts heap allocations of a thread by replacing malloc in this program.
#pragma once

#include <cstdint>

namespace weir::plugin_check {

// False under a sanitizer, which needs malloc for itself.
bool CanCountAllocations();
// Calls of malloc, calloc, realloc and aligned forms in this thread so far.
uint64_t AllocationsOfThread();

}  // namespace weir::plugin_check
