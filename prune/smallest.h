// Which of some scores are the smallest: how every mask is chosen.
#pragma once

#include <cstdint>
#include <span>

#include "grids/quantized_matrix.h"
#include "prune/sparsity.h"

namespace kerf {

/// How many of so many weights become zero: the share of them, rounded to nearest.
int64_t zeros_among(const Sparsity&, int64_t weights);

/// marks[i] = 1 for the `count` smallest scores (of equal ones the first), 0 for the others.
void mark_smallest(std::span<const float> scores, int64_t count, std::span<uint8_t> marks);

/// The weights of a matrix whose scores [rows, cols] are smallest, among those that are compared: the group of a
/// pattern, the row, or, unless `rows_apart`, the whole matrix. Error unsupported as check_pattern(). The result does
/// not depend on the number of threads.
Mask mask_of_smallest(std::span<const float> scores, int64_t rows, int64_t cols, const Sparsity&, bool rows_apart);

/// w where the mask leaves it, 0 elsewhere.
std::vector<float> without_masked(std::span<const float> w, const Mask&);

}  // namespace kerf
