// Rows are cut into panels of kRowsPerPanel, which run in parallel.
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

void GridSolver::solve(std::span<const float> w, QuantizedMatrix& q) const {
  if (q.scheme != scheme_ || q.cols != factor().n)
    fail(ErrorKind::internal, "a solver for {} and {} columns was given {} and {}", describe(scheme_), factor().n,
         describe(q.scheme), q.cols);
  if (q.mask) check_mask(q.scheme, *q.mask, q.rows, q.cols);
  std::vector<float> e(w.size());
  parallel_for(ceil_div(q.rows, kRowsPerPanel), [&](int64_t panel) {
    const int64_t begin = panel * kRowsPerPanel, count = std::min(kRowsPerPanel, q.rows - begin);
    const auto first = static_cast<size_t>(begin * q.cols), size = static_cast<size_t>(count * q.cols);
    const std::span<const float> part = w.subspan(first, size);
    const std::span<float> error = std::span(e).subspan(first, size);
    PanelSolver solver(q, begin, count);
    feedback_.choose(part, count, error, [&](const ColumnGroup& u) { solver.first_pass(u); });
    for (int pass = 0; pass < refine_; ++pass)
      feedback_.refine(part, count, error, [&](const ColumnGroup& u) { solver.refining_pass(u); });
  });
}

}  // namespace kerf
