// Moments are sums of products of differences with activations, in batches as in Hessian::add(); the shift is one solve
// with the Hessian's factor.
#include "solver/asymmetric.h"

#include <algorithm>
#include <functional>

#include "core/checked.h"
#include "core/error.h"
#include "core/parallel.h"
#include "kernels/dense/dense.h"
#include "solver/hessian.h"

namespace kerf {
namespace {

constexpr int64_t kBatchTokens = 1024;  // whose differences are held at a time, as in Hessian::add()
constexpr int64_t kRowsPerTask = 64;

// a [rows, cols] - b [rows, b_cols], where b has no more columns and counts as zero in those.
std::vector<float> difference(const float* a, int64_t cols, const float* b, int64_t b_cols, int64_t rows) {
  std::vector<float> d(a, a + rows * cols);
  parallel_for(ceil_div(rows, kRowsPerTask), [&](int64_t task) {
    for (int64_t r = task * kRowsPerTask; r < std::min(rows, (task + 1) * kRowsPerTask); ++r) {
      float* row = d.data() + r * cols;
      for (int64_t i = 0; i < b_cols; ++i) row[i] -= b[r * b_cols + i];
    }
  });
  return d;
}

// W C + R: the moments of what the outputs lack and the inputs.
std::vector<float> missing(std::span<const float> w, const AsymmetricMoments& s) {
  const int64_t rows = static_cast<int64_t>(w.size()) / s.full;
  std::vector<float> sum(static_cast<size_t>(rows * s.n));
  matmul_nt(rows, s.n, s.full, w.data(), s.full, s.inputs.data(), s.full, sum.data(), s.n);
  for (size_t i = 0; i < s.states.size(); ++i) sum[i] += s.states[i];
  return sum;
}

}  // namespace

AsymmetricMoments::AsymmetricMoments(int64_t width, int64_t hidden, int64_t full_width)
    : n(width),
      m(hidden),
      full(full_width),
      inputs(static_cast<size_t>(checked_mul<int64_t>(n, full, "moments"))),
      states(static_cast<size_t>(checked_mul<int64_t>(m, n, "moments"))) {}

void AsymmetricMoments::add(const float* x, const float* full_x, const float* h, const float* full_h, int64_t tokens) {
  for (int64_t t = 0; t < tokens; t += kBatchTokens) {
    const int64_t batch = std::min(kBatchTokens, tokens - t);
    const float* rows = x + t * n;
    const std::vector<float> lacks = difference(full_x + t * full, full, rows, n, batch);
    add_moments(rows, n, n, lacks.data(), full, full, batch, inputs.data(), false);
    if (m == 0) continue;
    const std::vector<float> d = difference(full_h + t * m, m, h + t * m, m, batch);
    add_moments(d.data(), m, m, rows, n, n, batch, states.data(), false);
  }
}

void AsymmetricMoments::merge(const AsymmetricMoments& next) {
  if (n != next.n || m != next.m || full != next.full)
    fail(ErrorKind::internal, "moments of {} x {} and {} x {} channels were added", m, n, next.m, next.n);
  std::transform(inputs.begin(), inputs.end(), next.inputs.begin(), inputs.begin(), std::plus<>());
  std::transform(states.begin(), states.end(), next.states.begin(), states.begin(), std::plus<>());
}

double shift_towards_full_precision(std::vector<float>& w, const AsymmetricMoments& fitted, const Factor& f,
                                    const AsymmetricMoments& validation, const Hessian& validation_hessian) {
  return shift_towards_full_precision(w, std::vector<float>(w), fitted, f, validation, validation_hessian);
}

double shift_towards_full_precision(std::vector<float>& w, std::span<const float> full_w,
                                    const AsymmetricMoments& fitted, const Factor& f,
                                    const AsymmetricMoments& validation, const Hessian& validation_hessian) {
  std::vector<float> d = missing(full_w, fitted);
  solve_rows(f, d);
  // sum over validation tokens of |missing - s D x|^2 is least for s = <missing, D x> / |D x|^2.
  const std::vector<float> there = missing(full_w, validation);
  double explained = 0;
  for (size_t i = 0; i < d.size(); ++i) explained += static_cast<double>(there[i]) * static_cast<double>(d[i]);
  const double size = squared_outputs(validation_hessian, d, static_cast<int64_t>(w.size()) / fitted.n);
  const double strength = size > 0 ? std::clamp(explained / size, 0.0, 1.0) : 0.0;
  for (size_t i = 0; i < w.size(); ++i) w[i] += static_cast<float>(strength) * d[i];
  return strength;
}

}  // namespace kerf
