// A packed matrix whose scales, added offsets and codes are trained on any grid, through the rounding to what the
// layout can store (straight-through: the gradient of a rounded number is taken for that of the number).
#pragma once

#include <vector>

#include "distill/trained_tensor.h"
#include "grids/grid.h"

namespace kerf {

/// With value = s (u - z) (or s u + o where offsets are added, grids/grid.h) and a block B of weights that share s:
///   d s = sum over B of d value (value - o) / s,  d o = sum over B of d value,  d code position = d value s
/// Scales are trained as multiples of what they were, offsets in scales of their block. Where scales stand in two
/// levels the coarse one is refitted to the wanted fine ones, which are then rounded to multiples of it.
/// A code position is where a weight would lie between the codes; it may leave its first code by one step. Grids whose
/// codes are chosen together keep their codes, zeros of a mask stay, and parameters that rows share stay.
class TrainedMatrix final : public TrainedTensor {
 public:
  struct Trains {
    bool scales = true, codes = false;
    bool keep_zeros = false;  // codes whose value is 0 stay: pruned weights
    /// How far from its code a position begins at most, in steps; half a step is the border to the next code.
    float most_at_first = 0.3F;
  };
  /// `wanted` (where codes are trained): the original values [rows, cols]; how far they are from their codes says where
  /// positions begin. Empty: at the codes.
  TrainedMatrix(QuantizedMatrix, Trains, std::span<const float> wanted = {});

  void row(int64_t r, std::span<float> out) const override;
  std::vector<float> values() const override { return values_; }
  bool trained() const override { return scales_ || codes_; }
  int64_t size() const override { return std::ssize(values_); }
  void add_gradient(std::span<const float> d) override;
  void add_row_gradient(int64_t r, std::span<const float> d) override;
  std::vector<Parameter> parameters() override;
  void settle() override;

  const QuantizedMatrix& matrix() const { return q_; }
  bool trains_scales() const { return scales_; }
  bool trains_codes() const { return codes_; }

 private:
  void settle_scales(int64_t r);
  void settle_codes(int64_t r);
  float step(uint8_t code, float position) const { return position < 0 ? down_[code] : up_[code]; }
  size_t block_of(int64_t r, int64_t c) const { return static_cast<size_t>(r * blocks_per_row_ + c / group_); }

  QuantizedMatrix q_;
  const Grid& grid_;
  const int64_t group_, super_;  // columns of a finest and of a coarsest block; 0: rows share parameters
  const int64_t blocks_per_row_;
  const bool adds_offset_, scales_, codes_;
  std::vector<float> values_;
  std::vector<ScaleOffset> first_, now_;  // of each finest block: before training, and as stored
  std::vector<ParamArray> first_params_;
  std::vector<float> scale_, d_scale_;    // multiples of first_'s
  std::vector<float> offset_, d_offset_;  // added to first_'s, in scales times half the number of codes
  std::vector<float> up_, down_;          // of each code: to its neighbours, in scales
  std::vector<uint8_t> first_codes_, fixed_;
  std::vector<float> position_, d_position_;  // beside first_codes_, in steps: -1 ... 1
};

}  // namespace kerf
