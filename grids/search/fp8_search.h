// The scale search of the fp8 grid, compiled once per instruction set from one text (fp8_search_body.h), so that every
// machine finds the same scales bit for bit.
#pragma once

#include <cstdint>
#include <span>

#include "core/cpu.h"

namespace kerf {

/// The weights that share a scale: row r begins at w + r * stride. `importance` has one entry per column of the block,
/// or is nullptr for ones.
struct Fp8Block {
  const float* w;
  int64_t rows, cols, stride;
  const float* importance;
};

struct Fp8Search {
  Isa isa;
  /// `plain` is absmax / 448; `best` the scale with the smallest squared error among those tried. Neither is rounded to
  /// its stored form; both are 0 for a block whose largest magnitude is below 2^-100.
  struct Found {
    float plain, best;
  };
  Found (*search)(const Fp8Block&);
  /// sum importance (w - scale e4m3(w / scale))^2; sum importance w^2 when the scale is 0.
  double (*error)(const Fp8Block&, float scale);
  /// codes[i] = the e4m3 code nearest to w[i] / scale, ties to even, saturated; 0 when the scale is 0.
  void (*encode)(const float* w, float scale, int64_t n, uint8_t* codes);
};

std::span<const Fp8Search* const> all_fp8_searches();

}  // namespace kerf
