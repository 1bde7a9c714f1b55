// Grids with one level of scales: affine (value = scale * code + offset, both in the same type), or with an level_table
// (value = scale * number[code]).
#pragma once

#include "grids/block_grid.h"

namespace kerf {

class OneLevelGrid final : public BlockGrid {
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
