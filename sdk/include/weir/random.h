// weir/random.h: seeded randomness. Equal seeds give equal draws on every platform.
#pragma once

#include <cstdint>

namespace weir {

// Advances `state` and returns the next 64 random bits (SplitMix64, Steele, Lea and Flood, 2014).
constexpr uint64_t SplitMix64(uint64_t& state) noexcept {
  uint64_t z = (state += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

// A stream of random numbers from one seed. Not for cryptography. One thread at a time.
class Random {
 public:
  explicit constexpr Random(uint64_t seed) noexcept : state_(seed) {}
  constexpr uint64_t NextBits() noexcept { return SplitMix64(state_); }
  // Uniform in [0, 1), 53 random bits.
  constexpr double NextUniform() noexcept {
    return static_cast<double>(NextBits() >> 11) * 0x1.0p-53;
  }
  // Uniform in [0, bound), or 0 if bound is 0. Bias is below 2^-32 for bounds that fit 32 bits.
  constexpr uint32_t NextBelow(uint32_t bound) noexcept {
    return static_cast<uint32_t>(((NextBits() >> 32) * bound) >> 32);
  }

 private:
  uint64_t state_;
};

}  // namespace weir
