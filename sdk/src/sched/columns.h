// sched/columns.h: loops over endpoint columns: masks, compaction, weighted sums.
#pragma once

#include <cstdint>

namespace weir::internal {

inline uint32_t MaskWords(uint32_t count) { return (count + 63) / 64; }

// Sets the first `count` bits and clears the rest of the last word.
void SetAll(uint64_t* mask, uint32_t count) noexcept;

// Set bits. [hot]
uint32_t CountBits(const uint64_t* mask, uint32_t count) noexcept;

// Writes the index of each set bit, ascending; returns how many. [hot]
uint32_t ListBits(const uint64_t* mask, uint32_t count, uint32_t* index) noexcept;

// total[i] += weight * clamp(raw[i], 0, 1), where NaN counts as 0. Returns the number of NaN.
// REQUIRES: the arrays do not overlap. [hot]
uint32_t Accumulate(const double* raw, double weight, uint32_t count, double* total) noexcept;

// out[i] = in[index[i]] for elements of element_bytes. [hot]
void Gather(const void* in, const uint32_t* index, uint32_t count, uint32_t element_bytes,
            void* out) noexcept;

}  // namespace weir::internal
