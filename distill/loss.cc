// One token a task; sums in double, in the order of the tokens.
#include "distill/loss.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/parallel.h"
#include "kernels/elementwise/elementwise_choice.h"

namespace kerf {
namespace {

// The sum of of(token, its logits, their gradient) over the scored ones; zeros in the gradients of others.
template <class F>
double sum_over_scored(const Windows& batch, int64_t begin, int64_t count, std::span<const float> logits,
                       std::span<float> d, F&& of) {
  const size_t vocab = logits.size() / static_cast<size_t>(count);
  std::vector<double> losses(static_cast<size_t>(count));
  parallel_for(count, [&](int64_t i) {
    const size_t first = static_cast<size_t>(i) * vocab;
    const std::span<float> row = d.subspan(first, vocab);
    if (batch.learns_after(begin + i))
      losses[static_cast<size_t>(i)] = of(begin + i, logits.subspan(first, vocab), row);
    else
      std::fill(row.begin(), row.end(), 0.0F);
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace

double CrossEntropy::gradient(const Windows& batch, int64_t begin, int64_t count, double weight,
                              std::span<const float> logits, std::span<float> d) {
  return sum_over_scored(
      batch, begin, count, logits, d, [&](int64_t token, std::span<const float> row, std::span<float> to) {
        const Elementwise& ops = elementwise();
        const auto next = static_cast<size_t>(batch.ids[static_cast<size_t>(token + 1)]);
        const auto n = std::ssize(row);
        const float most = ops.max(row.data(), n);
        const double sum = ops.sum_exp(row.data(), n, most), log_sum = static_cast<double>(most) + std::log(sum);
        std::copy(row.begin(), row.end(), to.begin());
        ops.softmax(to.data(), n, n, 1, false, Rounding::none);
        to[next] -= 1;
        for (float& v : to) v *= static_cast<float>(weight);
        return log_sum - static_cast<double>(row[next]);
      });
}

double Divergence::gradient(const Windows& batch, int64_t begin, int64_t count, double weight,
                            std::span<const float> logits, std::span<float> d) {
  const std::span<const float> theirs = teacher_(begin, count);
  const size_t vocab = logits.size() / static_cast<size_t>(count);
  return sum_over_scored(
      batch, begin, count, logits, d, [&](int64_t token, std::span<const float> b, std::span<float> to) {
        const std::span<const float> a = theirs.subspan(static_cast<size_t>(token - begin) * vocab, vocab);
        // KL = sum p (a - b) - log sum e^a + log sum e^b of the logits a and b.
        const Elementwise& ops = elementwise();
        const auto n = std::ssize(a);
        const float most_a = ops.max(a.data(), n), most_b = ops.max(b.data(), n);
        const double sum_a = ops.sum_exp(a.data(), n, most_a), sum_b = ops.sum_exp(b.data(), n, most_b);
        const double log_a = static_cast<double>(most_a) + std::log(sum_a),
                     log_b = static_cast<double>(most_b) + std::log(sum_b);
        ops.exp_difference(a.data(), static_cast<float>(log_a), b.data(), static_cast<float>(log_b), n,
                           static_cast<float>(weight), to.data());
        return ops.sum_exp_difference(a.data(), b.data(), n, most_a) / sum_a - log_a + log_b;
      });
}

}  // namespace kerf
