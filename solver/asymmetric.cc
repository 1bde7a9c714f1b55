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

std::vector<float> difference(const float* a, const float* b, int64_t rows, int64_t cols) {
  std::vector<float> d(static_cast<size_t>(rows * cols));
  parallel_for(ceil_div(rows, kRowsPerTask), [&](int64_t task) {
    const int64_t begin = task * kRowsPerTask * cols, end = std::min(rows, (task + 1) * kRowsPerTask) * cols;
    for (int64_t i = begin; i < end; ++i) d[static_cast<size_t>(i)] = a[i] - b[i];
  });
  return d;
}

// W C + R: the moments of what the outputs lack and the inputs.
std::vector<float> missing(const std::vector<float>& w, const AsymmetricMoments& s) {
  const int64_t rows = static_cast<int64_t>(w.size()) / s.n;
  std::vector<float> sum(w.size());
  matmul_nt(rows, s.n, s.n, w.data(), s.n, s.inputs.data(), s.n, sum.data(), s.n);
  for (size_t i = 0; i < s.states.size(); ++i) sum[i] += s.states[i];
  return sum;
}

}  // namespace

AsymmetricMoments::AsymmetricMoments(int64_t width, int64_t hidden)
    : n(width),
      m(hidden),
      inputs(static_cast<size_t>(checked_mul<int64_t>(n, n, "moments"))),
      states(static_cast<size_t>(checked_mul<int64_t>(m, n, "moments"))) {}

void AsymmetricMoments::add(const float* x, const float* full_x, const float* h, const float* full_h, int64_t tokens) {
  for (int64_t t = 0; t < tokens; t += kBatchTokens) {
    const int64_t batch = std::min(kBatchTokens, tokens - t);
    const float* rows = x + t * n;
    add_moments(rows, n, n, difference(full_x + t * n, rows, batch, n).data(), n, n, batch, inputs.data(), false);
    if (m == 0) continue;
    const std::vector<float> d = difference(full_h + t * m, h + t * m, batch, m);
    add_moments(d.data(), m, m, rows, n, n, batch, states.data(), false);
  }
}

void AsymmetricMoments::merge(const AsymmetricMoments& next) {
  if (n != next.n || m != next.m)
    fail(ErrorKind::internal, "moments of {} x {} and {} x {} channels were added", m, n, next.m, next.n);
  std::transform(inputs.begin(), inputs.end(), next.inputs.begin(), inputs.begin(), std::plus<>());
  std::transform(states.begin(), states.end(), next.states.begin(), states.begin(), std::plus<>());
}

double shift_towards_full_precision(std::vector<float>& w, const AsymmetricMoments& fitted, const Factor& f,
                                    const AsymmetricMoments& validation, const Hessian& validation_hessian) {
  std::vector<float> d = missing(w, fitted);
  solve_rows(f, d);
  // sum over validation tokens of |missing - s D x|^2 is least for s = <missing, D x> / |D x|^2.
  const std::vector<float> there = missing(w, validation);
  double explained = 0;
  for (size_t i = 0; i < d.size(); ++i) explained += static_cast<double>(there[i]) * static_cast<double>(d[i]);
  const double size = squared_outputs(validation_hessian, d, static_cast<int64_t>(w.size()) / fitted.n);
  const double strength = size > 0 ? std::clamp(explained / size, 0.0, 1.0) : 0.0;
  for (size_t i = 0; i < w.size(); ++i) w[i] += static_cast<float>(strength) * d[i];
  return strength;
}

}  // namespace kerf
