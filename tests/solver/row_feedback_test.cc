// Error feedback between rows: the objective, the order, and what it gains.
#include "solver/row_feedback.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/parallel.h"
#include "grids/grid.h"
#include "solver/grid_solver.h"
#include "tests/support/activations.h"

namespace kerf {
namespace {

using test::activations;

Hessian moments(int64_t n, unsigned seed) { return test::hessian_of(activations(600, n, seed), n); }

// tr((G + damping I) E H ET), in double.
double loss(const Hessian& g, double damping, const Hessian& h, std::span<const float> e) {
  double sum = 0;
  std::vector<double> product(static_cast<size_t>(g.n * h.n));  // E H
  for (int64_t r = 0; r < g.n; ++r)
    for (int64_t k = 0; k < h.n; ++k)
      for (int64_t c = 0; c < h.n; ++c)
        product[static_cast<size_t>(r * h.n + c)] +=
            static_cast<double>(e[static_cast<size_t>(r * h.n + k)]) * static_cast<double>(h.row(k)[c]);
  for (int64_t r = 0; r < g.n; ++r)
    for (int64_t s = 0; s < g.n; ++s) {
      double dot = 0;
      for (int64_t c = 0; c < h.n; ++c)
        dot += static_cast<double>(e[static_cast<size_t>(r * h.n + c)]) * product[static_cast<size_t>(s * h.n + c)];
      sum += dot * (static_cast<double>(g.row(r)[s]) + (r == s ? damping : 0));
    }
  return sum;
}

std::vector<float> errors(const QuantizedMatrix& q, std::span<const float> w) {
  std::vector<float> e(w.size());
  find_grid(q.scheme.grid).decode(q, e);
  for (size_t i = 0; i < e.size(); ++i) e[i] = w[i] - e[i];
  return e;
}

constexpr int64_t kRows = 72, kCols = 64;  // the last turn is not full

TEST(RowFeedback, WeighedErrorsHaveTheLossForTheirSquare) {
  const Hessian g = moments(kRows, 1), h = moments(kCols, 2);
  const std::vector<float> e = activations(kRows, kCols, 3);
  for (const bool as_stored : {false, true}) {
    const RowFeedback feedback(g, 0.1, as_stored);
    const double expected = loss(g, 0.1 * g.mean(), h, e);
    EXPECT_NEAR(squared_outputs(h, feedback.weighted(e, kCols), kRows) / expected, 1, 1e-4);
    std::vector<int64_t> sorted(feedback.order().begin(), feedback.order().end());
    EXPECT_EQ(std::is_sorted(sorted.begin(), sorted.end()), as_stored);
    std::sort(sorted.begin(), sorted.end());
    for (int64_t i = 0; i < kRows; ++i) EXPECT_EQ(sorted[static_cast<size_t>(i)], i);
  }
}

TEST(RowFeedback, RowsOfOneTurnShareLittle) {
  // Rows of one head have much in common, those of two heads nothing.
  Hessian head(kRowsTogether);
  for (int64_t i = 0; i < head.n; ++i)
    for (int64_t j = 0; j < head.n; ++j) head.values[static_cast<size_t>(i * head.n + j)] = i == j ? 2.0F : 1.0F;
  const Hessian g = block_diagonal(std::vector<Hessian>(16, head));
  const auto shared = [&](std::span<const int64_t> order) {
    double sum = 0;
    for (int64_t i = 0; i < 256; ++i)
      for (int64_t j = i / kRowsTogether * kRowsTogether; j < i; ++j) {
        const int64_t a = order[static_cast<size_t>(i)], b = order[static_cast<size_t>(j)];
        sum += std::pow(static_cast<double>(g.row(a)[b]), 2) /
               (static_cast<double>(g.diagonal(a)) * static_cast<double>(g.diagonal(b)));
      }
    return sum;
  };
  EXPECT_GT(shared(RowFeedback(g, 0.1, true).order()), 400);
  EXPECT_EQ(shared(RowFeedback(g, 0.1).order()), 0);
}

TEST(RowFeedback, LowersTheLossThatItIsFor) {
  const Hessian g = moments(kRows, 1), h = moments(kCols, 2);
  std::vector<float> w = activations(kRows, kCols, 3);
  for (const Scheme& scheme : {symmetric_int(4, 32, Dtype::f16), asymmetric_int(3, 16, Dtype::f16)}) {
    const GridSolver solver(h, scheme, 0.01, 2);
    const RowFeedback feedback(g, 0.1);
    QuantizedMatrix alone = allocate(scheme, kRows, kCols), together = alone;
    solver.solve(w, alone);
    solver.solve(w, together, &feedback);
    const double damping = 0.1 * g.mean();
    EXPECT_LT(loss(g, damping, h, errors(together, w)), 0.8 * loss(g, damping, h, errors(alone, w)));
    EXPECT_GT(squared_outputs(h, errors(together, w), kRows), squared_outputs(h, errors(alone, w), kRows));
    set_threads(1);
    QuantizedMatrix again = allocate(scheme, kRows, kCols);
    solver.solve(w, again, &feedback);
    set_threads(0);
    EXPECT_EQ(again, together);
  }
}

TEST(RowFeedback, OfIndependentGradientsChangesNothing) {
  const Hessian h = moments(kCols, 2);
  Hessian g(kRows);
  for (int64_t i = 0; i < kRows; ++i) g.values[static_cast<size_t>(i * kRows + i)] = static_cast<float>(1 + i % 7);
  const std::vector<float> w = activations(kRows, kCols, 3);
  const Scheme scheme = symmetric_int(4, 32, Dtype::f16);
  const GridSolver solver(h, scheme, 0.01, 2);
  QuantizedMatrix alone = allocate(scheme, kRows, kCols), together = alone;
  alone.mask = Mask{std::vector<uint8_t>(w.size())};
  for (size_t i = 0; i < w.size(); i += 3) alone.mask->zero[i] = 1;
  together.mask = alone.mask;
  solver.solve(w, alone);
  const RowFeedback feedback(g, 0.1);
  EXPECT_FALSE(std::is_sorted(feedback.order().begin(), feedback.order().end()));
  solver.solve(w, together, &feedback);
  EXPECT_EQ(alone, together);
}

TEST(BlockDiagonal, HasThePartsOneAfterTheOther) {
  const std::vector<Hessian> parts = {moments(3, 1), moments(5, 2)};
  const Hessian whole = block_diagonal(parts);
  ASSERT_EQ(whole.n, 8);
  EXPECT_EQ(whole.tokens, 600);
  EXPECT_EQ(whole.row(1)[2], parts[0].row(1)[2]);
  EXPECT_EQ(whole.row(7)[4], parts[1].row(4)[1]);
  EXPECT_EQ(whole.row(2)[3], 0);
}

}  // namespace
}  // namespace kerf
