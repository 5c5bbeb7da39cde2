#include "sched/columns.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <bit>
#include <cstring>

namespace weir::internal {
namespace {

template <class T>
void GatherAs(const void* in, const uint32_t* index, uint32_t count, void* out) {
  const T* from = static_cast<const T*>(in);
  T* to = static_cast<T*>(out);
  for (uint32_t i = 0; i < count; ++i) to[i] = from[index[i]];
}

struct Bytes16 {
  uint64_t words[2];
};

}  // namespace

void SetAll(uint64_t* mask, uint32_t count) noexcept {
  const uint32_t words = MaskWords(count);
  for (uint32_t w = 0; w < words; ++w) mask[w] = ~uint64_t{0};
  if (count % 64 != 0) mask[words - 1] = (uint64_t{1} << (count % 64)) - 1;
}

uint32_t CountBits(const uint64_t* mask, uint32_t count) noexcept {
  uint32_t bits = 0;
  for (uint32_t w = 0; w < MaskWords(count); ++w) bits += std::popcount(mask[w]);
  return bits;
}

uint32_t ListBits(const uint64_t* mask, uint32_t count, uint32_t* index) noexcept {
  uint32_t listed = 0;
  for (uint32_t w = 0; w < MaskWords(count); ++w) {
    for (uint64_t bits = mask[w]; bits != 0; bits &= bits - 1) {
      index[listed++] = w * 64 + static_cast<uint32_t>(std::countr_zero(bits));
    }
  }
  return listed;
}

uint32_t Accumulate(const double* raw, double weight, uint32_t count, double* total) noexcept {
  uint32_t nan_scores = 0;
  uint32_t i = 0;
#if defined(__SSE2__)
  // Compilers make branches of the loop below. max and min give their second operand for a NaN,
  // as its comparisons do.
  const __m128d zeros = _mm_setzero_pd(), ones = _mm_set1_pd(1), weights = _mm_set1_pd(weight);
  __m128i nans = _mm_setzero_si128();  // minus their number
  for (; i + 2 <= count; i += 2) {
    const __m128d scores = _mm_loadu_pd(raw + i);
    nans = _mm_add_epi64(nans, _mm_castpd_si128(_mm_cmpunord_pd(scores, scores)));
    const __m128d clamped = _mm_min_pd(_mm_max_pd(scores, zeros), ones);
    _mm_storeu_pd(total + i, _mm_add_pd(_mm_loadu_pd(total + i), _mm_mul_pd(weights, clamped)));
  }
  nan_scores = -static_cast<uint32_t>(_mm_cvtsi128_si32(nans) +
                                      _mm_cvtsi128_si32(_mm_unpackhi_epi64(nans, nans)));
#endif
  for (; i < count; ++i) {
    nan_scores += raw[i] != raw[i] ? 1 : 0;
    // A comparison with NaN is false, so NaN becomes 0.
    const double above = raw[i] > 0 ? raw[i] : 0;
    total[i] += weight * (above < 1 ? above : 1);
  }
  return nan_scores;
}

void Gather(const void* in, const uint32_t* index, uint32_t count, uint32_t element_bytes,
            void* out) noexcept {
  switch (element_bytes) {
    case 4:
      return GatherAs<uint32_t>(in, index, count, out);
    case 8:
      return GatherAs<uint64_t>(in, index, count, out);
    case 16:
      return GatherAs<Bytes16>(in, index, count, out);
    default:
      for (uint32_t i = 0; i < count; ++i) {
        std::memcpy(static_cast<char*>(out) + uint64_t{i} * element_bytes,
                    static_cast<const char*>(in) + uint64_t{index[i]} * element_bytes,
                    element_bytes);
      }
  }
}

}  // namespace weir::internal
