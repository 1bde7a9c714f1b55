// Products of low rank that give back what a matrix has lost, beside the best there are.
#define EIGEN_DONT_PARALLELIZE  // as in solver/factor.cc
#include "solver/low_rank.h"

#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <algorithm>

#include "tests/support/activations.h"

namespace kerf {
namespace {

constexpr int64_t kRows = 40, kCols = 56;

std::vector<float> minus_product(std::vector<float> e, const LowRank& f) {
  for (int64_t r = 0; r < f.out; ++r)
    for (int64_t k = 0; k < f.rank; ++k)
      for (int64_t c = 0; c < f.in; ++c)
        e[static_cast<size_t>(r * f.in + c)] -=
            f.b[static_cast<size_t>(r * f.rank + k)] * f.a[static_cast<size_t>(k * f.in + c)];
  return e;
}

// What the best product of each rank leaves: sums of the smallest eigenvalues of E H ET, in double.
std::vector<double> least_left(const Hessian& h, const std::vector<float>& e) {
  using Rows = Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;
  const Eigen::MatrixXd m = Rows(e.data(), kRows, kCols).cast<double>(),
                        x = Rows(h.values.data(), kCols, kCols).cast<double>();
  const Eigen::VectorXd values =
      Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(m * x * m.transpose()).eigenvalues().reverse();
  std::vector<double> left;
  for (int64_t rank = 0; rank <= kRows; ++rank) left.push_back(values.tail(kRows - rank).sum());
  return left;
}

TEST(LowRank, LeavesHardlyMoreThanTheBestProductOfItsRank) {
  const Hessian h = test::hessian_of(test::activations(600, kCols, 1), kCols);
  const std::vector<float> e = test::activations(kRows, kCols, 2);
  const std::vector<double> best = least_left(h, e);
  for (const int64_t rank : {1, 4, 12, 30}) {
    const LowRank f = low_rank_of(e, h, rank);
    EXPECT_EQ(f.rank, rank);
    const double left = squared_outputs(h, minus_product(e, f), kRows);
    EXPECT_LE(left, 1.01 * best[static_cast<size_t>(rank)]) << rank;
    EXPECT_GE(left, 0.99 * best[static_cast<size_t>(rank)]) << rank;
    EXPECT_LT(left, 0.9 * best[0]);
  }
  const std::vector<float> left = minus_product(e, low_rank_of(e, h, kRows));
  EXPECT_LT(squared_outputs(h, left, kRows), 1e-6 * best[0]);
}

TEST(LowRank, WeighsErrorsByTheInputsAndNotByTheirSize) {
  Hessian h(kCols);  // only the first channel is ever there
  std::vector<float> x(static_cast<size_t>(4 * kCols));
  for (int64_t t = 0; t < 4; ++t) x[static_cast<size_t>(t * kCols)] = 1;
  h.add(x.data(), 4, kCols);
  h.finish();
  std::vector<float> e(static_cast<size_t>(kRows * kCols), 5.0F);
  for (int64_t r = 0; r < kRows; ++r) e[static_cast<size_t>(r * kCols)] = r % 2 == 0 ? 0.1F : -0.1F;
  EXPECT_NEAR(squared_outputs(h, minus_product(e, low_rank_of(e, h, 1)), kRows), 0, 1e-6);
}

TEST(LowRank, SharesTheSizeBetweenBothSides) {
  const Hessian h = test::hessian_of(test::activations(600, kCols, 1), kCols);
  const LowRank f = low_rank_of(test::activations(kRows, kCols, 2), h, 3);
  for (int64_t k = 0; k < 3; ++k) {
    double of_b = 0, of_a = 0;
    for (int64_t r = 0; r < kRows; ++r) of_b += std::pow(static_cast<double>(f.b[static_cast<size_t>(r * 3 + k)]), 2);
    for (int64_t c = 0; c < kCols; ++c)
      of_a += std::pow(static_cast<double>(f.a[static_cast<size_t>(k * kCols + c)]), 2);
    EXPECT_NEAR(of_b / of_a, 1, 1e-3);
  }
}

TEST(LowRank, OfNothingIsNothing) {
  const Hessian h = test::hessian_of(test::activations(100, kCols, 1), kCols);
  const LowRank none = low_rank_of(std::vector<float>(static_cast<size_t>(kRows * kCols)), h, 4);
  const auto zero = [](float v) { return v == 0; };
  EXPECT_TRUE(std::all_of(none.a.begin(), none.a.end(), zero) && std::all_of(none.b.begin(), none.b.end(), zero));
  Hessian dead(kCols);
  dead.finish();
  for (const float v : low_rank_of(test::activations(kRows, kCols, 2), dead, 4).b) EXPECT_TRUE(std::isfinite(v));
}

}  // namespace
}  // namespace kerf
