#include "solver/column_elimination.h"

#include <gtest/gtest.h>

#include <Eigen/Cholesky>
#include <Eigen/Dense>
#include <algorithm>
#include <random>

#include "core/error.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {

using Matrix = Eigen::MatrixXd;

// Inputs with strong correlations, and weights; in double, and as the solver takes them.
struct Problem {
  int64_t n, rows;
  Matrix h, w;
  Hessian hessian;
  std::vector<float> weights;

  Problem(int64_t columns, int64_t outputs, unsigned seed) : n(columns), rows(outputs), hessian(columns) {
    std::mt19937 rng(seed);
    std::normal_distribution<double> normal;
    const auto random = [&](int64_t r, int64_t c) {
      Matrix m(r, c);
      for (double& x : m.reshaped()) x = normal(rng);
      return m;
    };
    const Matrix x = random(400, n) * (Matrix::Identity(n, n) + 0.4 * random(n, n));
    h = x.transpose() * x;
    w = random(rows, n);
    hessian.tokens = 400;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t k = 0; k < n; ++k) hessian.values[static_cast<size_t>(i * n + k)] = static_cast<float>(h(i, k));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t k = 0; k < n; ++k) weights.push_back(static_cast<float>(w(r, k)));
  }

  double damping() const { return 0.01 * h.diagonal().mean(); }
  Matrix damped() const { return h + damping() * Matrix::Identity(n, n); }
  double signal() const { return (w * h * w.transpose()).trace(); }

  // The least squared error, damping included, with these columns gone: straight from the normal equations.
  double loss_without(const std::vector<int64_t>& gone) const {
    std::vector<int64_t> kept;
    for (int64_t i = 0; i < n; ++i)
      if (std::find(gone.begin(), gone.end(), i) == gone.end()) kept.push_back(i);
    const Matrix hd = damped(), columns = hd(Eigen::all, kept), block = hd(kept, kept);
    const Matrix best = block.llt().solve(columns.transpose() * w.transpose()).transpose();
    Matrix e = w;
    e(Eigen::all, kept) -= best;
    return (e * hd * e.transpose()).trace();
  }
};

TEST(Elimination, ImportanceIsTheLossOfRemovingOneGroup) {
  const Problem p(24, 10, 3);
  const Elimination e = eliminate_columns(p.hessian, p.weights, p.rows, {.group = 3, .keep = 4});
  for (int64_t g = 0; g < 8; ++g) {
    const double exact = p.loss_without({3 * g, 3 * g + 1, 3 * g + 2}) / p.signal();
    EXPECT_NEAR(e.importance[static_cast<size_t>(g)], exact, 2e-3 * exact) << g;
  }
}

TEST(Elimination, RemovesWhatCostsLeastNextAsTheNormalEquationsSay) {
  for (const unsigned seed : {1u, 2u, 5u}) {
    const Problem p(16, 6, seed);
    const Elimination e = eliminate_columns(p.hessian, p.weights, p.rows, {.keep = 10});
    std::vector<int64_t> gone;
    for (int step = 0; step < 6; ++step) {
      int64_t best = -1;
      double least = 0;
      for (int64_t i = 0; i < p.n; ++i) {
        if (std::find(gone.begin(), gone.end(), i) != gone.end()) continue;
        std::vector<int64_t> more = gone;
        more.push_back(i);
        const double loss = p.loss_without(more);
        if (best < 0 || loss < least) {
          best = i;
          least = loss;
        }
      }
      gone.push_back(best);
    }
    for (const int64_t i : gone) EXPECT_FALSE(std::binary_search(e.kept.begin(), e.kept.end(), i)) << seed;
    EXPECT_EQ(e.kept.size(), 10u);
  }
}

TEST(Elimination, OfEveryFamilyTheSameNumberGoes) {
  const Problem p(24, 10, 7);
  const Elimination e = eliminate_columns(p.hessian, p.weights, p.rows, {.group = 2, .keep = 8, .family = 3});
  ASSERT_EQ(e.kept.size(), 8u);
  for (int64_t family = 0; family < 4; ++family)
    EXPECT_EQ(std::count_if(e.kept.begin(), e.kept.end(), [&](int64_t g) { return g / 3 == family; }), 2) << family;
}

TEST(Elimination, WithoutCorrectionAGroupCostsWhatItGives) {
  const Problem p(12, 5, 9);
  const Elimination e = eliminate_columns(p.hessian, p.weights, p.rows, {.keep = 6, .correct = false});
  for (int64_t i = 0; i < p.n; ++i) {
    const double exact = p.w.col(i).squaredNorm() * p.h(i, i) / p.signal();
    EXPECT_NEAR(e.importance[static_cast<size_t>(i)], exact, 1e-4 * exact);
  }
}

TEST(Elimination, RefittedColumnsSolveTheNormalEquations) {
  const Problem p(40, 9, 4);
  const std::vector<int64_t> kept = {0, 3, 4, 5, 11, 20, 21, 30, 38};
  const std::vector<float> refitted = refitted_columns(p.hessian, p.weights, p.rows, kept, 0.01);
  // The damping is relative to the mean of what is kept.
  const Matrix block = p.h(kept, kept);
  const double damping = 0.01 * block.diagonal().mean();
  const Matrix damped = block + damping * Matrix::Identity(block.rows(), block.cols());
  const Matrix right = p.w * p.h(Eigen::all, kept) + damping * p.w(Eigen::all, kept);
  const Matrix exact = damped.llt().solve(right.transpose()).transpose();
  for (int64_t r = 0; r < p.rows; ++r)
    for (size_t k = 0; k < kept.size(); ++k)
      EXPECT_NEAR(static_cast<double>(refitted[static_cast<size_t>(r) * kept.size() + k]),
                  exact(r, static_cast<int64_t>(k)), 2e-3 * exact.norm() / 10);
}

TEST(Elimination, WhatDoesNotFitIsRefused) {
  const Problem p(12, 5, 9);
  for (const EliminationRequest& r : {EliminationRequest{.group = 5, .keep = 1}, EliminationRequest{.keep = 0},
                                      EliminationRequest{.keep = 13}, EliminationRequest{.keep = 7, .family = 4}})
    test::refusal([&] { eliminate_columns(p.hessian, p.weights, p.rows, r); }, ErrorKind::usage);
}

}  // namespace
}  // namespace kerf
