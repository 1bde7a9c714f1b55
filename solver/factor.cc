// A blocked Cholesky factorization from the last column to the first: with R = LT (upper), H = R RT. Diagonal blocks
// are factorized in double by Eigen, everything else is float32 products.
// Eigen would cut products by the number of OpenMP threads, and results would depend on it.
#define EIGEN_DONT_PARALLELIZE
#include "solver/factor.h"

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>

#include "core/checked.h"
#include "core/error.h"
#include "core/parallel.h"
#include "kernels/dense/dense.h"

namespace kerf {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Columns factorized together: the cubic work in a block is then a small part of the whole, and the products with it
// are wide enough.
constexpr int64_t kBlock = 128;

// R upper triangular with m = R RT; empty when m is not positive definite. The lower factor of the matrix read
// backwards, read backwards.
Matrix upper_factor(const Matrix& m) {
  const Eigen::LLT<Matrix> lower(m.reverse());
  if (lower.info() != Eigen::Success) return {};
  const Matrix l = lower.matrixL();
  return l.reverse();
}

Matrix inverse_upper(const Matrix& r) {
  return r.triangularView<Eigen::Upper>().solve(Matrix::Identity(r.rows(), r.cols()));
}

std::vector<float> to_floats(const Matrix& m) {
  std::vector<float> f(static_cast<size_t>(m.size()));
  std::transform(m.data(), m.data() + m.size(), f.begin(), [](double x) { return static_cast<float>(x); });
  return f;
}

// r holds H + damping I on entry and R in its upper triangle on return; false when that is not positive definite.
bool factorize_in_place(std::vector<float>& r, int64_t n) {
  std::vector<float> sums, inverse_columns;
  for (int64_t end = n; end > 0;) {
    const int64_t begin = (end - 1) / kBlock * kBlock, size = end - begin, right = n - end;
    // sums[i, k] = what columns right of the block take from rows 0 ... end.
    sums.assign(static_cast<size_t>(end * size), 0.0f);
    matmul_nt(end, size, right, r.data() + end, n, r.data() + begin * n + end, n, sums.data(), size);
    Matrix diagonal(size, size);
    for (int64_t i = 0; i < size; ++i)
      for (int64_t k = 0; k < size; ++k)
        diagonal(i, k) =
            static_cast<double>(r[static_cast<size_t>((begin + std::min(i, k)) * n + begin + std::max(i, k))]) -
            static_cast<double>(sums[static_cast<size_t>((begin + i) * size + k)]);
    const Matrix factor = upper_factor(diagonal);
    if (factor.size() == 0) return false;
    for (int64_t i = 0; i < size; ++i)
      for (int64_t k = 0; k < size; ++k)
        r[static_cast<size_t>((begin + i) * n + begin + k)] = k >= i ? static_cast<float>(factor(i, k)) : 0.0f;
    // Rows above: R[i, block] = (H[i, block] - sums) * inverse(R[block, block])T.
    inverse_columns = to_floats(inverse_upper(factor));
    for (int64_t i = 0; i < begin; ++i)
      for (int64_t k = 0; k < size; ++k)
        sums[static_cast<size_t>(i * size + k)] =
            r[static_cast<size_t>(i * n + begin + k)] - sums[static_cast<size_t>(i * size + k)];
    matmul_nt(begin, size, size, sums.data(), size, inverse_columns.data(), size, r.data() + begin, n);
    end = begin;
  }
  return true;
}

void transpose_in_place(std::vector<float>& r, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) {
      r[static_cast<size_t>(j * n + i)] = r[static_cast<size_t>(i * n + j)];
      r[static_cast<size_t>(i * n + j)] = 0.0f;
    }
}

std::vector<float> permuted(const Hessian& h, std::span<const int64_t> order) {
  std::vector<float> values;
  values.reserve(h.values.size());
  for (const int64_t i : order)
    for (const int64_t k : order) values.push_back(h.row(i)[k]);
  return values;
}

}  // namespace

