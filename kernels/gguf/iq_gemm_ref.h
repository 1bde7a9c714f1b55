// What the IQ1, IQ2 and IQ3 types have in common, for their references. Blocks of 256 are read in eight parts of 32
// weights; a part has indices into a codebook (iq_codebooks.h), signs of its own or signs of which the last is the
// parity of the others, and a scale for its 32 or for each 16: an odd number 2 s + 1. The fraction of d that llama.cpp
// multiplies by is exact, so that it belongs to d here (KBlock).
//
// Where products go by lanes (q8_k_types.h), llama.cpp adds up IQ1's deltas apart, which is the same
// product only up to the rounding of sums.
#pragma once

#include "core/iq_codebooks.h"
#include "kernels/gguf/gguf_bits.h"
#include "kernels/gguf/q8_k_gemm_ref.h"

namespace kerf {

struct IqBits {
  static unsigned byte_at(const std::byte* p, int i) { return std::to_integer<unsigned>(p[i]); }
  static unsigned u16_at(const std::byte* p, int i) { return byte_at(p, 2 * i) | byte_at(p, 2 * i + 1) << 8; }
  static unsigned u32_at(const std::byte* p, int i) { return u16_at(p, 2 * i) | u16_at(p, 2 * i + 1) << 16; }

  static void put_scale(KBlock& block, int part, unsigned first, unsigned second) {
    block.scales[2 * part] = static_cast<int>(2 * first + 1);
    block.scales[2 * part + 1] = static_cast<int>(2 * second + 1);
  }
  /// Eight weights: magnitudes a byte each, the first one lowest, and a bit each of signs.
  static void put_eight(KBlock& block, int eight, uint64_t magnitudes, unsigned signs) {
    for (int j = 0; j < 8; ++j) {
      const int magnitude = static_cast<int8_t>(magnitudes >> 8 * j & 0xff);
      block.codes[eight * 8 + j] = signs >> j & 1 ? -magnitude : magnitude;
    }
  }
  static void put_fours(KBlock& block, int eight, uint32_t first, uint32_t second, unsigned signs) {
    put_eight(block, eight, first | static_cast<uint64_t>(second) << 32, signs);
  }
  /// Eight ternary weights g + delta, eight times as large: delta is an eighth of either sign.
  static void put_ternary(KBlock& block, int eight, uint64_t grid, bool negative_delta) {
    put_eight(block, eight, grid, 0);
    for (int j = 0; j < 8; ++j) block.codes[eight * 8 + j] += negative_delta ? -1 : 1;
  }
};

}  // namespace kerf
