// Frequencies of rotary position embedding. In float32, step by step as transformers computes them: an angle is
// position x frequency, so at position 2,000 a frequency that is off by one part in 2^24 turns a pair by 1e-4, as much
// as the tolerance of the logits.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "model/arch/architecture.h"

namespace kerf {
namespace {

constexpr double kPi = std::numbers::pi;

// The pair that makes `turns` turns over the original context (YaRN, Peng et al., 2023).
double pair_of(const RopeTable& t, int64_t rotated, double turns) {
  return static_cast<double>(rotated) * std::log(static_cast<double>(t.original_context) / (turns * 2 * kPi)) /
         (2 * std::log(t.theta));
}

// 1 where a frequency is divided by the factor, 0 where it is kept.
float yarn_share(const RopeTable& t, int64_t rotated, size_t i) {
  double low = pair_of(t, rotated, t.beta_fast), high = pair_of(t, rotated, t.beta_slow);
  if (t.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rotated - 1));
  if (low == high) high += 0.001;
  const float share = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
  return std::clamp(share, 0.0F, 1.0F);
}

float llama3_frequency(const RopeTable& t, float unscaled) {
  const auto factor = static_cast<float>(t.factor), original = static_cast<float>(t.original_context);
  const auto low = static_cast<float>(t.low_freq_factor), high = static_cast<float>(t.high_freq_factor);
  const float wavelength = static_cast<float>(2 * kPi) / unscaled;
  if (wavelength > original / low) return unscaled / factor;
  if (wavelength < original / high) return unscaled;
  const float smooth = (original / wavelength - low) / (high - low);
  return (1 - smooth) * (unscaled / factor) + smooth * unscaled;
}

}  // namespace

std::vector<float> Rope::frequencies() const {
  const auto pairs = static_cast<size_t>(rotated / 2);
  std::vector<float> frequencies(pairs);
  const auto theta = static_cast<float>(table.theta);
  const auto factor = static_cast<float>(table.factor);
  for (size_t i = 0; i < pairs; ++i) {
    float unscaled = 1.0F / std::pow(theta, static_cast<float>(2 * i) / static_cast<float>(rotated));
    if (!table.divisors.empty()) unscaled /= table.divisors[i];
    frequencies[i] = unscaled;
    if (table.scaling == RopeScaling::linear) frequencies[i] = unscaled / factor;
    if (table.scaling == RopeScaling::llama3) frequencies[i] = llama3_frequency(table, unscaled);
    if (table.scaling != RopeScaling::yarn) continue;
    const float share = yarn_share(table, rotated, i);
    frequencies[i] = unscaled / factor * share + unscaled * (1 - share);
  }
  return frequencies;
}

std::vector<float> Rope::divisors() const {
  if (!table.divisors.empty()) return table.divisors;
  const auto pairs = static_cast<size_t>(rotated / 2);
  std::vector<float> divisors(pairs, 1.0F);
  if (table.scaling == RopeScaling::linear)
    std::fill(divisors.begin(), divisors.end(), static_cast<float>(table.factor));
  for (size_t i = 0; i < pairs; ++i) {
    if (table.scaling == RopeScaling::yarn) {
      const auto share = static_cast<double>(yarn_share(table, rotated, i));
      divisors[i] = static_cast<float>(1 / (share / table.factor + 1 - share));
    }
    if (table.scaling != RopeScaling::llama3) continue;
    const double wavelength =
        2 * kPi * std::pow(table.theta, 2 * static_cast<double>(i) / static_cast<double>(rotated));
    const double turns = static_cast<double>(table.original_context) / wavelength;
    // 0 where the frequency is divided by the factor, 1 where it is kept.
    const double kept =
        std::clamp((turns - table.low_freq_factor) / (table.high_freq_factor - table.low_freq_factor), 0.0, 1.0);
    divisors[i] = static_cast<float>(1 / (kept + (1 - kept) / table.factor));
  }
  return divisors;
}

}  // namespace kerf
