// Error feedback on the numbers of a grid: what GPTQ runs, and a pruner that also quantizes (SparseGPT, Frantar and
// Alistarh, 2023) once it has chosen a mask.
#pragma once

#include <cstdint>
#include <span>

#include "solver/panel_solver.h"
#include "solver/row_feedback.h"

namespace kerf {

class GridSolver {
 public:
  /// For inputs with these second moments. `relative` damping as in factorize(); `refine` passes follow the first. The
  /// Hessian is not copied: it must stay where it is and as it is. Errors as factorize().
  GridSolver(const Hessian&, Scheme, double relative, int refine);
  GridSolver(const Hessian&&, Scheme, double, int) = delete;

  /// Whether solve() fits the parameters. Otherwise q must come with them.
  bool fits_parameters() const { return plan_.fits_parameters; }
  /// Of the Hessian in the order of the first pass.
  const Factor& factor() const { return feedback_.factor(); }

  /// Chooses codes for w [q.rows, q.cols], so that the squared output error is small, and parameters where
  /// fits_parameters(). Weights of q.mask become exactly 0 and the free ones make up for them. Rows are independent,
  /// or, with `between_rows`, which has as many, each makes up for those before it. The result does not depend on the
  /// number of threads. Errors as check_mask(). Threads: any number at a time.
  void solve(std::span<const float> w, QuantizedMatrix& q, const RowFeedback* between_rows = nullptr) const;

 private:
  void solve_rows(std::span<const float> w, int64_t begin, int64_t count, QuantizedMatrix& q, std::span<float> e) const;
  void solve_in_turn(std::span<const float> w, QuantizedMatrix& q, const RowFeedback&) const;

  Scheme scheme_;
  ColumnPlan plan_;
  int refine_;
  ErrorFeedback feedback_;
};

}  // namespace kerf
