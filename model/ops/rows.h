// Rows of activations in tasks of a few, on kerf's threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/checked.h"
#include "core/parallel.h"

namespace kerf {

/// f(first row, last row) over tasks of a few rows.
template <class F>
void for_rows(int64_t rows, F&& f) {
  constexpr int64_t kRowsPerTask = 16;
  parallel_for(ceil_div(rows, kRowsPerTask),
               [&](int64_t i) { f(i * kRowsPerTask, std::min(rows, (i + 1) * kRowsPerTask)); });
}

/// to[n] += the sum of what f(first row, last row, sum of these rows) adds up over tasks of a fixed number of rows, in
/// their order.
template <class F>
void add_over_rows(int64_t rows, int64_t n, float* to, F&& f) {
  constexpr int64_t kRowsPerTask = 128;
  const int64_t tasks = ceil_div(rows, kRowsPerTask);
  std::vector<float> sums(static_cast<size_t>(tasks * n));
  parallel_for(tasks,
               [&](int64_t i) { f(i * kRowsPerTask, std::min(rows, (i + 1) * kRowsPerTask), sums.data() + i * n); });
  for (int64_t i = 0; i < tasks; ++i)
    for (int64_t k = 0; k < n; ++k) to[k] += sums[static_cast<size_t>(i * n + k)];
}

}  // namespace kerf
