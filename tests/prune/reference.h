// The papers' pruning algorithms in double with plain loops, written from the papers, for tests to compare with.
#pragma once

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "prune/pruner.h"

namespace kerf::test {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

inline Matrix matrix_of(std::span<const float> v, int64_t rows, int64_t cols) {
  Matrix m(rows, cols);
  for (int64_t i = 0; i < rows * cols; ++i) m.data()[i] = static_cast<double>(v[static_cast<size_t>(i)]);
  return m;
}

/// H + damping I, damping relative to the mean of the diagonal.
inline Matrix damped(const Hessian& h, double relative) {
  Matrix m = matrix_of(h.values, h.n, h.n);
  m.diagonal().array() += relative * m.diagonal().mean();
  return m;
}

struct ReferencePruning {
  Matrix values;                                            // 0 where pruned
  std::vector<uint8_t> zero;                                // [rows, cols]
  double margin = std::numeric_limits<double>::infinity();  // least relative gap between the last pruned and the first
                                                            // kept of any comparison

  // Marks the `count` smallest scores of these places [row, col].
  void mark(std::vector<std::pair<double, int64_t>> scores, int64_t count) {
    std::sort(scores.begin(), scores.end());
    for (int64_t i = 0; i < count; ++i) zero[static_cast<size_t>(scores[static_cast<size_t>(i)].second)] = 1;
    const auto at = static_cast<size_t>(count);
    if (count > 0 && at < scores.size())
      margin = std::min(margin, scores[at].first / std::max(scores[at - 1].first, 1e-300) - 1);
  }
};

/// The zeros of so many weights; patterns say theirs themselves.
inline int64_t zeros_of_share(const Sparsity& s, int64_t weights) {
  return s.of > 0 ? s.zeros : std::llround(s.share * static_cast<double>(weights));
}

/// Scores |W_ij| |x_j| compared in rows or groups (Wanda), or |W_ij| with norms of 1, over all rows where no rows are
/// compared apart (magnitude).
inline ReferencePruning prune_by_score(const Matrix& w, const std::vector<double>& norms, const Sparsity& s,
                                       bool rows_apart) {
  const int64_t rows = w.rows(), cols = w.cols();
  ReferencePruning p{w, std::vector<uint8_t>(static_cast<size_t>(rows * cols))};
  const int64_t wide = s.of > 0 ? s.of : cols, high = s.of > 0 || s.by_row || rows_apart ? 1 : rows;
  for (int64_t r0 = 0; r0 < rows; r0 += high)
    for (int64_t c0 = 0; c0 < cols; c0 += wide) {
      std::vector<std::pair<double, int64_t>> scores;
      for (int64_t r = r0; r < r0 + high; ++r)
        for (int64_t c = c0; c < c0 + wide; ++c)
          scores.emplace_back(std::abs(w(r, c)) * norms[static_cast<size_t>(c)], r * cols + c);
      p.mark(scores, zeros_of_share(s, high * wide));
    }
  for (int64_t i = 0; i < rows * cols; ++i)
    if (p.zero[static_cast<size_t>(i)]) p.values.data()[i] = 0;
  return p;
}

/// SparseGPT, Algorithm 1 of the paper: U the upper Cholesky factor of the inverse of the damped H; column by column
/// the pruned weights' errors w / U_jj go to the columns right of them.
inline ReferencePruning sparsegpt(const Matrix& original, const Matrix& damped_h, const Sparsity& s, int64_t block) {
  const int64_t rows = original.rows(), cols = original.cols();
  const Matrix inverse = damped_h.llt().solve(Matrix::Identity(cols, cols));
  const Matrix u = inverse.llt().matrixU();
  ReferencePruning p{original, std::vector<uint8_t>(static_cast<size_t>(rows * cols))};
  Matrix& w = p.values;
  const int64_t step = s.of > 0 ? s.of : block;
  for (int64_t j = 0; j < cols; ++j) {
    if (j % step == 0) {
      const int64_t end = std::min(cols, j + step);
      const bool apart = s.of > 0 || s.by_row;
      for (int64_t r0 = 0; r0 < rows; r0 += apart ? 1 : rows) {
        std::vector<std::pair<double, int64_t>> scores;
        for (int64_t r = r0; r < (apart ? r0 + 1 : rows); ++r)
          for (int64_t c = j; c < end; ++c) scores.emplace_back(w(r, c) * w(r, c) / (u(c, c) * u(c, c)), r * cols + c);
        p.mark(scores, zeros_of_share(s, static_cast<int64_t>(scores.size())));
      }
    }
    for (int64_t r = 0; r < rows; ++r) {
      if (!p.zero[static_cast<size_t>(r * cols + j)]) continue;
      const double error = w(r, j) / u(j, j);
      w(r, j) = 0;
      for (int64_t c = j + 1; c < cols; ++c) w(r, c) -= error * u(j, c);
    }
  }
  return p;
}

/// The least-squares weights on the free support of each row: v_S = H_SS^-1 H_S w (the problem that ALPS solves once
/// its support is fixed).
inline Matrix least_squares(const Matrix& w, const Matrix& damped_h, const std::vector<uint8_t>& zero) {
  Matrix v = Matrix::Zero(w.rows(), w.cols());
  for (int64_t r = 0; r < w.rows(); ++r) {
    std::vector<int64_t> support;
    for (int64_t c = 0; c < w.cols(); ++c)
      if (!zero[static_cast<size_t>(r * w.cols() + c)]) support.push_back(c);
    const auto size = static_cast<int64_t>(support.size());
    Matrix h(size, size), b(size, 1);
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t k = 0; k < size; ++k)
        h(i, k) = damped_h(support[static_cast<size_t>(i)], support[static_cast<size_t>(k)]);
      b(i, 0) = damped_h.row(support[static_cast<size_t>(i)]).dot(w.row(r));
    }
    const Matrix x = h.llt().solve(b);
    for (int64_t i = 0; i < size; ++i) v(r, support[static_cast<size_t>(i)]) = x(i, 0);
  }
  return v;
}

/// Sum over rows e of W - V of e H eT.
inline double objective(const Matrix& w, const Matrix& v, const Matrix& h) {
  const Matrix e = w - v;
  return (e * h).cwiseProduct(e).sum();
}

}  // namespace kerf::test
