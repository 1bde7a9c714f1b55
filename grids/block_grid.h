// What grids have in common whose finest parameters cover a run of 16 or more weights of a row: how a code becomes a
// value under them, and the nearest way back. Which parameters there are is left to two_level_grid.cc and
// one_level_grid.cc. The value of a code is
//   scale * code + offset              where the scheme adds its offsets,
//   scale * number[code]               with an level_table (the offset is 0),
//   scale * (code - 2^(bits-1))        otherwise (that is the offset).
#pragma once

#include <optional>
#include <string_view>

#include "grids/grid.h"
#include "grids/search/level_table.h"

namespace kerf {

class BlockGrid : public Grid {
 public:
  BlockGrid(std::string_view name, std::optional<LevelTable> level_table)
      : name_(name), alphabet_(std::move(level_table)) {}

  std::string_view name() const override { return name_; }
  void encode(std::span<const float> w, QuantizedMatrix& q, std::span<const float> importance = {}) const override;
  void decode(const QuantizedMatrix& q, std::span<float> w) const override;
  uint32_t nearest(const Scheme&, ScaleOffset, float x) const override;
  float value(const Scheme&, ScaleOffset, uint32_t code) const override;
  Neighbours neighbours(const Scheme&, ScaleOffset, uint32_t code) const override;
  void round(const Scheme&, const float* scale, const float* offset, const float* x, int64_t n, uint8_t* codes,
             float* values) const override;

 protected:
  /// effective() of every block of the finest level, in the order of the weights.
  struct Blocks {
    std::vector<float> scales, offsets;
  };
  virtual Blocks blocks(const QuantizedMatrix&) const = 0;

  const LevelTable* level_table() const { return alphabet_ ? &*alphabet_ : nullptr; }
  /// The offset of a scheme that stores none.
  float fixed_offset(const Scheme& s) const { return alphabet_ ? 0.0f : static_cast<float>(1 << (s.bits - 1)); }

 private:
  std::string_view name_;
  std::optional<LevelTable> alphabet_;
};

/// The parameters of a level as numbers.
std::vector<float> floats_of(const ParamArray&);
/// Importance of columns where blocks of `size` of them are fitted one by one, float32 sums and all: each block's
/// largest is about 1, by a power of two, which changes no result. Columns without any, or with less than 2^-32 of the
/// largest, count as the least of the others, so that they keep their weights; a block in which all are 0 counts
/// evenly.
std::vector<float> evened_by_block(std::span<const float> importance, int64_t size);
/// The same of all columns at once, and none below 2^-24; empty where all are 0.
std::vector<float> evened(std::span<const float> importance);

}  // namespace kerf
