// Rows of activations in tasks of a few, on kerf's threads.
#pragma once

#include <algorithm>
#include <cstdint>

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

}  // namespace kerf
