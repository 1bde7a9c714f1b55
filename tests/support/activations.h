// Inputs of a matrix such as models have, and their second moments.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "solver/hessian.h"

namespace kerf::test {

// Correlated activations, as real ones are: a few directions are shared by all channels.
inline std::vector<float> activations(int64_t tokens, int64_t n, unsigned seed = 1) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> mix(static_cast<size_t>(8 * n)), x(static_cast<size_t>(tokens * n));
  for (float& m : mix) m = normal(rng);
  for (int64_t t = 0; t < tokens; ++t) {
    float common[8];
    for (float& c : common) c = normal(rng);
    for (int64_t i = 0; i < n; ++i) {
      float v = 0.3f * normal(rng);
      for (int k = 0; k < 8; ++k) v += common[k] * mix[static_cast<size_t>(k * n + i)] * 0.2f;
      x[static_cast<size_t>(t * n + i)] = v;
    }
  }
  return x;
}

inline Hessian hessian_of(const std::vector<float>& x, int64_t n) {
  Hessian h(n);
  h.add(x.data(), static_cast<int64_t>(x.size()) / n, n);
  h.finish();
  return h;
}

}  // namespace kerf::test
