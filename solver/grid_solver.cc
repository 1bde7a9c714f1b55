// Rows are cut into panels of kRowsPerPanel, which run in parallel, or go through feedback between rows by few.
#include "solver/grid_solver.h"

#include <algorithm>
#include <utility>

#include "core/checked.h"
#include "core/error.h"
#include "core/parallel.h"

namespace kerf {

GridSolver::GridSolver(const Hessian& h, Scheme scheme, double relative, int refine)
    : scheme_(std::move(scheme)),
      plan_(column_plan(scheme_, h.n)),
      refine_(refine),
      feedback_(h, relative, plan_.group, plan_.outer, refine > 0, falling_order(h, plan_.parts)) {}

void GridSolver::solve(std::span<const float> w, QuantizedMatrix& q, const RowFeedback* between_rows) const {
  if (q.scheme != scheme_ || q.cols != factor().n)
    fail(ErrorKind::internal, "a solver for {} and {} columns was given {} and {}", describe(scheme_), factor().n,
         describe(q.scheme), q.cols);
  if (q.mask) check_mask(q.scheme, *q.mask, q.rows, q.cols);
  if (between_rows) return solve_in_turn(w, q, *between_rows);
  std::vector<float> e(w.size());
  parallel_for(ceil_div(q.rows, kRowsPerPanel), [&](int64_t panel) {
    const int64_t begin = panel * kRowsPerPanel, count = std::min(kRowsPerPanel, q.rows - begin);
    const auto first = static_cast<size_t>(begin * q.cols), size = static_cast<size_t>(count * q.cols);
    solve_rows(w.subspan(first, size), begin, count, q, std::span(e).subspan(first, size));
  });
}

// w and e [count, cols] are of these rows alone.
void GridSolver::solve_rows(std::span<const float> w, int64_t begin, int64_t count, QuantizedMatrix& q,
                            std::span<float> e) const {
  PanelSolver solver(q, begin, count);
  feedback_.choose(w, count, e, [&](const ColumnGroup& u) { solver.first_pass(u); });
  for (int pass = 0; pass < refine_; ++pass)
    feedback_.refine(w, count, e, [&](const ColumnGroup& u) { solver.refining_pass(u); });
}

void GridSolver::solve_in_turn(std::span<const float> w, QuantizedMatrix& q, const RowFeedback& between_rows) const {
  const std::span<const int64_t> order = between_rows.order();
  if (std::ssize(order) != q.rows)
    fail(ErrorKind::internal, "feedback between {} rows was given {}", order.size(), q.rows);
  QuantizedMatrix in_turns = rows_in(q, order);
  std::vector<float> e(w.size()), wanted, target;
  for (int64_t begin = 0; begin < in_turns.rows; begin += kRowsTogether) {
    const int64_t count = std::min(kRowsTogether, in_turns.rows - begin);
    wanted.clear();
    for (const int64_t row : order.subspan(static_cast<size_t>(begin), static_cast<size_t>(count)))
      wanted.insert(wanted.end(), w.begin() + row * in_turns.cols, w.begin() + (row + 1) * in_turns.cols);
    target = wanted;
    between_rows.correct(begin, count, in_turns.cols, e, target);
    const std::span<float> own = std::span(e).subspan(static_cast<size_t>(begin * in_turns.cols), target.size());
    solve_rows(target, begin, count, in_turns, own);
    for (size_t i = 0; i < own.size(); ++i) own[i] += wanted[i] - target[i];
  }
  std::vector<int64_t> turn_of(order.size());
  for (size_t k = 0; k < order.size(); ++k) turn_of[static_cast<size_t>(order[k])] = static_cast<int64_t>(k);
  q = rows_in(in_turns, turn_of);
}

}  // namespace kerf
