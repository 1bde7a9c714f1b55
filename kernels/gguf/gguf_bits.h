// Numbers in the blocks of GGUF types, read in plain code for the reference kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/dtype.h"

namespace kerf {

inline float half_at(const std::byte* p) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return f16_to_f32(bits);
}

/// The nibble of weight k where byte j holds weight j low and weight j + 16 high.
inline int nibble_at(const std::byte* nibbles, int64_t k) {
  const int byte = std::to_integer<int>(nibbles[k % 16]);
  return k < 16 ? byte & 15 : byte >> 4;
}

/// Bit k of the bytes.
inline int bit_at(const std::byte* bits, int64_t k) { return std::to_integer<int>(bits[k / 8]) >> k % 8 & 1; }

}  // namespace kerf
