// Grids whose scales stand in two levels (two_level_affine, two_level_symmetric): a small integer per sub-block of 16
// or 32 weights times a half-precision number per 256: scale = d s, offset = -(dmin m). Source of the formulas:
// ggml-quants.c and gguf-py/gguf/quants.py of llama.cpp.
#pragma once

#include "grids/block_grid.h"

namespace kerf {

class TwoLevelGrid final : public BlockGrid {
 public:
  using BlockGrid::BlockGrid;
  void check(const Scheme&) const override;
  void fit(std::span<const float> w, std::span<const float> importance, QuantizedMatrix& q) const override;
  ScaleOffset effective(const QuantizedMatrix&, int64_t row, int64_t col) const override;
  ScaleOffset project(const QuantizedMatrix&, int64_t row, int64_t col, ScaleOffset wanted) const override;
  void set(QuantizedMatrix&, int64_t row, int64_t col, ScaleOffset) const override;

 protected:
  Blocks blocks(const QuantizedMatrix&) const override;
};

}  // namespace kerf
