// The search for blocks with a scale, and perhaps an offset, of their own: value = scale * code + offset, or
// scale * number[code] (level_table.h). Compiled once per instruction set from one text (block_search_body.h), so that
// every machine finds the same parameters bit for bit. (Integers with zero points: int_search.h.)
#pragma once

#include <cstdint>
#include <span>

#include "core/cpu.h"
#include "core/dtype.h"
#include "grids/search/level_table.h"

namespace kerf {

/// `blocks` blocks of `size` weights, a multiple of 16, one after the other in w.
struct FlatFitProblem {
  const float* w;
  int64_t blocks, size;
  const float* importance;  // of block b: importance + (b % importance_blocks) * size; nullptr for ones
  int64_t importance_blocks;
  int bits;
  float zero;                     // added to the codes that encode() finds
  const LevelTable* level_table;  // nullptr: affine
  /// The scale (or offset) nearest to x that the file can store, or of scales of one byte the one `steps` codes
  /// further.
  float (*stored)(const FlatFitProblem&, float x, int steps);
  Dtype type;  // of the stored scale
  int steps;   // so many codes on either side are tried
};

/// The search needs room for 2 * kFlatLanes * (size + 1) floats, aligned to 64 bytes.
constexpr int64_t kFlatLanes = 16;

struct BlockSearch {
  Isa isa;
  void (*search)(const FlatFitProblem&, float* scratch, float* scales, float* offsets);
  /// codes[i] = clamp(round((w[i] - offset) / scale) + zero, 0, 2^bits - 1), block by block, ties to even; with an
  /// level_table the code of the number nearest to w[i] / scale. Offsets are not read then.
  void (*encode)(const FlatFitProblem&, const float* scales, const float* offsets, uint8_t* codes);
};

std::span<const BlockSearch* const> all_block_searches();

}  // namespace kerf
