// A grid says which numbers exist: how stored parameters and a code become a value, and the nearest way back.
//
// One file per grid, grid_<name>.cc. Every quantizer works on any grid through this interface.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "grids/quantized_matrix.h"

namespace kerf {

/// What the stored parameters of a block amount to: value = scale * (code - offset), or scale * code + offset where
/// adds_offset(scheme).
struct ScaleOffset {
  float scale = 0, offset = 0;
};

class Grid {
 public:
  virtual ~Grid() = default;
  virtual std::string_view name() const = 0;
  /// Error unsupported, with what is allowed, when the scheme is not one of this grid.
  virtual void check(const Scheme&) const = 0;

  /// Chooses q.params for w [q.rows, q.cols] so that the squared error sum_c importance[c] (w - value)^2 of the nearest
  /// codes is small, block by block; parameters are rounded to their stored form before codes are compared.
  /// `importance` has one entry per column, or is empty for all ones; where codes are chosen together it may have one
  /// entry per weight. The result does not depend on the instruction
  /// set.
  virtual void fit(std::span<const float> w, std::span<const float> importance, QuantizedMatrix& q) const = 0;
  /// q.codes: the nearest code for every weight under q.params (ties to even multiples of the scale). `importance`
  /// counts where the codes of neighbouring weights are chosen together (Scheme::codeword).
  virtual void encode(std::span<const float> w, QuantizedMatrix& q, std::span<const float> importance = {}) const = 0;
  /// fit() and then encode(), in one pass where the search of parameters ends with the codes.
  virtual void fit_and_encode(std::span<const float> w, std::span<const float> importance, QuantizedMatrix& q) const;
  /// w [q.rows, q.cols] = the values.
  virtual void decode(const QuantizedMatrix& q, std::span<float> w) const = 0;

  /// What the parameters say at one weight.
  virtual ScaleOffset effective(const QuantizedMatrix&, int64_t row, int64_t col) const = 0;
  /// The nearest parameters to a wanted scale and offset that the finest block holding a weight can store while coarser
  /// levels stay as they are, as they will read back.
  virtual ScaleOffset project(const QuantizedMatrix&, int64_t row, int64_t col, ScaleOffset wanted) const = 0;
  /// The code nearest to x, by itself, and the value of a code.
  virtual uint32_t nearest(const Scheme&, ScaleOffset, float x) const = 0;
  virtual float value(const Scheme&, ScaleOffset, uint32_t code) const = 0;
  /// The codes of the next smaller and next larger number on the grid (the code itself at an end).
  struct Neighbours {
    uint32_t below, above;
  };
  virtual Neighbours neighbours(const Scheme&, ScaleOffset, uint32_t code) const = 0;

  /// nearest() and value() for n numbers, each by itself, each under its own parameters (arrays of n).
  virtual void round(const Scheme&, const float* scale, const float* offset, const float* x, int64_t n, uint8_t* codes,
                     float* values) const;
  /// The same where codes are chosen together: x, codes and values are [scheme.codeword, n], one column of words' first
  /// weights after the other, n a multiple of 16; a column's error counts by its importance. Error internal on grids
  /// whose codes stand alone.
  virtual void round_words(const Scheme&, const float* scale, const float* x, const float* importance, int64_t n,
                           uint8_t* codes, float* values) const;
  /// Stores parameters that project() gave for the block that holds a weight. Only where group_columns() is not 0.
  virtual void set(QuantizedMatrix&, int64_t row, int64_t col, ScaleOffset) const = 0;
};

/// Columns of a row of `cols` whose finest parameters can be set without regard to other rows or blocks; 0 when rows
/// share parameters.
int64_t group_columns(const Scheme&, int64_t cols);
/// Columns that share the coarsest parameters: group_columns() where there is one level.
int64_t superblock_columns(const Scheme&, int64_t cols);

/// Whether one code of this scheme stands for exactly 0 whatever the parameters are: pruned weights need it. False
/// where offsets are added, where the grid lists no zero, and where codes are chosen together.
bool has_zero(const Scheme&);
/// That code on the scheme's grid, where the parameters have this offset. Requires has_zero().
uint32_t zero_code(const Grid&, const Scheme&, float offset);
/// Error unsupported when a matrix of this scheme cannot have pruned weights, internal when the mask is not
/// [rows, cols].
void check_mask(const Scheme&, const Mask&, int64_t rows, int64_t cols);

/// Error numerical: what every grid says where a scale or an added offset is infinite in the type that stores it.
[[noreturn]] void refuse_large(int64_t row, Dtype stored);

std::span<const Grid* const> all_grids();
/// Error usage, with the known names, when there is none.
const Grid& find_grid(std::string_view name);

}  // namespace kerf
