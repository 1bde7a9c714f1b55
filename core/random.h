// Random numbers that follow from what they are for: a seed and counters, and from no number drawn before.
#pragma once

#include <cstdint>

namespace kerf {

/// Vigna's splitmix64: a bijection of 64 bits, so keys of different numbers never meet.
constexpr uint64_t splitmix64(uint64_t x) {
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31U);
}

/// 64 bits for the pair (i, j).
constexpr uint64_t random_bits(uint64_t seed, int64_t i, int64_t j) {
  constexpr uint64_t kGolden = 0x9E3779B97F4A7C15U;  // 2^64 over the golden ratio
  const uint64_t of_i = splitmix64(seed + (static_cast<uint64_t>(i) + 1) * kGolden);
  return splitmix64(of_i + (static_cast<uint64_t>(j) + 1) * kGolden);
}

/// In [0, 1), of 53 bits.
constexpr double uniform(uint64_t bits) { return static_cast<double>(bits >> 11U) * 0x1p-53; }

}  // namespace kerf
