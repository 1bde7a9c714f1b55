// Accumulated in batches of tokens, each a transposed product of float32 or bf16 panels.
#include "solver/hessian.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <numeric>

#include "core/checked.h"
#include "core/error.h"
#include "core/parallel.h"
#include "kernels/dense/dense.h"
#include "kernels/dense/dense_panel.h"

namespace kerf {
namespace {

// Long enough that adding a panel's result to H costs little beside its product, short enough that a batch in bf16
// stays in the caches.
constexpr int64_t kBatchTokens = 1024;

}  // namespace

void add_moments(const float* a, int64_t m, int64_t a_stride, const float* b, int64_t n, int64_t b_stride,
                 int64_t tokens, float* c, bool upper) {
  const auto add_product = fast_bf16() ? add_product_tn_bf16 : add_product_tn;
  for (int64_t t = 0; t < tokens; t += kBatchTokens)
    add_product(std::min(kBatchTokens, tokens - t), m, n, a + t * a_stride, a_stride, b + t * b_stride, b_stride, c,
                upper);
}

Hessian sum_of(const Hessian& a, const Hessian& b) {
  Hessian sum = a;
  sum.merge(b);
  return sum;
}

void Hessian::merge(const Hessian& next) {
  if (n != next.n) fail(ErrorKind::internal, "second moments of {} and {} channels were added", n, next.n);
  std::transform(values.begin(), values.end(), next.values.begin(), values.begin(), std::plus<>());
  tokens += next.tokens;
  for (int64_t i = 0; i < n; ++i)
    if (!std::isfinite(diagonal(i)))
      fail(ErrorKind::numerical, "the sum of the squared activations of input channel {} is too large for float32", i);
}

Hessian::Hessian(int64_t size)
    : n(size), values(static_cast<size_t>(checked_mul<int64_t>(size, size, "second moments"))) {}

void Hessian::add(const float* x, int64_t count, int64_t stride) {
  add_moments(x, n, stride, x, n, stride, count, values.data(), true);
  tokens += count;
}

double Hessian::mean() const {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(diagonal(i));
  return sum / static_cast<double>(n);
}

int64_t Hessian::dead_channels() const {
  int64_t dead = 0;
  for (int64_t i = 0; i < n; ++i) dead += diagonal(i) == 0.0f;
  return dead;
}

void Hessian::finish(std::string_view what) {
  for (int64_t i = 0; i < n; ++i)
    if (!std::isfinite(diagonal(i)))
      fail(ErrorKind::numerical,
           "the activations of input channel {} of {} before {} are not finite, or too large to be squared", i, n,
           what);
  constexpr int64_t kTile = 64;  // rows and columns copied together, so that both stay in the first-level cache
  const int64_t tiles = ceil_div(n, kTile);
  parallel_for(tiles, [&](int64_t tile) {
    for (int64_t j0 = 0; j0 <= tile * kTile; j0 += kTile)
      for (int64_t i = tile * kTile; i < std::min(n, (tile + 1) * kTile); ++i)
        for (int64_t j = j0; j < std::min(i, j0 + kTile); ++j)
          values[static_cast<size_t>(i * n + j)] = values[static_cast<size_t>(j * n + i)];
  });
}

Hessian block_diagonal(std::span<const Hessian> parts) {
  int64_t n = 0;
  for (const Hessian& part : parts) n += part.n;
  Hessian h(n);
  int64_t first = 0;
  for (const Hessian& part : parts) {
    h.tokens = part.tokens;
    for (int64_t i = 0; i < part.n; ++i) std::copy_n(part.row(i), part.n, h.values.begin() + (first + i) * n + first);
    first += part.n;
  }
  return h;
}

std::vector<double> hessian_norms(const Hessian& h, std::span<const float> e, int64_t rows) {
  // By columns of H in panels, so that the product never lies in memory as a whole.
  constexpr int64_t kRows = 128, kCols = 128;
  std::vector<double> norms(static_cast<size_t>(rows));
  parallel_for(ceil_div(rows, kRows), [&](int64_t panel) {
    const int64_t begin = panel * kRows, count = std::min(kRows, rows - begin);
    const float* errors = e.data() + begin * h.n;
    std::vector<float> product(static_cast<size_t>(count * kCols)), own(product.size());
    for (int64_t c = 0; c < h.n; c += kCols) {
      const int64_t cols = std::min(kCols, h.n - c);
      // Symmetric: twice what stands left of the panel, and the panel itself.
      matmul_nt_on_this_thread(count, cols, c, errors, h.n, h.row(c), h.n, product.data(), kCols, false);
      matmul_nt_on_this_thread(count, cols, cols, errors + c, h.n, h.row(c) + c, h.n, own.data(), kCols, false);
      for (int64_t r = 0; r < count; ++r) {
        double sum = 0;
        for (int64_t j = 0; j < cols; ++j) {
          const auto at = static_cast<size_t>(r * kCols + j);
          sum += static_cast<double>(errors[r * h.n + c + j]) *
                 (2 * static_cast<double>(product[at]) + static_cast<double>(own[at]));
        }
        norms[static_cast<size_t>(begin + r)] += sum;
      }
    }
  });
  return norms;
}

double squared_outputs(const Hessian& h, std::span<const float> w, int64_t rows) {
  const std::vector<double> norms = hessian_norms(h, w, rows);
  return std::accumulate(norms.begin(), norms.end(), 0.0);
}

double squared_error(const Hessian& h, std::span<const float> w, std::span<const float> values, int64_t rows) {
  std::vector<float> e(w.size());
  std::transform(w.begin(), w.end(), values.begin(), e.begin(), std::minus<>());
  return squared_outputs(h, e, rows);
}

}  // namespace kerf
