// float32 <-> float16 and bfloat16 on the bit patterns, without branches and without the standard library, so that the
// same text serves the scalar functions of core/dtype.h and the loops that converter_<isa>.cc compiles into vectors.
// Everything here is local to the file that includes it.
#pragma once

#include <stdint.h>

namespace kerf {
namespace {

inline uint32_t bits_of_f32(float x) { return __builtin_bit_cast(uint32_t, x); }
inline float f32_of_bits(uint32_t b) { return __builtin_bit_cast(float, b); }

inline float widen_bf16(uint16_t h) { return f32_of_bits(static_cast<uint32_t>(h) << 16); }

// Round to nearest even; NaN keeps the upper part of its payload and becomes quiet.
inline uint16_t narrow_bf16(float x) {
  const uint32_t b = bits_of_f32(x);
  const uint32_t rounded = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
  const bool nan = (b & 0x7fffffffu) > 0x7f800000u;
  return static_cast<uint16_t>(nan ? (b >> 16) | 0x40u : rounded);
}

inline float widen_f16(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t m = h & 0x7fffu;
  // Read as a float whose exponent is too small by 112, then scaled by 2^112: exact, subnormals included.
  const uint32_t finite = bits_of_f32(f32_of_bits(m << 13) * 0x1p112f);
  const uint32_t quiet = m > 0x7c00u ? 0x400000u : 0u;  // NaN becomes quiet, its payload is kept
  const uint32_t special = 0x7f800000u | ((m & 0x3ffu) << 13) | quiet;
  return f32_of_bits(sign | (m >= 0x7c00u ? special : finite));
}

inline uint16_t narrow_f16(float x) {
  const uint32_t b = bits_of_f32(x), sign = (b >> 16) & 0x8000u, m = b & 0x7fffffffu;
  const uint32_t normal = (m + 0xfffu + ((m >> 13) & 1u) - 0x38000000u) >> 13;
  // Below 2^-14: adding 0.5 leaves multiples of 2^-24 in the last bits, rounded to even.
  const uint32_t subnormal = bits_of_f32(f32_of_bits(m) + 0.5f) - 0x3f000000u;
  uint32_t r = m < 0x38800000u ? subnormal : normal;
  r = m >= 0x477ff000u ? 0x7c00u : r;  // 65520 and above round to infinity
  r = m > 0x7f800000u ? 0x7e00u | ((m >> 13) & 0x3ffu) : r;
  return static_cast<uint16_t>(sign | r);
}

}  // namespace
}  // namespace kerf
