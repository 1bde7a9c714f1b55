// The search for blocks with a scale, and perhaps an offset, of their own: value = scale * code + offset, or
// scale * number[code] (alphabet.h). Compiled once per instruction set from one text (flatfitter_body.h), so that every
// machine finds the same parameters bit for bit. (Integers with zero points: fitter.h.)
#pragma once

#include <cstdint>
#include <span>

#include "core/cpu.h"
#include "core/dtype.h"
#include "grids/alphabet.h"

namespace kerf {

/// `blocks` blocks of `size` weights, a multiple of 16, one after the other in w.
struct FlatFitProblem {
  const float* w;
  int64_t blocks, size;
  const float* importance;  // of block b: importance + (b % importance_blocks) * size; nullptr for ones
  int64_t importance_blocks;
  int bits;
  float zero;                // added to the codes that encode() finds
  const Alphabet* alphabet;  // nullptr: affine
  /// The scale (or offset) nearest to x that the file can store, or of scales of one byte the one `steps` codes
  /// further.
  float (*stored)(const FlatFitProblem&, float x, int steps);
  Dtype type;  // of the stored scale
  int steps;   // so many codes on either side are tried
};

/// The search needs room for 2 * kFlatLanes * (size + 1) floats, aligned to 64 bytes.
constexpr int64_t kFlatLanes = 16;

struct FlatFitter {
  Isa isa;
  void (*search)(const FlatFitProblem&, float* scratch, float* scales, float* offsets);
  /// codes[i] = clamp(round((w[i] - offset) / scale) + zero, 0, 2^bits - 1), block by block, ties to even; with an
  /// alphabet the code of the number nearest to w[i] / scale. Offsets are not read then.
  void (*encode)(const FlatFitProblem&, const float* scales, const float* offsets, uint8_t* codes);
};

std::span<const FlatFitter* const> all_flatfitters();

}  // namespace kerf
