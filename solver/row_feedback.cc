#include "solver/row_feedback.h"

#include <algorithm>
#include <numeric>

#include "core/checked.h"
#include "kernels/dense/dense.h"

namespace kerf {
namespace {

// One row after the other, those of large gradients first, joins the turn with whose rows its gradients are correlated
// least; a row's share is the sum of squared correlations.
std::vector<int64_t> order_of_turns(const Hessian& g) {
  const int64_t n = g.n, turns = ceil_div(n, kRowsTogether);
  std::vector<int64_t> falling(static_cast<size_t>(n));
  std::iota(falling.begin(), falling.end(), 0);
  std::stable_sort(falling.begin(), falling.end(), [&](int64_t a, int64_t b) { return g.diagonal(a) > g.diagonal(b); });
  std::vector<std::vector<int64_t>> rows(static_cast<size_t>(turns));
  std::vector<float> shared(static_cast<size_t>(n * turns));  // of each row with the rows of each turn
  for (const int64_t i : falling) {
    const float* of_row = shared.data() + i * turns;
    int64_t best = -1;
    for (int64_t t = 0; t < turns; ++t) {
      const bool full = std::ssize(rows[static_cast<size_t>(t)]) >= std::min(kRowsTogether, n - t * kRowsTogether);
      if (!full && (best < 0 || of_row[t] < of_row[best])) best = t;
    }
    rows[static_cast<size_t>(best)].push_back(i);
    for (int64_t j = 0; j < n; ++j) {
      const float both = g.diagonal(i) * g.diagonal(j), product = g.row(i)[j];
      if (both > 0) shared[static_cast<size_t>(j * turns + best)] += product * product / both;
    }
  }
  std::vector<int64_t> order;
  for (const std::vector<int64_t>& turn : rows) order.insert(order.end(), turn.begin(), turn.end());
  return order;
}

std::vector<int64_t> stored_order(int64_t n) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

}  // namespace

RowFeedback::RowFeedback(const Hessian& outputs, double relative, bool as_stored)
    : order_(as_stored ? stored_order(outputs.n) : order_of_turns(outputs)),
      factor_(factorize(outputs, relative, order_)) {}

void RowFeedback::correct(int64_t begin, int64_t count, int64_t cols, std::span<const float> e,
                          std::span<float> target) const {
  if (begin == 0) return;
  // With L of the turns at hand in parts B (before) and T (theirs): inverse(T) (B e).
  std::vector<float> x(target.size());
  add_product_nn(count, begin, cols, factor_.row(begin), factor_.n, e.data(), cols, x.data(), cols);
  for (int64_t i = 0; i < count; ++i) {
    const float* l = factor_.row(begin + i) + begin;
    float* row = x.data() + i * cols;
    for (int64_t j = 0; j < i; ++j) {
      const float* other = x.data() + j * cols;
      for (int64_t c = 0; c < cols; ++c) row[c] -= l[j] * other[c];
    }
    for (int64_t c = 0; c < cols; ++c) row[c] /= l[i];
  }
  std::transform(x.begin(), x.end(), target.begin(), target.begin(), std::plus<>());
}

std::vector<float> RowFeedback::weighted(std::span<const float> e, int64_t cols) const {
  std::vector<float> in_turns(e.size()), result(e.size());
  for (size_t k = 0; k < order_.size(); ++k)
    std::copy_n(e.begin() + order_[k] * cols, cols, in_turns.begin() + static_cast<int64_t>(k) * cols);
  add_product_nn(factor_.n, factor_.n, cols, factor_.l.data(), factor_.n, in_turns.data(), cols, result.data(), cols);
  return result;
}

}  // namespace kerf
