// What all grids share, and the table of their names.
#include "grids/grid.h"

#include <string>

#include "core/error.h"

namespace kerf {

void Grid::round_words(const Scheme& s, const float*, const float*, const float*, int64_t, uint8_t*, float*) const {
  fail(ErrorKind::internal, "codes of {} are not chosen together", describe(s));
}

void Grid::fit_and_encode(std::span<const float> w, std::span<const float> importance, QuantizedMatrix& q) const {
  fit(w, importance, q);
  encode(w, q, importance);
}

void Grid::round(const Scheme& s, const float* scale, const float* offset, const float* x, int64_t n, uint8_t* codes,
                 float* values) const {
  for (int64_t i = 0; i < n; ++i) {
    const ScaleOffset e{scale[i], offset[i]};
    const uint32_t code = nearest(s, e, x[i]);
    codes[i] = static_cast<uint8_t>(code);
    values[i] = value(s, e, code);
  }
}

namespace {
int64_t columns_of(const Level& level, const Scheme& s, int64_t cols) {
  if (rows_together(s) != 1) return 0;
  return level.block.cols == 0 ? cols : level.block.cols;
}
}  // namespace

int64_t group_columns(const Scheme& s, int64_t cols) { return columns_of(s.levels.back(), s, cols); }
int64_t superblock_columns(const Scheme& s, int64_t cols) { return columns_of(s.levels.front(), s, cols); }

bool has_zero(const Scheme& s) {
  if (s.codeword != 1 || adds_offset(s)) return false;
  const Grid& grid = find_grid(s.grid);
  const float offset = static_cast<float>(1 << (s.bits - 1));  // an integer, as every offset that is not added
  return grid.value(s, {1.0f, offset}, zero_code(grid, s, offset)) == 0.0f;
}

uint32_t zero_code(const Grid& grid, const Scheme& s, float offset) {
  return grid.nearest(s, {1.0f, offset}, 0.0f);  // no scale can move it; a tiny one could only overflow
}

void check_mask(const Scheme& s, const Mask& mask, int64_t rows, int64_t cols) {
  if (static_cast<int64_t>(mask.zero.size()) != rows * cols)
    fail(ErrorKind::internal, "a mask of {} weights was given for {} x {}", mask.zero.size(), rows, cols);
  if (!has_zero(s))
    fail(ErrorKind::unsupported,
         "'{}' has no code that stands for exactly 0, so its weights cannot be pruned; choose a scheme with symmetric "
         "scales or integer zero points, such as Q8_0, Q6_K, w4a16 or fp8",
         describe(s));
}

void refuse_large(int64_t row, Dtype stored) {
  fail(ErrorKind::numerical,
       "row {}: a scale of these weights is too large for {}; choose a type without such scales (BF16, F32)", row,
       name_of(stored));
}

const Grid& find_grid(std::string_view name) {
  std::string known;
  for (const Grid* g : all_grids()) {
    if (g->name() == name) return *g;
    known += known.empty() ? "" : ", ";
    known += g->name();
  }
  fail(ErrorKind::usage, "there is no grid '{}'; the grids are: {}", name, known);
}

}  // namespace kerf
