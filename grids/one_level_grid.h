// Grids with one level of scales: affine (value = scale * code + offset, both in the same type), or with an alphabet
// (value = scale * number[code]).
#pragma once

#include "grids/block_grid.h"

namespace kerf {

class OneLevelGrid final : public BlockGrid {
 public:
  using BlockGrid::BlockGrid;
  void check(const Scheme&) const override;
  void fit(std::span<const float> w, std::span<const float> importance, QuantizedMatrix& q) const override;
  Effective effective(const QuantizedMatrix&, int64_t row, int64_t col) const override;
  Effective project(const QuantizedMatrix&, int64_t row, int64_t col, Effective wanted) const override;
  void set(QuantizedMatrix&, int64_t row, int64_t col, Effective) const override;

 protected:
  Blocks blocks(const QuantizedMatrix&) const override;
};

}  // namespace kerf
