// What tests of grids do with weights.
#pragma once

#include <span>

#include "grids/grid.h"

namespace kerf::test {

inline QuantizedMatrix quantized(const Scheme& s, std::span<const float> w, int64_t rows, int64_t cols,
                                 std::span<const float> importance = {}) {
  QuantizedMatrix q = allocate(s, rows, cols);
  const Grid& grid = find_grid(s.grid);
  grid.check(s);
  grid.fit(w, importance, q);
  grid.encode(w, q, importance);
  return q;
}

inline double squared_error(std::span<const float> w, const QuantizedMatrix& q,
                            std::span<const float> importance = {}) {
  std::vector<float> back(w.size());
  find_grid(q.scheme.grid).decode(q, back);
  double e = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const double d = static_cast<double>(w[i]) - static_cast<double>(back[i]);
    e += d * d * (importance.empty() ? 1.0 : static_cast<double>(importance[i % static_cast<size_t>(q.cols)]));
  }
  return e;
}

}  // namespace kerf::test
