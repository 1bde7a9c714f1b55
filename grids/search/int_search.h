// The scale search of the integer grid, compiled once per instruction set from one text (int_search_body.h), so that
// every machine finds the same scales bit for bit.
#pragma once

#include <cstdint>
#include <span>

#include "core/cpu.h"
#include "core/dtype.h"

namespace kerf {

/// `blocks` blocks of `size` weights, one after the other in w.
struct IntFitProblem {
  const float* w;
  int64_t blocks, size;
  const float* importance;  // of block b: importance + (b % importance_blocks) * size; nullptr for ones
  int64_t importance_blocks;
  int bits;
  bool symmetric;
  Dtype stored;    // of the scales: F16, BF16 or F32
  float* scratch;  // 2 * 16 * (size + 1) floats, aligned to 64 bytes
};

struct IntSearch {
  Isa isa;
  /// Writes one scale (as it will read back from its stored form) and one zero point per block.
  void (*search)(const IntFitProblem&, float* scales, float* zeros);
  /// codes[i] = clamp(round(w[i] / scale + zero), 0, 2^bits - 1), block by block; ties to even.
  void (*encode)(const IntFitProblem&, const float* scales, const float* zeros, uint8_t* codes);
  /// The codes 0 .. top whose values are nearest to x, and the values, each with parameters of its own: scale * (code -
  /// offset), or with `adds` scale * code + offset. Ties to even; the lowest code when the scale is 0.
  void (*round)(float top, bool adds, const float* scale, const float* offset, const float* x, int64_t n,
                uint8_t* codes, float* values);
};

std::span<const IntSearch* const> all_int_searches();

}  // namespace kerf
