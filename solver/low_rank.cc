#include "solver/low_rank.h"

// In Eigen's own threads sums would depend on their number.
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

#include "core/random.h"

namespace kerf {
namespace {

using Floats = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Rows = Eigen::Map<const Floats>;

constexpr int64_t kMore = 8;     // columns beyond the rank: they make the last ones of it converge
constexpr int kIterations = 12;  // of the subspace

Floats orthonormal(const Floats& m) {
  const Eigen::HouseholderQR<Floats> qr(m);
  return qr.householderQ() * Floats::Identity(m.rows(), m.cols());
}

}  // namespace

LowRank low_rank_of(std::span<const float> error, const Hessian& h, int64_t rank) {
  const int64_t in = h.n, out = std::ssize(error) / in;
  const Rows e(error.data(), out, in), moments(h.values.data(), in, in);
  const int64_t columns = std::min({rank + kMore, out, in});
  Floats u(out, columns);
  for (int64_t r = 0; r < out; ++r)
    for (int64_t c = 0; c < columns; ++c) u(r, c) = static_cast<float>(uniform(random_bits(0, r, c)) - 0.5);
  u = orthonormal(u);
  const auto curved = [&](const Floats& x) -> Floats { return e * (moments * (e.transpose() * x)); };  // E H ET x
  for (int i = 0; i < kIterations; ++i) {
    const Floats next = curved(u);
    const float largest = next.cwiseAbs().maxCoeff();
    if (largest == 0) break;
    u = orthonormal(next / largest);
  }
  // Within the subspace, by the size of what they hold.
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXf> inside(Eigen::MatrixXf(u.transpose() * curved(u)));
  const Floats first = u * inside.eigenvectors().rightCols(rank).rowwise().reverse();
  Floats a = first.transpose() * e, b = first;
  for (int64_t k = 0; k < rank; ++k) {
    const float length = a.row(k).norm();
    b.col(k) *= std::sqrt(length);
    a.row(k) *= length > 0 ? 1 / std::sqrt(length) : 0.0F;
  }
  return {.out = out,
          .in = in,
          .rank = rank,
          .b = std::vector<float>(b.data(), b.data() + b.size()),
          .a = std::vector<float>(a.data(), a.data() + a.size())};
}

}  // namespace kerf
