// Choosing codes on a grid for the rows of one panel, column group by column group, inside of error feedback
// (solver/error_feedback.h). Works on any grid through grids/grid.h; masked weights become exactly 0.
#pragma once

#include <cstdint>
#include <vector>

#include "grids/grid.h"
#include "solver/error_feedback.h"

namespace kerf {

/// How the columns of a scheme go through error feedback.
struct ColumnPlan {
  int64_t group = 0;  // columns chosen together: a block of the finest parameters, or a part of a wide one
  int64_t outer = 0;  // columns whose parameters, coarse ones included, are fitted when the first pass reaches them
  bool fits_parameters = false;  // whether they are; otherwise they must be there before
  /// What the order of the first pass keeps together, for falling_order(): columns whose parameters are fitted when the
  /// pass reaches them, else those that have the same ones; and words.
  std::vector<int64_t> parts;
};
ColumnPlan column_plan(const Scheme&, int64_t cols);

/// Threads: one panel each; panels of one matrix may run side by side.
class PanelSolver {
 public:
  /// For the rows [first_row, first_row + rows) of q, rows <= kRowsPerPanel, whose codes and, where the plan fits them,
  /// parameters it writes. Requires has_zero() where q has a mask.
  PanelSolver(QuantizedMatrix& q, int64_t first_row, int64_t rows);

  /// What ErrorFeedback::choose() and refine() call.
  void first_pass(const ColumnGroup&);
  void refining_pass(const ColumnGroup&);

 private:
  // Parameters of one block in each row of the panel.
  struct Params {
    float scale[kRowsPerPanel], offset[kRowsPerPanel];
    bool operator==(const Params&) const = default;
  };

  bool masked(int64_t r, int64_t column) const {
    return q_.mask && q_.mask->zero[static_cast<size_t>((first_ + r) * q_.cols + column)] != 0;
  }
  Params present(int64_t col) const;
  void fit(const ColumnGroup&);
  Params refitted(const ColumnGroup&);
  float added_offset(const Params&, int64_t r) const;
  bool attempt(const ColumnGroup&, const Params&);
  void choose_codes(const ColumnGroup&, int64_t k, const Params&, const float* x);
  void apply_mask(const ColumnGroup&, int64_t k, const Params&);
  bool polish(const ColumnGroup&);
  void keep(const ColumnGroup&);
  static float* aligned(float* p) { return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(p) + 63) / 64 * 64); }

  QuantizedMatrix& q_;
  const Grid& grid_;
  const int64_t first_, rows_;
  const ColumnPlan plan_;
  const bool adds_;          // offsets are added to scale * code
  bool has_offset_ = false;  // offsets are stored
  bool per_column_ = false;  // parameters differ between the columns of a group
  std::vector<float> work_, slope_, values_, f_;
  std::vector<uint8_t> codes_, best_codes_;
  float best_[kRowsPerPanel] = {};
  bool changed_[kRowsPerPanel] = {};
  Params best_params_ = {};
};

}  // namespace kerf
