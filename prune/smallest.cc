// Selection, not sorting: linear in the number of scores.
#include "prune/smallest.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "core/parallel.h"

namespace kerf {

int64_t zeros_among(const Sparsity& s, int64_t weights) { return std::llround(s.share * static_cast<double>(weights)); }

void mark_smallest(std::span<const float> scores, int64_t count, std::span<uint8_t> marks) {
  if (count <= 0) {
    std::fill(marks.begin(), marks.end(), 0);
    return;
  }
  std::vector<float> order(scores.begin(), scores.end());
  const auto last = order.begin() + count - 1;
  std::nth_element(order.begin(), last, order.end());
  const float most = *last;
  // Those below are fewer than count; of those equal to it the first fill up.
  int64_t equal = count - std::count_if(order.begin(), last, [&](float x) { return x < most; });
  for (size_t i = 0; i < scores.size(); ++i) marks[i] = scores[i] < most || (scores[i] == most && equal-- > 0);
}

Mask mask_of_smallest(std::span<const float> scores, int64_t rows, int64_t cols, const Sparsity& s, bool rows_apart) {
  check_pattern(s, cols);
  Mask mask{std::vector<uint8_t>(scores.size())};
  const std::span<uint8_t> marks = mask.zero;
  if (s.of == 0 && !s.by_row && !rows_apart) {
    mark_smallest(scores, zeros_among(s, rows * cols), marks);
    return mask;
  }
  const int64_t together = s.of > 0 ? s.of : cols, zeros = s.of > 0 ? s.zeros : zeros_among(s, cols);
  parallel_for(rows, [&](int64_t row) {
    for (int64_t at = row * cols; at < (row + 1) * cols; at += together)
      mark_smallest(scores.subspan(static_cast<size_t>(at), static_cast<size_t>(together)), zeros,
                    marks.subspan(static_cast<size_t>(at), static_cast<size_t>(together)));
  });
  return mask;
}

std::vector<float> without_masked(std::span<const float> w, const Mask& mask) {
  std::vector<float> values(w.size());
  std::transform(w.begin(), w.end(), mask.zero.begin(), values.begin(),
                 [](float x, uint8_t zero) { return zero != 0 ? 0.0f : x; });
  return values;
}

}  // namespace kerf