double first_damping(const Hessian& h, double relative) {
  const double mean = h.mean();
  return std::max(relative, 1e-6) * (mean > 0 ? mean : 1.0);
}

Factor factorize(const Hessian& h, double relative, std::span<const int64_t> order) {
  Factor f{.n = h.n, .dead = h.dead_channels()};
  const double mean = f.dead == h.n ? 1.0 : h.mean();
  for (double damping = first_damping(h, relative); damping <= mean; damping *= 10, ++f.attempts) {
    f.l = order.empty() ? h.values : permuted(h, order);
    for (int64_t i = 0; i < h.n; ++i) f.l[static_cast<size_t>(i * h.n + i)] += static_cast<float>(damping);
    f.damping = damping;
    if (!factorize_in_place(f.l, h.n)) continue;
    transpose_in_place(f.l, h.n);
    return f;
  }
  fail(ErrorKind::numerical,
       "the second moments of {} input channels over {} tokens cannot be factorized even when their mean {:.3g} is "
       "added "
       "to the diagonal; are there infinite activations?",
       h.n, h.tokens, mean);
}

std::vector<float> inverse_block(const Factor& f, int64_t begin, int64_t size) {
  Matrix r(size, size);
  for (int64_t i = 0; i < size; ++i)
    for (int64_t k = 0; k < size; ++k) r(i, k) = static_cast<double>(f.row(begin + k)[begin + i]);
  return to_floats(inverse_upper(r));
}

void solve_rows(const Factor& f, std::span<float> b) {
  const int64_t n = f.n, rows = static_cast<int64_t>(b.size()) / n;
  std::vector<float> sums, panel;
  // b[:, block] = (b[:, block] - b[:, from .. from + count) * panelT) * inverseT
  const auto step = [&](int64_t begin, int64_t size, int64_t from, int64_t count, const float* factor, int64_t stride,
                        const std::vector<float>& inverse) {
    sums.assign(static_cast<size_t>(rows * size), 0.0f);
    matmul_nt(rows, size, count, b.data() + from, n, factor, stride, sums.data(), size);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t k = 0; k < size; ++k) {
        float& x = sums[static_cast<size_t>(r * size + k)];
        x = b[static_cast<size_t>(r * n + begin + k)] - x;
      }
    matmul_nt(rows, size, size, sums.data(), size, inverse.data(), size, b.data() + begin, n);
  };
  // y L = b, from the last block to the first; then x LT = y.
  for (int64_t end = n; end > 0;) {
    const int64_t begin = (end - 1) / kBlock * kBlock, size = end - begin, right = n - end;
    panel.resize(static_cast<size_t>(size * right));
    for (int64_t k = 0; k < right; ++k)
      for (int64_t c = 0; c < size; ++c) panel[static_cast<size_t>(c * right + k)] = f.row(end + k)[begin + c];
    step(begin, size, end, right, panel.data(), right, inverse_block(f, begin, size));
    end = begin;
  }
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t size = std::min(kBlock, n - begin);
    const std::vector<float> u = inverse_block(f, begin, size);
    panel.resize(u.size());
    for (int64_t i = 0; i < size; ++i)
      for (int64_t k = 0; k < size; ++k)
        panel[static_cast<size_t>(k * size + i)] = u[static_cast<size_t>(i * size + k)];
    step(begin, size, 0, begin, f.row(begin), n, panel);
  }
}

std::vector<float> inverse_block(const Hessian& h, double damping, int64_t begin, int64_t size) {
  Matrix block(size, size);
  for (int64_t i = 0; i < size; ++i)
    for (int64_t k = 0; k < size; ++k)
      block(i, k) = static_cast<double>(h.row(begin + i)[begin + k]) + (i == k ? damping : 0.0);
  const Matrix r = upper_factor(block);
  if (r.size() == 0)
    fail(ErrorKind::numerical, "the second moments of input channels {} to {} are not positive definite", begin,
         begin + size - 1);
  return to_floats(inverse_upper(r));
}

}  // namespace kerf
