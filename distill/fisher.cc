// The roots of probabilities are, but for their length, the softmax of half the logits: |sqrt p| = 1.
#include "distill/fisher.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "core/random.h"
#include "kernels/elementwise/elementwise_choice.h"

namespace kerf {
namespace {

constexpr size_t kSigns = 64;  // of one draw

void gradient(std::span<const float> logits, uint64_t seed, int64_t token, std::span<float> d) {
  const Elementwise& ops = elementwise();
  const size_t n = logits.size();
  for (size_t i = 0; i < n; ++i) d[i] = 0.5F * logits[i];
  ops.softmax(d.data(), std::ssize(d), std::ssize(d), 1, false, Rounding::none);
  double square = 0, dot_of_signs = 0;  // |roots|^2, and signs . roots
  for (size_t begin = 0; begin < n; begin += kSigns) {
    const uint64_t bits = random_bits(seed, token, static_cast<int64_t>(begin / kSigns));
    const size_t end = std::min(n, begin + kSigns);
    float part = 0, sum = 0;
    for (size_t i = begin; i < end; ++i) {
      const float root = d[i];
      part += root * root;
      d[i] = (bits >> (i - begin) & 1U) != 0 ? root : -root;
      sum += d[i];
    }
    square += static_cast<double>(part);
    dot_of_signs += static_cast<double>(sum);
  }
  // In units of the length: r sqrt(p) - p (r . sqrt(p)).
  const auto inverse = static_cast<float>(1 / std::sqrt(square));
  const float dot = static_cast<float>(dot_of_signs) * inverse;
  for (float& x : d) {
    const float root = x * inverse;
    x = root - root * root * dot;
  }
}

}  // namespace

void fisher_gradients(const Windows& windows, int64_t begin, int64_t count, uint64_t seed,
                      std::span<const float> logits, std::span<float> d) {
  const size_t vocab = logits.size() / static_cast<size_t>(count);
  parallel_for(count, [&](int64_t i) {
    const size_t first = static_cast<size_t>(i) * vocab;
    const std::span<float> of_token = d.subspan(first, vocab);
    if ((begin + i) % windows.length + 1 < windows.length)
      gradient(logits.subspan(first, vocab), seed, begin + i, of_token);
    else
      std::fill(of_token.begin(), of_token.end(), 0.0F);
  });
}

}  // namespace kerf
