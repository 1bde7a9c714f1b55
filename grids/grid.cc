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
