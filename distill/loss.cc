// One token a task; sums in double, in the order of the tokens.
#include "distill/loss.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/parallel.h"
#include "kernels/elementwise/elementwise_choice.h"

namespace kerf {
namespace {

// log sum e^x, and x becomes e^x / that sum.
double to_distribution(std::span<float> x) {
  const Elementwise& ops = elementwise();
  const auto n = std::ssize(x);
  const float most = ops.max(x.data(), n);
  const double sum = ops.sum_exp(x.data(), n, most);
  ops.softmax(x.data(), n, n, 1, false, Rounding::none);
  return static_cast<double>(most) + std::log(sum);
}

// of(token, its row of logits) for the scored ones, zeros in place of the logits of others.
template <class F>
double sum_over_scored(const Windows& batch, int64_t begin, int64_t count, std::span<float> logits, F&& of) {
  const size_t vocab = logits.size() / static_cast<size_t>(count);
  std::vector<double> losses(static_cast<size_t>(count));
  parallel_for(count, [&](int64_t i) {
    const std::span<float> row = logits.subspan(static_cast<size_t>(i) * vocab, vocab);
    if ((begin + i) % batch.length + 1 < batch.length)
      losses[static_cast<size_t>(i)] = of(begin + i, row);
    else
      std::fill(row.begin(), row.end(), 0.0F);
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace

double CrossEntropy::gradient(const Windows& batch, int64_t begin, int64_t count, double weight,
                              std::span<float> logits) {
  return sum_over_scored(batch, begin, count, logits, [&](int64_t token, std::span<float> row) {
    const auto next = static_cast<size_t>(batch.ids[static_cast<size_t>(token + 1)]);
    const auto label = static_cast<double>(row[next]);
    const double loss = to_distribution(row) - label;
    row[next] -= 1;
    for (float& v : row) v *= static_cast<float>(weight);
    return loss;
  });
}

double Divergence::gradient(const Windows& batch, int64_t begin, int64_t count, double weight,
                            std::span<float> logits) {
  theirs_.resize(logits.size());
  teacher_(begin, count, theirs_.data());
  const size_t vocab = logits.size() / static_cast<size_t>(count);
  return sum_over_scored(batch, begin, count, logits, [&](int64_t token, std::span<float> q) {
    const std::span<float> p = std::span(theirs_).subspan(static_cast<size_t>(token - begin) * vocab, vocab);
    // KL = sum p (a - b) - log sum e^a + log sum e^b of the logits a and b.
    const Elementwise& ops = elementwise();
    const auto n = std::ssize(p);
    const float most = ops.max(p.data(), n);
    const double difference = ops.sum_exp_difference(p.data(), q.data(), n, most), sum = ops.sum_exp(p.data(), n, most);
    const double loss = difference / sum - to_distribution(p) + to_distribution(q);
    for (size_t i = 0; i < vocab; ++i) q[i] = static_cast<float>(weight) * (q[i] - p[i]);
    return loss;
  });
}

}  // namespace kerf
