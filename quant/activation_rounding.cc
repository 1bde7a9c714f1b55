// The variance of rounding is that of a uniform distribution over one step, summed over the sampled tokens.
#include "quant/activation_rounding.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/checked.h"
#include "core/converter.h"
#include "core/error.h"
#include "core/parallel.h"

namespace kerf {
namespace {

constexpr float kLargestCode = 127;

}  // namespace

void ActivationSample::merge(const ActivationSample& next) {
  if (cols != next.cols || group != next.group)
    fail(ErrorKind::internal, "samples of {} channels in groups of {} and of {} in {} were added", cols, group,
         next.cols, next.group);
  const auto a = static_cast<double>(rows), b = static_cast<double>(next.rows);
  if (rows + next.rows > 0 && tokens_per_row != next.tokens_per_row)
    tokens_per_row = (a * tokens_per_row + b * next.tokens_per_row) / (a + b);
  x.insert(x.end(), next.x.begin(), next.x.end());
  rows += next.rows;
}

std::vector<float> ActivationSample::largest() const {
  std::vector<float> most(static_cast<size_t>(cols));
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t c = 0; c < cols; ++c)
      most[static_cast<size_t>(c)] =
          std::max(most[static_cast<size_t>(c)], std::abs(x[static_cast<size_t>(t * cols + c)]));
  return most;
}

std::vector<double> rounding_noise(const ActivationSample& a, std::span<const float> s) {
  const int64_t group = a.group == 0 ? a.cols : a.group, groups = ceil_div(a.cols, group);
  std::vector<float> inverse(static_cast<size_t>(a.cols), 1.0f);
  for (size_t c = 0; c < s.size(); ++c) inverse[c] = 1.0f / s[c];
  std::vector<double> squares(static_cast<size_t>(groups));
  const auto largest = converter().largest_magnitude;
  parallel_for(groups, [&](int64_t g) {
    const int64_t first = g * group, count = std::min(group, a.cols - first);
    std::vector<float> scaled(static_cast<size_t>(count));
    double sum = 0;
    for (int64_t t = 0; t < a.rows; ++t) {
      const float* x = a.x.data() + t * a.cols + first;
      std::transform(x, x + count, inverse.data() + first, scaled.data(), std::multiplies<>());
      const auto d = static_cast<double>(largest(scaled.data(), count) / kLargestCode);
      sum += d * d;
    }
    squares[static_cast<size_t>(g)] = sum * a.tokens_per_row / 12;
  });
  std::vector<double> noise(static_cast<size_t>(a.cols));
  for (int64_t c = 0; c < a.cols; ++c) noise[static_cast<size_t>(c)] = squares[static_cast<size_t>(c / group)];
  return noise;
}

double noise_error(std::span<const double> noise, std::span<const float> q) {
  if (noise.empty()) return 0;
  const size_t cols = noise.size();
  std::vector<double> column(cols);
  for (size_t i = 0; i < q.size(); i += cols)
    for (size_t c = 0; c < cols; ++c) column[c] += static_cast<double>(q[i + c]) * static_cast<double>(q[i + c]);
  double sum = 0;
  for (size_t c = 0; c < cols; ++c) sum += noise[c] * column[c];
  return sum;
}

}  // namespace kerf
